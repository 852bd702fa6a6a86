"""`dpotui runs list`: runs that an expression finds, sorted."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from core.store import runs
from core.store.runs import Kind, State
from dpotui.commands.runs.common import json_option, opened, print_json, workspace_option
from dpotui.commands.runs.show import line, summary


@click.command("list")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only runs of this kind.")
@click.option("--state", type=click.Choice(get_args(State)), multiple=True, help="Only runs in this state.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Only the newest so many.")
@json_option
@workspace_option
def command(kind: str | None, state: tuple[str, ...], limit: int | None, as_json: bool, folder: Path) -> None:
    """List runs, newest first."""
    with opened(folder) as (_, db):
        found = runs.listing(db, kind=kind, states=state, limit=limit or -1)
        if as_json:
            print_json([summary(db, run) for run in found])
            return
        if not found:
            click.echo("no runs" if kind or state else "no runs yet: 'dpotui train' starts one")
        for run in found:
            click.echo(line(run))
