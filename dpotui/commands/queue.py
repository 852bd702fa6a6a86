"""`dpotui queue`: what waits, in which order and for what; moved, put off, started."""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import click

from core.engine.client import ensure_engine
from core.errors import UserError
from core.runs import queue
from core.runs.queue import Way
from core.text import one_line, printable
from dpotui.commands.runs.common import json_option, opened, print_json, workspace_option
from dpotui.lazy import LazyGroup

_HERE = "dpotui.commands.queue"


@click.group(
    cls=LazyGroup,
    default="list",
    table={
        "list": (f"{_HERE}:list_", "What waits, the next one first (the default)."),
        "move": (f"{_HERE}:move", "Put a run elsewhere in the queue."),
        "at": (f"{_HERE}:at", "Start a run not before a time."),
        "start": (f"{_HERE}:start", "Start a run next, whatever its time and the memory."),
    },
)
def command() -> None:
    """Runs that wait. One is executed at a time; 'dpotui runs stop RUN' takes one out of the queue."""


@click.command("list")
@json_option
@workspace_option
def list_(as_json: bool, folder: Path) -> None:
    """What waits, the next one first, and what each waits for."""
    with opened(folder) as (_, db):
        found = queue.listing(db)
        if as_json:
            print_json(
                [
                    {
                        "place": each.place, "id": each.run.id, "kind": each.run.kind, "name": each.run.name,
                        "why": each.why, "not_before": each.run.not_before, "parent": each.run.parent,
                        "forced": bool(each.run.forced),
                    }
                    for each in found
                ]
            )  # fmt: skip
            return
        if not found:
            click.echo("nothing waits")
        for each in found:
            name = "" if each.run.name == each.run.id else f"  {one_line(each.run.name, 40)}"
            click.echo(f"{each.place:3}  {each.run.id:16} {printable(each.why)}{name}")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("way", type=click.Choice(get_args(Way)), required=False)
@click.option("--before", metavar="RUN", help="Ahead of this run.")
@workspace_option
def move(run_id: str, way: Way | None, before: str | None, folder: Path) -> None:
    """Put RUN first, last, one up or one down; or --before another run."""
    if (way is None) == (before is None):
        raise UserError("say where to: first, last, up or down, or --before RUN")
    with opened(folder) as (_, db):
        place = queue.move(db, run_id, way or "up", before=before)
        click.echo(f"{run_id} is number {place} of the queue")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("when", metavar="WHEN")
@workspace_option
def at(run_id: str, when: str, folder: Path) -> None:
    """Start RUN not before WHEN: 22:00, "tomorrow 6:30", +2h, 2026-11-21T14:30; now takes the time away.

    The engine waits for it, and the machine has to be on by then: a Mac must not sleep.
    """
    with opened(folder) as (workspace, db):
        moment = queue.put_off(db, run_id, when)
        ensure_engine(workspace)
        said = "as soon as its turn comes" if moment is None else f"not before {queue.when(moment, time.time())}"
        click.echo(f"{run_id} starts {said}")


@click.command()
@click.argument("run_id", metavar="RUN")
@workspace_option
def start(run_id: str, folder: Path) -> None:
    """Start RUN next: whatever its time, and although the memory for it may not be free."""
    with opened(folder) as (workspace, db):
        queue.force(db, run_id)
        ensure_engine(workspace)
        click.echo(f"{run_id} is next")
