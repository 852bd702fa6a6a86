"""`dpotui engine`: execute the queue of a workspace in this process; the terminal starts one by itself when needed."""

from __future__ import annotations

from pathlib import Path

import click

from core.engine.host import IDLE_SECONDS, serve_detached
from core.workspace import open_workspace


@click.command("engine")
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option(
    "--idle", type=click.FloatRange(min=0), default=IDLE_SECONDS, show_default=True, help="Leave after so many seconds."
)
def command(folder: Path, idle: float) -> None:
    """Execute queued runs of the workspace in FOLDER until there is nothing to do.

    SIGTERM or Ctrl-C: the run that is on writes a checkpoint, then the engine leaves; the run can be resumed.
    """
    serve_detached(open_workspace(folder), idle)
