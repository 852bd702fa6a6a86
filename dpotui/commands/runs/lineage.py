"""`dpotui runs lineage`: what a run was made from, and what was made from it."""

from __future__ import annotations

from pathlib import Path

import click

from core.runs.lineage import lineage
from core.store import runs
from core.text import printable
from dpotui.commands.runs.common import json_option, opened, print_json, workspace_option
from dpotui.descent import lines


@click.command()
@click.argument("run_id", metavar="RUN")
@json_option
@workspace_option
def command(run_id: str, as_json: bool, folder: Path) -> None:
    """Show the runs whose models and data RUN read, those that read its own, and its parents and children."""
    with opened(folder) as (_, db):
        found = lineage(db, run_id)
        run = runs.get(db, run_id)
    if as_json:
        print_json(found.as_json())
        return
    for line in lines(found, run):
        click.echo(printable(line.text))
