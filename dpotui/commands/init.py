"""`dpotui init DIR`: a workspace with configurations, checklists and runs.db; with --demo also a model and data."""

from __future__ import annotations

from pathlib import Path

import click

from core.store import open_store
from core.text import printable
from core.workspace import create_workspace


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--demo", is_flag=True, help="With a small model and data made on the spot.")
def command(folder: Path, demo: bool) -> None:
    """Make a workspace in FOLDER. What stands there already is kept."""
    workspace = create_workspace(folder)
    if demo:
        from core.demo import make_demo

        make_demo(workspace)
    existed = workspace.database.exists()
    open_store(workspace.database, create=True).close()
    root = printable(str(workspace.root))
    click.echo(f"{root} {'was a workspace already; what it lacked is there now' if existed else 'is a workspace'}")
    if demo:
        click.echo(f"next: dpotui demo '{root}', or dpotui '{root}' and start the stages yourself")
    else:
        click.echo(f"next: put data into {root}/data, edit {root}/configs/*.yaml, then: dpotui '{root}'")
