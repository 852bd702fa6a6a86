"""`dpotui data check`: read a file of preference pairs line by line and measure it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from core.data import quality as measuring
from core.data.examples import ExampleCount, count_examples, holds_examples
from core.data.gap import Gap
from core.data.jsonl import BadRow
from core.data.quality import Quality
from core.errors import UserError
from core.gates import Gate, load_gates
from core.store import Database, facts, open_store, runs, transaction
from core.store.facts import Fact
from core.text import printable
from core.workspace import Workspace, open_workspace
from dpotui.commands.options import scale_option

_BAR = 40


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--validation",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The held-out part of the same set, measured together with FILE.",
)
@scale_option
@click.option("--record", is_flag=True, help="Record what was measured as facts of the workspace, for its gates.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", metavar="DIR", help="The workspace to record in (default: here).")
def command(
    file: Path,
    validation: Path | None,
    scale: tuple[float, float] | None,
    record: bool,
    as_json: bool,
    workspace: str | None,
) -> None:
    """Check FILE line by line and measure it.

    FILE is JSONL: {"prompt": ..., "chosen": ..., "rejected": ...} a line, text or chat messages, with scores if there
    are any; or SFT examples ({"prompt", "response"} or {"messages"}).

    Exit status: 0 every row is good, 1 some are not, 2 the file cannot be read.
    """
    here = _workspace(workspace, needed=record)
    if validation is None and holds_examples(file):
        if record or scale is not None:
            raise UserError(f"{printable(str(file))} holds SFT examples: --record and --scale are for preference pairs")
        _examples(count_examples(file), as_json=as_json)
        return
    if validation is not None and validation.resolve() == file.resolve():
        raise UserError(f"{printable(str(validation))} is the training file: held-out pairs must be others")
    paths = [file] if validation is None else [file, validation]
    if record:
        assert here is not None
        quality, found = _recorded(here, paths, scale)
    else:
        quality = measuring.measure(*paths, scale=scale)
        found = measuring.data_facts(quality)
    target = _gap_target(here)
    if as_json:
        _print_json(_document(quality, found, target))
    else:
        _people(quality, found, target)
    sys.exit(1 if quality.rows > quality.valid else 0)


def _workspace(folder: str | None, *, needed: bool) -> Workspace | None:
    try:
        return open_workspace(Path(folder or "."))
    except UserError:
        if needed or folder is not None:
            raise
        return None


def _recorded(workspace: Workspace, paths: list[Path], scale: tuple[float, float] | None) -> tuple[Quality, list[Fact]]:
    """Measure, then write the finished run and its facts at once: no engine ever sees it queued."""
    absolute = [path.expanduser().absolute() for path in paths]
    db = open_store(workspace.database)
    try:
        started = time.time()
        held_out = absolute[1] if len(absolute) > 1 else None
        quality, found = measuring.measure_files(db, workspace, absolute[0], held_out, scale)
        return quality, _write(db, workspace, absolute, found, started)
    finally:
        db.close()


def _write(db: Database, workspace: Workspace, paths: list[Path], found: list[Fact], started: float) -> list[Fact]:
    names = [workspace.relative(path) for path in paths]
    config = {"data": {"train_file": names[0], "validation_file": names[1] if len(names) > 1 else None}}
    inputs = {path: digest for fact in found for path, digest in fact.inputs.items()}
    with transaction(db):
        run = runs.create(db, "data_check", config=config, name=f"check {names[0]}", steps=1)
        found = [replace(fact, run=run.id) for fact in found]
        facts.record(db, *found)
        runs.update(db, run.id, state="finished", step=1, inputs=inputs, started=started, ended=time.time())
    return found


def _gap_target(workspace: Workspace | None) -> Gate:
    found = [gate for gate in load_gates(workspace) if gate.fact == "data.preference_gap"]
    if not found:
        raise UserError(
            "gates.yaml has no gate on data.preference_gap: its threshold says what share of pairs is enough"
        )
    return found[0]


# For programs


def _document(quality: Quality, found: list[Fact], target: Gate) -> dict[str, Any]:
    findings: dict[str, Any] = {
        "files": [str(path) for path in quality.paths],
        "pairs_by_file": list(quality.pairs_by_file),
        "duplicates": quality.duplicates,
        "shared_prompts": quality.shared_prompts,
        "responses_per_prompt": {
            "min": quality.responses_min,
            "mean": quality.responses_mean,
            "max": quality.responses_max,
        },
        "scored": quality.scored,
        "gap": _gap_document(quality.gap, target) if quality.gap else None,
        "gap_reason": quality.gap_reason,
        "rows": [{"file": str(path), **_row(row)} for path, row in quality.examples],
    }
    return {
        "rows": quality.rows,
        "valid": quality.valid,
        "errors": quality.errors,
        "findings": findings,
        "facts": {fact.name: _fact(fact) for fact in found},
    }


def _row(row: BadRow) -> dict[str, Any]:
    return {"line": row.line, "kind": row.kind, "field": row.field, "reason": row.reason}


def _gap_document(gap: Gap, target: Gate) -> dict[str, Any]:
    return {
        "mean": gap.mean,
        "interval": None if gap.low is None else [gap.low, gap.high],
        "median": gap.median,
        "target": target.threshold,
        "share_at_target": gap.share(target.threshold),
        "n": gap.n,
        "inverted": gap.inverted,
        "histogram": [list(bin) for bin in gap.histogram],
        "source": gap.source,
    }


def _fact(fact: Fact) -> dict[str, Any]:
    return {
        "value": fact.value,
        "unit": fact.unit,
        "low": fact.low,
        "high": fact.high,
        "n": fact.n,
        "source": fact.source,
        "run": fact.run,
    }


def _print_json(document: dict[str, Any]) -> None:
    # Names of files may hold what is no text.
    click.echo(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False))


# For people


def _people(quality: Quality, found: list[Fact], target: Gate) -> None:
    measuring.report(quality, click.echo)
    if quality.errors:
        click.echo("errors: " + ", ".join(f"{count} {kind}" for kind, count in quality.errors.items()))
    if quality.gap is not None:
        _histogram(quality.gap, target, click.echo)
    run = next((fact.run for fact in found if fact.run), None)
    if run is not None:
        click.echo(f"recorded as {run}")


def _histogram(gap: Gap, target: Gate, echo: Callable[[str], None]) -> None:
    share = gap.share(target.threshold)
    echo(f"with a gap of {target.threshold:g} or more: {share:.1%} of them (the gate judges the mean)")
    most = max(count for _, _, count in gap.histogram)
    filled = [index for index, (_, _, count) in enumerate(gap.histogram) if count]
    for low, high, count in gap.histogram[filled[0] : filled[-1] + 1]:
        bar = "█" * round(_BAR * count / most) or ("▏" if count else "")
        echo(f"{low:5.1f} to {high:4.1f}  {count:7}  {bar}".rstrip())


def _examples(found: ExampleCount, *, as_json: bool) -> None:
    if as_json:
        _print_json(
            {
                "rows": found.rows,
                "valid": found.valid,
                "errors": found.errors,
                "findings": {"unique_prompts": found.unique_prompts, "rows": [_row(row) for row in found.examples]},
                "facts": {},
            }
        )
    else:
        click.echo(f"{printable(found.path.name)}: rows {found.rows}, valid SFT examples {found.valid}")
        for row in found.examples:
            click.echo(f"{printable(found.path.name)}:{row.line}: {row.reason}")
        click.echo(f"unique prompts {found.unique_prompts}")
        if found.errors:
            click.echo("errors: " + ", ".join(f"{count} {kind}" for kind, count in found.errors.items()))
    sys.exit(1 if found.rows > found.valid else 0)
