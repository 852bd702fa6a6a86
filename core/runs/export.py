"""Runs taken out: their metrics as a table, or all that is known of them as one JSON document."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, get_args

from core.errors import UserError
from core.runs.compare import Comparison
from core.store import Database, artifacts, facts, metrics, notes, runs
from core.store.facts import Fact
from core.store.runs import Run
from core.workspace import Workspace, write_private

Format = Literal["csv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
FOLDER = "exports"  # in the outputs of a workspace


def write_csv(db: Database, ids: Sequence[str], file: IO[str]) -> None:
    """A row a step, a column a metric; of several runs with a first column that says which."""
    several = len(ids) > 1
    names = list(dict.fromkeys(name for run in ids for name in metrics.names(db, run)))
    table = csv.writer(file, lineterminator="\n")
    table.writerow([*(["run"] if several else []), "step", *names])
    for run in ids:
        rows: dict[int, dict[str, str]] = {}
        for name in names:
            for point in metrics.since(db, run, name):
                rows.setdefault(point.step, {})[name] = "" if math.isnan(point.value) else repr(point.value)
        for step in sorted(rows):
            table.writerow([*([run] if several else []), step, *(rows[step].get(name, "") for name in names)])


def write_json(db: Database, ids: Sequence[str], file: IO[str]) -> None:
    """A list of runs, each with its configuration, facts, metrics (`[step, value]` each), artifacts and notes."""
    file.write("[\n")
    for index, run in enumerate(ids):
        json.dump(_document(db, runs.get(db, run)), file, ensure_ascii=False, allow_nan=False)
        file.write(",\n" if index < len(ids) - 1 else "\n")
    file.write("]\n")


WRITERS: dict[Format, Callable[[Database, Sequence[str], IO[str]], None]] = {"csv": write_csv, "json": write_json}


def save(db: Database, workspace: Workspace, ids: Sequence[str], form: Format) -> Path:
    """Write runs into the folder of exports, for nobody else to read; the same runs again take the place of these.

    Raises:
        UserError: it cannot be written.
    """
    known = [runs.get(db, run).id for run in ids]
    name = known[0] if len(known) == 1 else f"{known[0]}-and-{len(known) - 1}-more"
    path = workspace.outputs / FOLDER / f"{name}.{form}"
    write(db, path, known, form)
    return path


def save_comparison(workspace: Workspace, found: Comparison) -> Path:
    """Write a comparison as JSON into the folder of exports.

    Raises:
        UserError: it cannot be written.
    """
    path = workspace.outputs / FOLDER / f"compare-{found.runs[0].id}-and-{len(found.runs) - 1}-more.json"
    text = json.dumps(found.as_json(), indent=2, ensure_ascii=False)
    _written(path, lambda file: file.write(text + "\n"))
    return path


def write(db: Database, path: Path, ids: Sequence[str], form: Format) -> None:
    """
    Raises:
        UserError: it cannot be written.
    """
    _written(path, lambda file: WRITERS[form](db, ids, file))


def _written(path: Path, write_into: Callable[[IO[str]], object]) -> None:
    try:
        if path.parent.name == FOLDER:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, "")
        with path.open("w", encoding="utf-8") as file:
            write_into(file)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): name another file") from error


def _document(db: Database, run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "kind": run.kind,
        "name": run.name,
        "state": run.state,
        "stage": run.stage,
        "parent": run.parent,
        "tags": list(run.tags),
        "archived": run.archived,
        "who": run.who,
        "seed": run.seed,
        "step": run.step,
        "steps": run.steps,
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "error": run.error,
        "hint": run.hint,
        "config_path": run.config_path,
        "output_dir": run.output_dir,
        "config": run.config,
        "inputs": run.inputs,
        "facts": {name: _fact(fact) for name, fact in facts.of_run(db, run.id).items()},
        "metrics": {name: list(_points(db, run.id, name)) for name in metrics.names(db, run.id)},
        "artifacts": [
            {"kind": a.kind, "path": a.path, "step": a.step, "bytes": a.bytes, "sha256": a.sha256, "time": a.time}
            for a in artifacts.of_run(db, run.id)
        ],
        "notes": [{"text": n.text, "who": n.who, "time": n.time} for n in notes.of(db, f"run:{run.id}")],
    }


def _fact(fact: Fact) -> dict[str, Any]:
    return {
        "value": fact.value, "unit": fact.unit, "low": fact.low, "high": fact.high, "n": fact.n, "text": fact.text,
        "source": fact.source, "time": fact.time,
    }  # fmt: skip


def _points(db: Database, run: str, name: str) -> Iterator[list[float | None]]:
    """JSON knows no NaN."""
    for point in metrics.since(db, run, name):
        yield [point.step, None if math.isnan(point.value) else point.value]
