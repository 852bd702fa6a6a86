"""`dpotui gates --history`: how the verdict of each gate came to be what it is."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import Any

import click

from core import gates
from core.gates import Gate, Kept
from core.store import open_store
from core.text import printable
from core.workspace import Workspace


def show(workspace: Workspace, stage: str | int | None, number: int | None, as_json: bool) -> None:
    """List the verdicts of a stage's gates, or of all. `stage`: as it was asked for."""
    with closing(open_store(workspace.database)) as db:
        results = gates.evaluate(db, workspace, number)
        gates.record(db, results)
        found = [(one.gate, gates.history(db, one.gate.stage, one.gate.name)) for one in results]
    if as_json:
        document = {"stage": stage, "gates": [_document(gate, kept) for gate, kept in found]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
        return
    for gate, kept in found:
        click.echo(f"{gate.title} ({gate.name}, stage {gate.stage})")
        if not kept:
            click.echo("  no verdict yet: it was never measured")
            continue
        rows = [("when", "verdict", "value", "target", "95 % interval", "n", "run"), *(_row(gate, one) for one in kept)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row, why in zip(rows, ["why", *(one.reason for one in kept)], strict=True):
            cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo(f"  {cells}  {printable(why)}".rstrip())


def _row(gate: Gate, kept: Kept) -> tuple[str, ...]:
    result = kept.of(gate)
    interval = ""
    if kept.low is not None and kept.high is not None:
        interval = f"{kept.low:.4g} to {kept.high:.4g}"
    return (
        time.strftime("%Y-%m-%d %H:%M", time.localtime(kept.time)),
        kept.verdict,
        result.shown if kept.value is not None else "—",
        result.gate.target,
        interval,
        "" if kept.n is None else str(kept.n),
        kept.run or "",
    )


def _document(gate: Gate, found: list[Kept]) -> dict[str, Any]:
    history = [
        {
            "time": one.time,
            "verdict": one.verdict,
            "value": one.value,
            "interval": [one.low, one.high] if one.low is not None and one.high is not None else None,
            "op": one.of(gate).gate.ascii_op,
            "threshold": one.threshold,
            "n": one.n,
            "run": one.run,
            "reason": one.reason,
        }
        for one in found
    ]
    return {"stage": gate.stage, "name": gate.name, "title": gate.title, "unit": gate.unit, "history": history}
