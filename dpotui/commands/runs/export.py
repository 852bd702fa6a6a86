"""`dpotui runs export`: the metrics of a run as a table."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import click

from core.errors import UserError
from core.store import metrics, runs
from dpotui.commands.runs.common import opened, workspace_option


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file instead of stdout.")
@workspace_option
def command(run_id: str, output: Path | None, folder: Path) -> None:
    """Write the metrics of RUN as CSV: a row a step, a column a metric."""
    with opened(folder) as (_, db):
        run = runs.get(db, run_id)
        names = metrics.names(db, run.id)
        rows: dict[int, dict[str, str]] = {}
        for name in names:
            for point in metrics.since(db, run.id, name):
                rows.setdefault(point.step, {})[name] = "" if math.isnan(point.value) else repr(point.value)
        try:
            with click.open_file(str(output) if output else "-", "w", encoding="utf-8") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(["step", *names])
                for step in sorted(rows):
                    table.writerow([step, *(rows[step].get(name, "") for name in names)])
        except OSError as error:
            if output is None:
                raise
            raise UserError(f"{output} cannot be written ({error.strerror}): name another file") from error
