"""`dpotui runs compare`: two to eight runs side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from core.runs.compare import Comparison, compare
from core.text import one_line, printable
from dpotui.commands.runs.common import json_option, opened, print_json, table, workspace_option
from dpotui.compared import config_rows, fact_rows, head_rows


@click.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@json_option
@workspace_option
def command(run_ids: tuple[str, ...], as_json: bool, folder: Path) -> None:
    """Compare two to eight runs: the keys that differ, and what was measured.

    "best" and "close" are said of facts that a gate judges; close: the intervals overlap, it may be chance.
    """
    with opened(folder) as (workspace, db):
        found = compare(db, workspace, run_ids)
    if as_json:
        print_json(found.as_json())
        return
    for line in _lines(found):
        click.echo(line)


def _lines(found: Comparison) -> Iterator[str]:
    heads = tuple(run.id for run in found.runs)
    width = max(12, 96 // len(heads))
    for title, rows in (
        ("runs", head_rows(found)),
        (f"configuration, {found.same} keys are the same", config_rows(found)),
        ("facts", fact_rows(found)),
    ):
        cells = [(name, *(one_line(text, width) for text, _ in values)) for name, values in rows]
        yield from table(title, [("", *heads), *cells] if cells else [("nothing differs",)])
    if found.problem:
        yield f"  which is better is not known: {printable(found.problem)}"
