"""What runs measured on benchmarks, with all that decides whether two results may be compared."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlite_utils import Database

from core.store.database import storable, transaction

Subject = Literal["baseline", "final"]


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark of one run.

    Attributes:
        value: the share of items that were right, 0 to 1; `stderr` its standard error, `low` and `high` its interval.
        chance: the share that guessing gets; None where nothing can be guessed.
        conditions: what must be the same for two results to be compared: harness and its version, task and its
            version, shots, subset, limit, seed, chat template, longest answer, hash of the items.
        items: file in the workspace with a line for each item: {"id", "correct", "answer", "target", ...}.
        model: what was measured, as the configuration names it.
        seconds: how long it took.
    """

    run: str
    subject: Subject
    name: str
    metric: str
    value: float
    n: int
    items: str
    model: str
    conditions: dict[str, Any] = field(default_factory=dict)
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    seconds: float = 0.0
    time: float = 0.0
    id: int = 0


def record(db: Database, result: Result) -> None:
    """Write one result. Without a time it is measured now."""
    with transaction(db):
        db.execute(
            "INSERT INTO benchmarks (run, subject, name, metric, value, stderr, low, high, n, chance, conditions,"
            " items, model, seconds, time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [result.run, result.subject, result.name, result.metric, result.value, result.stderr, result.low,
             result.high, result.n, result.chance, json.dumps(result.conditions, sort_keys=True), result.items,
             storable(result.model), result.seconds, result.time or time.time()],
        )  # fmt: skip


def latest(db: Database, subject: Subject) -> dict[str, Result]:
    """The newest result of each benchmark, by name."""
    rows = db.query(
        "SELECT * FROM benchmarks WHERE id IN (SELECT max(id) FROM benchmarks WHERE subject = ? GROUP BY name)"
        " ORDER BY id",
        [subject],
    )
    return {result.name: result for result in _results(rows)}


def of_run(db: Database, run: str) -> list[Result]:
    """What a run measured, in that order."""
    return list(_results(db.query("SELECT * FROM benchmarks WHERE run = ? ORDER BY id", [run])))


def _results(rows: Iterable[dict[str, Any]]) -> Iterable[Result]:
    return (Result(**{**row, "conditions": json.loads(row["conditions"])}) for row in rows)
