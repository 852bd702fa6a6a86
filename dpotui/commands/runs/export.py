"""`dpotui runs export`: metrics of runs as a table, or all that is known of them as one JSON document."""

from __future__ import annotations

from pathlib import Path

import click

from core.runs import export
from core.store import runs
from dpotui.commands.runs.common import opened, workspace_option


@click.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@click.option("--format", "form", type=click.Choice(export.FORMATS), default="csv", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file instead of stdout.")
@workspace_option
def command(run_ids: tuple[str, ...], form: export.Format, output: Path | None, folder: Path) -> None:
    """Write the metrics of each RUN as CSV: a row a step, a column a metric; of several runs a first column says which.

    With --format json a list of runs with configuration, facts, metrics, artifacts and notes.
    """
    with opened(folder) as (_, db):
        ids = [runs.get(db, run).id for run in dict.fromkeys(run_ids)]
        if output is not None:
            export.write(db, output, ids, form)
            return
        with click.open_file("-", "w", encoding="utf-8") as file:
            export.WRITERS[form](db, ids, file)
