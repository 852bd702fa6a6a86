"""`dpotui runs`: list and show runs, read their logs, write their metrics as a table, and ask things of them."""

from __future__ import annotations

import csv
import getpass
import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, get_args

import click

from core.engine.client import ensure_engine, reap
from core.errors import UserError
from core.store import Database, artifacts, commands, engines, facts, log, metrics, notes, open_store, runs
from core.store.commands import Verb
from core.store.facts import Fact
from core.store.runs import Kind, Run, State
from core.text import one_line, printable
from core.workspace import Workspace, open_workspace

# How long to wait for the engine's answer before leaving it to `runs show`. A step of a large model takes seconds.
PATIENCE = 10.0

workspace_option = click.option(
    "-w", "--workspace", "folder", type=click.Path(path_type=Path), default=Path(), help="Default: here."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[Workspace, Database]]:
    """The workspace and its store, with runs whose engine is gone marked as such."""
    workspace = open_workspace(folder)
    with closing(open_store(workspace.database)) as db:
        reap(workspace, db)
        yield workspace, db


class _ListByDefault(click.Group):
    """`dpotui runs --json` is `dpotui runs list --json`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListByDefault)
def command() -> None:
    """List, show, stop, pause and resume runs. Without a command: list."""


@command.command("list")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only runs of this kind.")
@click.option("--state", type=click.Choice(get_args(State)), multiple=True, help="Only runs in this state.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Only the newest so many.")
@json_option
@workspace_option
def list_(kind: str | None, state: tuple[str, ...], limit: int | None, as_json: bool, folder: Path) -> None:
    """List runs, newest first."""
    with _opened(folder) as (_, db):
        found = runs.listing(db, kind=kind, states=state, limit=limit or -1)
        if as_json:
            _print_json([_summary(db, run) for run in found])
            return
        if not found:
            click.echo("no runs" if kind or state else "no runs yet: 'dpotui train' starts one")
        for run in found:
            click.echo(_line(run))


@command.command()
@click.argument("run_id", metavar="RUN")
@json_option
@workspace_option
def show(run_id: str, as_json: bool, folder: Path) -> None:
    """Show all that is known of RUN."""
    with _opened(folder) as (_, db):
        run = runs.get(db, run_id)
        if as_json:
            _print_json(_whole(db, run))
            return
        for line in _card(db, run):
            click.echo(line)


@command.command("log")
@click.argument("run_id", metavar="RUN")
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The last so many lines."
)
@click.option("--level", type=click.Choice(log.LEVELS), default="debug", help="This level and what is graver.")
@workspace_option
def log_(run_id: str, limit: int, level: log.Level, folder: Path) -> None:
    """Print the log of RUN."""
    with _opened(folder) as (_, db):
        runs.get(db, run_id)
        for line in log.lines(db, run_id, level=level, limit=limit):
            mark = "" if line.level == "info" else f"{line.level}: "
            click.echo(f"{_clock(line.time)} {mark}{printable(line.text)}")


@command.command()
@click.argument("run_id", metavar="RUN")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file instead of stdout.")
@workspace_option
def export(run_id: str, output: Path | None, folder: Path) -> None:
    """Write the metrics of RUN as CSV: a row a step, a column a metric."""
    with _opened(folder) as (_, db):
        run = runs.get(db, run_id)
        names = metrics.names(db, run.id)
        rows: dict[int, dict[str, str]] = {}
        for name in names:
            for point in metrics.since(db, run.id, name):
                rows.setdefault(point.step, {})[name] = "" if math.isnan(point.value) else repr(point.value)
        try:
            with click.open_file(str(output) if output else "-", "w", encoding="utf-8") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(["step", *names])
                for step in sorted(rows):
                    table.writerow([step, *(rows[step].get(name, "") for name in names)])
        except OSError as error:
            if output is None:
                raise
            raise UserError(f"{output} cannot be written ({error.strerror}): name another file") from error


def _ask(verb: Verb, run_id: str, folder: Path) -> None:
    """Send a command and wait a little for the engine's answer."""
    with _opened(folder) as (_, db):
        sent = commands.send(db, run_id, verb, getpass.getuser())
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            (answered,) = [command for command in commands.of_run(db, run_id) if command.id == sent]
            if answered.obeyed is not None:
                click.echo(f"{run_id}: {printable(answered.answer or 'done')}")
                return
            time.sleep(0.1)
        click.echo(f"{run_id}: asked to {verb}; it answers after the step it is in ('dpotui runs show {run_id}')")


@command.command()
@click.argument("run_id", metavar="RUN")
@workspace_option
def stop(run_id: str, folder: Path) -> None:
    """Stop RUN after the step it is in, with a checkpoint; take a queued one out of the queue."""
    _ask("stop", run_id, folder)


