"""Facts: measured values with unit, run, time, uncertainty and the hashes of what they were measured on."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from core.store.database import storable, transaction


@dataclass(frozen=True, slots=True)
class Fact:
    """One measured value.

    A yes/no fact has value 1.0 or 0.0 and unit "". A fact that was looked for and could not be had (no scores in the
    file, no benchmark files) has value None and says why in `source`.
    `low` and `high` bound its interval, `inputs` maps the files it was measured on to their sha256 then.
    """

    name: str
    value: float | None
    unit: str = ""
    run: str | None = None
    time: float = 0.0
    low: float | None = None
    high: float | None = None
    n: int | None = None
    source: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    text: str | None = None  # what a blank is filled with where a number alone would not say it
    id: int = 0
    aside: int = 0  # 1: of a trial, and no word on what the workspace has


def _fact(row: dict[str, Any]) -> Fact:
    return Fact(**{**row, "inputs": json.loads(row["inputs"])})


def record(db: Database, *facts: Fact) -> None:
    """Write facts, all or none. A fact without a time is measured now; those of a sweep's trials stand aside."""
    with transaction(db):
        aside = {run: _of_a_trial(db, run) for run in {f.run for f in facts}}
        for f in facts:
            db.execute(
                "INSERT INTO facts (name, value, text, unit, run, time, low, high, n, source, inputs, aside)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [f.name, f.value, f.text, f.unit, f.run, f.time or time.time(), f.low, f.high, f.n, storable(f.source),
                 json.dumps(f.inputs, sort_keys=True), aside[f.run]],
            )  # fmt: skip


def _of_a_trial(db: Database, run: str | None) -> bool:
    sql = (
        "SELECT 1 FROM runs AS part JOIN runs AS whole ON part.part_of = whole.id WHERE part.id = ? AND whole.kind = ?"
    )
    return run is not None and db.execute(sql, [run, "sweep"]).fetchone() is not None


def latest(db: Database) -> dict[str, Fact]:
    """The newest fact of each name, those that stand aside left out."""
    rows = db.query("SELECT * FROM facts WHERE id IN (SELECT max(id) FROM facts WHERE aside = 0 GROUP BY name)")
    return {row["name"]: _fact(row) for row in rows}


def history(db: Database, name: str) -> list[Fact]:
    """All facts of a name, newest first."""
    return [_fact(row) for row in db.query("SELECT * FROM facts WHERE name = ? ORDER BY id DESC", [name])]


def of_run(db: Database, run: str) -> dict[str, Fact]:
    """The facts that a run measured; the newest where it measured one twice."""
    return {row["name"]: _fact(row) for row in db.query("SELECT * FROM facts WHERE run = ? ORDER BY id", [run])}
