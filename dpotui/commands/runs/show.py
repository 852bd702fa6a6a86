"""`dpotui runs show`: all that is known of a run."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from core.store import Database, artifacts, commands, engines, facts, metrics, notes, ranks, run_changes, runs, tracked
from core.store.facts import Fact
from core.store.runs import Run
from core.text import one_line, printable
from dpotui.commands.runs.common import clock, json_option, opened, print_json, table, workspace_option


@click.command()
@click.argument("run_id", metavar="RUN")
@json_option
@workspace_option
def command(run_id: str, as_json: bool, folder: Path) -> None:
    """Show all that is known of RUN."""
    with opened(folder) as (_, db):
        run = runs.get(db, run_id)
        if as_json:
            print_json(whole(db, run))
            return
        for words in _card(db, run):
            click.echo(words)


# For programs


def summary(db: Database, run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "kind": run.kind,
        "state": run.state,
        "pid": engines.get(db, run.engine).pid if run.engine is not None and run.state in runs.LIVE else None,
        "step": run.step,
        "steps": run.steps,
        "facts": {
            name: {
                "value": fact.value,
                "unit": fact.unit,
                "low": fact.low,
                "high": fact.high,
                "n": fact.n,
                "text": fact.text,
                "source": fact.source,
                "time": fact.time,
            }
            for name, fact in facts.of_run(db, run.id).items()
        },
        "name": run.name,
        "stage": run.stage,
        "parent": run.parent,
        "part_of": run.part_of,
        "part": run.part,
        "phase": run.phase,
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "error": run.error,
        "hint": run.hint,
        "output_dir": run.output_dir,
        "tags": list(run.tags),
        "archived": run.archived,
        "who": run.who,
    }


def whole(db: Database, run: Run) -> dict[str, Any]:
    return summary(db, run) | {
        "seed": run.seed,
        "config": run.config,
        "config_path": run.config_path,
        "inputs": run.inputs,
        "metrics": {name: _finite(found._asdict()) for name, found in metrics.summary(db, run.id).items()},
        "artifacts": [
            {"kind": a.kind, "path": a.path, "step": a.step, "bytes": a.bytes, "sha256": a.sha256, "time": a.time}
            for a in artifacts.of_run(db, run.id)
        ],
        "trackers": [
            {"tracker": t.tracker, "state": t.state, "place": t.place, "rows": t.position.rows, "error": t.error}
            for t in tracked.of_run(db, run.id)
        ],
        "ranks": ranks.as_json(ranks.newest(db, run.id)),
        "commands": [
            {"verb": c.verb, "who": c.who, "time": c.time, "obeyed": c.obeyed, "answer": c.answer}
            for c in reversed(commands.of_run(db, run.id))
        ],
        "changes": [
            {"field": c.field, "before": c.before, "after": c.after, "who": c.who, "time": c.time, "undone": c.undone}
            for c in run_changes.of_run(db, run.id)
        ],
        "notes": [{"text": n.text, "who": n.who, "time": n.time} for n in notes.of(db, f"run:{run.id}")],
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN."""
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}


# For people


def line(run: Run) -> str:
    steps = f"{run.step}/{run.steps}" if run.steps else ""
    said = run.error if run.state == "failed" and run.error else run.phase or (run.name if run.name != run.id else "")
    return (
        f"{run.id:<15} {run.state:<12} {steps:>11}  {clock(run.started or run.created)}  {_took(run):>8}"
        f"  {one_line(said, 60)}"
    ).rstrip()


def _card(db: Database, run: Run) -> Iterator[str]:
    yield line(run)
    for label, text in (
        ("error", run.error),
        ("hint", run.hint),
        ("tags", " ".join(run.tags)),
        ("archived", clock(run.archived) if run.archived else None),
        ("parent", run.parent),
        ("part of", f"{run.part_of}: {run.part}" if run.part_of else None),
        ("config", run.config_path),
        ("output", run.output_dir),
    ):
        if text:
            yield f"  {label:<9} {printable(text)}"
    yield from table(
        "facts",
        [
            (name, _value(fact), _interval(fact.low, fact.high), one_line(fact.source, 60))
            for name, fact in facts.of_run(db, run.id).items()
        ],
    )
    yield from table(
        "metrics                first, last, lowest, highest",
        [
            (one_line(name, 40), *(f"{value:.4g}" for value in (found.first, found.last, found.low, found.high)))
            for name, found in metrics.summary(db, run.id).items()
        ],
    )
    yield from table(
        "artifacts",
        [
            (artifact.kind, f"{artifact.bytes:,} bytes", artifact.sha256[:12], printable(artifact.path))
            for artifact in artifacts.of_run(db, run.id)
        ],
    )
    spread = ranks.newest(db, run.id)
    yield from table(
        "ranks                  share, pairs a second, seconds computing and waiting",
        [
            (one_line(one.host, 40), *(f"{value:.3g}" for value in (one.share, one.rate, one.computing, one.waiting)))
            for one in (spread.ranks if spread is not None else ())
        ],
    )
    yield from table("trackers", [(printable(one.words),) for one in tracked.of_run(db, run.id)])
    yield from table(
        "commands",
        [
            (asked.verb, one_line(asked.who, 20), clock(asked.time), one_line(asked.answer or "not answered yet", 60))
            for asked in reversed(commands.of_run(db, run.id))
        ],
    )
    yield from table(
        "notes",
        [(one_line(n.who, 20), clock(n.time), printable(n.text)) for n in notes.of(db, f"run:{run.id}")],
    )


def _value(fact: Fact) -> str:
    if fact.value is None:
        return "unknown"
    # A share of all items is 1 too, and no yes.
    if not fact.unit and fact.n is None and fact.low is None and fact.value in (0.0, 1.0):
        return "yes" if fact.value else "no"
    return f"{fact.value:.4g} {fact.unit}".rstrip()


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _took(run: Run) -> str:
    if run.started is None:
        return ""
    seconds = int((run.ended or time.time()) - run.started)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
