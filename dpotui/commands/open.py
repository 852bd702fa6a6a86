"""`dpotui open [DIR]`: the workbench; where there is no terminal for it, how the workspace stands in plain text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click

from core.errors import UserError
from core.text import one_line
from core.workspace import Workspace, create_workspace, is_workspace, open_workspace
from dpotui.lean import no_collecting


@click.command("open")
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@click.option("--in-process", is_flag=True, help="Execute runs in this process instead of a detached engine.")
@click.option(
    "--theme",
    type=click.Choice(["auto", "dark", "light", "ansi", "plain"]),
    envvar="DPOTUI_THEME",
    help="Colours; auto: by NO_COLOR and what the terminal can show. [env: DPOTUI_THEME]",
)
@click.option(
    "--ascii",
    is_flag=True,
    envvar="DPOTUI_ASCII",
    help="Draw lines, bars, charts and marks with ASCII characters. [env: DPOTUI_ASCII]",
)
def command(folder: Path, in_process: bool, theme: str | None, ascii: bool) -> None:
    """Open the workbench on the workspace in FOLDER, or the one around it."""
    with no_collecting():
        import core.store  # noqa: F401
    reason = no_terminal()
    workspace = _workspace(folder, ask=reason is None)
    if workspace is None:
        return
    if reason is not None:
        for line in status(workspace):
            click.echo(line)
        raise UserError(f"{reason}: the workbench needs a terminal; 'dpotui --help' lists commands that do not")
    from core.store import open_store

    # A database that cannot be opened is said before the screen is taken.
    open_store(workspace.database).close()
    with no_collecting():
        from dpotui.app import open_workbench

    name = f"dpotui-{theme}" if theme not in (None, "auto") else theme
    open_workbench(workspace, in_process=in_process, theme=name, ascii=ascii)


def no_terminal() -> str | None:
    """Why the workbench cannot be drawn here."""
    if os.environ.get("TERM", "") in ("", "dumb"):
        return f"TERM is '{os.environ.get('TERM', '')}'"
    # Textual reads keys from stdin and draws on stderr; what it says when it leaves goes to stdout.
    for name, stream in (
        ("standard input", sys.stdin),
        ("standard output", sys.stdout),
        ("standard error", sys.stderr),
    ):
        if not stream.isatty():
            return f"{name} is no terminal"
    return None


def _workspace(folder: Path, *, ask: bool) -> Workspace | None:
    """The workspace; a new one only when the person says so."""
    try:
        return open_workspace(folder)
    except UserError:
        if not ask:
            raise
    root = folder.expanduser().absolute()
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file: name a folder")
    click.echo(f"{one_line(str(root), 200)} is no workspace yet.")
    if not click.confirm("Make one there, with configurations, checklists and runs.db?", default=False):
        click.echo("Nothing was made.")
        return None
    from core.store import open_store

    workspace = create_workspace(folder)
    open_store(workspace.database, create=not is_workspace(workspace.root)).close()
    return workspace


def status(workspace: Workspace) -> Iterator[str]:
    """How the workspace stands, in a few lines."""
    from core import checklist
    from core.store import open_store, runs

    yield f"workspace  {one_line(str(workspace.root), 200)}"
    with closing(open_store(workspace.database)) as db:
        found = runs.listing(db, limit=5)
        for run in found:
            steps = f"  {run.step}/{run.steps}" if run.steps else ""
            error = f"  {one_line(run.error, 80)}" if run.error else ""
            yield f"run        {run.id}  {run.state}{steps}{error}"
        if not found:
            yield "run        none yet"
        roots = checklist.load_tree(workspace)
        states = checklist.states(db, workspace, roots)
        for root in roots:
            state = states[root.id]
            failing = f"  {state.failing} FAIL" if state.failing else ""
            yield f"checklist  {one_line(root.text, 48):48}  {state.done}/{state.total}{failing}"
