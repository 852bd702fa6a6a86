"""`dpotui data browse FILE`: the workbench, open at a file of data."""

from __future__ import annotations

from pathlib import Path

import click

from core.errors import UserError
from core.text import printable
from core.workspace import open_workspace
from dpotui.commands.open import no_terminal


@click.command("browse")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-w", "--workspace", "folder", type=click.Path(path_type=Path), default=Path(), help="Default: here.")
def command(file: Path, folder: Path) -> None:
    """Open the workbench at FILE, to page through it, find words in it and see what was found in its pairs.

    The index that makes large files quick is kept in the workspace, in cache/data; FILE is only read.
    """
    workspace = open_workspace(folder)
    if not file.is_file():
        raise UserError(f"{printable(str(file))} is no file: name a file of data")
    reason = no_terminal()
    if reason is not None:
        raise UserError(f"{reason}: browsing needs a terminal; 'dpotui data check {printable(str(file))}' does not")
    from core.store import open_store

    # A database that cannot be opened is said before the screen is taken.
    open_store(workspace.database).close()
    from dpotui.app import Workbench, open_workbench

    def opening(bench: Workbench) -> None:
        bench.run_worker(bench.open_data(file.absolute()), exit_on_error=False)

    open_workbench(workspace, opening=opening)
