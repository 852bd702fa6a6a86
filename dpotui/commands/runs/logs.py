"""`dpotui runs log`: the log of a run, or its graver lines."""

from __future__ import annotations

from pathlib import Path

import click

from core.store import log, runs
from core.text import printable
from dpotui.commands.runs.common import clock, opened, workspace_option


@click.command("log")
@click.argument("run_id", metavar="RUN")
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The last so many lines."
)
@click.option("--level", type=click.Choice(log.LEVELS), default="debug", help="This level and what is graver.")
@workspace_option
def command(run_id: str, limit: int, level: log.Level, folder: Path) -> None:
    """Print the log of RUN."""
    with opened(folder) as (_, db):
        runs.get(db, run_id)
        for line in log.lines(db, run_id, level=level, limit=limit):
            mark = "" if line.level == "info" else f"{line.level}: "
            click.echo(f"{clock(line.time)} {mark}{printable(line.text)}")
