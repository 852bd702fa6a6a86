"""What the commands of `dpotui annotate` share: the workspace they are of, and the file they speak of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from core.errors import UserError
from core.store import Database, open_store, votes
from core.text import printable
from core.workspace import Workspace, open_workspace

workspace_option = click.option("-w", "--workspace", metavar="DIR", help="The workspace (default: here).")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@contextmanager
def opened(folder: str | None) -> Iterator[tuple[Workspace, Database]]:
    workspace = open_workspace(Path(folder or "."))
    with closing(open_store(workspace.database)) as db:
        yield workspace, db


def found(workspace: Workspace, file: Path) -> Path:
    """A file that is named from the current folder, or from the workspace."""
    for path in (file.expanduser().absolute(), workspace.path(file)):
        if path.exists():
            return path
    raise UserError(f"{printable(str(file))} does not exist: name a file of pairs or candidates")


def voted_file(workspace: Workspace, db: Database, file: Path | None) -> str:
    """The file that is named, or the one that was voted on last, as runs.db knows it."""
    if file is not None:
        if workspace.relative(file) in votes.files_voted(db):  # it may be gone while its votes stand
            return workspace.relative(file)
        return workspace.relative(found(workspace, file))
    files = votes.files_voted(db)
    if not files:
        raise UserError("nobody has voted yet: begin with 'dpotui annotate vote FILE'")
    return files[0]
