"""Gradient norms by module, of the steps at which a person asked for them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import NamedTuple

from sqlite_utils import Database

from core.store.database import storable, transaction


class Norms(NamedTuple):
    """L2 norms of the gradient of one step before clipping, by module in the model's order; NaN: no finite number."""

    step: int
    time: float
    modules: dict[str, float]


def record(db: Database, run: str, step: int, modules: Mapping[str, float]) -> None:
    now = time.time()
    rows = [
        (run, step, storable(module), place, norm if math.isfinite(norm) else None, now)
        for place, (module, norm) in enumerate(modules.items())
    ]
    with transaction(db):
        db.conn.executemany(
            "INSERT OR REPLACE INTO gradient_norms (run, step, module, place, norm, time) VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )


def steps(db: Database, run: str) -> list[int]:
    """The steps of a run that were measured, in order."""
    return [step for (step,) in db.execute("SELECT DISTINCT step FROM gradient_norms WHERE run = ? ORDER BY 1", [run])]


def at(db: Database, run: str, step: int) -> Norms | None:
    """The norms of a step, or None where they were not asked for."""
    sql = "SELECT module, norm, time FROM gradient_norms WHERE run = ? AND step = ? ORDER BY place"
    rows = db.execute(sql, [run, step]).fetchall()
    if not rows:
        return None
    return Norms(step, rows[0][2], {module: math.nan if norm is None else norm for module, norm, _ in rows})
