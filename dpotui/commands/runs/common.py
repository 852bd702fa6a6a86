"""What the commands on runs share: the workspace they are in, their options, JSON that is safe on a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from core.engine.client import reap
from core.store import Database, open_store
from core.workspace import Workspace, open_workspace

workspace_option = click.option(
    "-w", "--workspace", "folder", type=click.Path(path_type=Path), default=Path(), help="Default: here."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Workspace, Database]]:
    """The workspace and its store, with runs whose engine is gone marked as such."""
    workspace = open_workspace(folder)
    with closing(open_store(workspace.database)) as db:
        reap(workspace, db)
        yield workspace, db


def print_json(document: Any) -> None:
    # On a terminal no character of it can be a command.
    click.echo(json.dumps(document, indent=2, ensure_ascii=sys.stdout.isatty(), allow_nan=False))


def clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def table(title: str, rows: list[tuple[str, ...]]) -> Iterator[str]:
    """A title and aligned columns, or nothing where there are no rows."""
    if not rows:
        return
    yield f"  {title}"
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "    " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