@command.command()
@click.argument("run_id", metavar="RUN")
@workspace_option
def pause(run_id: str, folder: Path) -> None:
    """Hold RUN after the step it is in."""
    _ask("pause", run_id, folder)


@command.command()
@click.argument("run_id", metavar="RUN")
@workspace_option
def checkpoint(run_id: str, folder: Path) -> None:
    """Have RUN write a checkpoint now."""
    _ask("checkpoint", run_id, folder)


@command.command()
@click.argument("run_id", metavar="RUN")
@workspace_option
def resume(run_id: str, folder: Path) -> None:
    """Go on with RUN: one that is paused, or one that stopped, failed or lost its engine, from its last checkpoint."""
    with _opened(folder) as (workspace, db):
        if runs.get(db, run_id).state != "paused":
            runs.requeue(db, run_id)
            ensure_engine(workspace)
            click.echo(f"{run_id}: queued; 'dpotui runs show {run_id}' or 'dpotui' watches it")
            return
    _ask("resume", run_id, folder)


# For programs


def _summary(db: Database, run: Run) -> dict[str, Any]:
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
        "phase": run.phase,
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "error": run.error,
        "hint": run.hint,
        "output_dir": run.output_dir,
    }


def _whole(db: Database, run: Run) -> dict[str, Any]:
    return _summary(db, run) | {
        "seed": run.seed,
        "config": run.config,
        "config_path": run.config_path,
        "inputs": run.inputs,
        "metrics": {name: _finite(line._asdict()) for name, line in metrics.summary(db, run.id).items()},
        "artifacts": [
            {"kind": a.kind, "path": a.path, "step": a.step, "bytes": a.bytes, "sha256": a.sha256, "time": a.time}
            for a in artifacts.of_run(db, run.id)
        ],
        "commands": [
            {"verb": c.verb, "who": c.who, "time": c.time, "obeyed": c.obeyed, "answer": c.answer}
            for c in reversed(commands.of_run(db, run.id))
        ],
        "notes": [{"text": n.text, "who": n.who, "time": n.time} for n in notes.of(db, f"run:{run.id}")],
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN."""
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}


def _print_json(document: Any) -> None:
    # On a terminal no character of it can be a command.
    click.echo(json.dumps(document, indent=2, ensure_ascii=sys.stdout.isatty(), allow_nan=False))


# For people


def _line(run: Run) -> str:
    steps = f"{run.step}/{run.steps}" if run.steps else ""
    said = run.error if run.state == "failed" and run.error else run.phase or (run.name if run.name != run.id else "")
    return (
        f"{run.id:<15} {run.state:<12} {steps:>11}  {_clock(run.started or run.created)}  {_took(run):>8}"
        f"  {one_line(said, 60)}"
    ).rstrip()


def _card(db: Database, run: Run) -> Iterator[str]:
    yield _line(run)
    for label, text in (
        ("error", run.error),
        ("hint", run.hint),
        ("parent", run.parent),
        ("config", run.config_path),
        ("output", run.output_dir),
    ):
        if text:
            yield f"  {label:<9} {printable(text)}"
    yield from _table(
        "facts",
        [
            (name, _value(fact), _interval(fact.low, fact.high), one_line(fact.source, 60))
            for name, fact in facts.of_run(db, run.id).items()
        ],
    )
    yield from _table(
        "metrics                first, last, lowest, highest",
        [
            (one_line(name, 40), *(f"{value:.4g}" for value in (line.first, line.last, line.low, line.high)))
            for name, line in metrics.summary(db, run.id).items()
        ],
    )
    yield from _table(
        "artifacts",
        [
            (artifact.kind, f"{artifact.bytes:,} bytes", artifact.sha256[:12], printable(artifact.path))
            for artifact in artifacts.of_run(db, run.id)
        ],
    )
    yield from _table(
        "commands",
        [
            (asked.verb, one_line(asked.who, 20), _clock(asked.time), one_line(asked.answer or "not answered yet", 60))
            for asked in reversed(commands.of_run(db, run.id))
        ],
    )
    yield from _table(
        "notes",
        [(one_line(n.who, 20), _clock(n.time), printable(n.text)) for n in notes.of(db, f"run:{run.id}")],
    )


def _table(title: str, rows: list[tuple[str, ...]]) -> Iterator[str]:
    """A title and aligned columns, or nothing where there are no rows."""
    if not rows:
        return
    yield f"  {title}"
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "    " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _value(fact: Fact) -> str:
    if fact.value is None:
        return "unknown"
    # A share of all items is 1 too, and no yes.
    if not fact.unit and fact.n is None and fact.low is None and fact.value in (0.0, 1.0):
        return "yes" if fact.value else "no"
    return f"{fact.value:.4g} {fact.unit}".rstrip()


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _took(run: Run) -> str:
    if run.started is None:
        return ""
    seconds = int((run.ended or time.time()) - run.started)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
