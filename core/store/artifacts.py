"""Artifacts: files that a run wrote, with size and hash."""

from __future__ import annotations

import time
from typing import NamedTuple

from sqlite_utils import Database

from core.store.database import storable, transaction


class Artifact(NamedTuple):
    id: int
    run: str
    kind: str  # checkpoint, adapter, model, metrics, report, ...
    step: int | None
    path: str  # from the workspace
    sha256: str
    bytes: int
    time: float


def record(db: Database, run: str, kind: str, path: str, sha256: str, size: int, step: int | None = None) -> None:
    with transaction(db):
        db.execute(
            "INSERT OR REPLACE INTO artifacts (run, kind, step, path, sha256, bytes, time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [run, kind, step, storable(path), sha256, size, time.time()],
        )


def of_run(db: Database, run: str) -> list[Artifact]:
    sql = "SELECT id, run, kind, step, path, sha256, bytes, time FROM artifacts WHERE run = ? ORDER BY id"
    return [Artifact(*row) for row in db.execute(sql, [run])]


def forget(db: Database, run: str, path: str) -> None:
    """A file that was removed on purpose (an old checkpoint) is no artifact any more."""
    with transaction(db):
        db.execute("DELETE FROM artifacts WHERE run = ? AND path = ?", [run, storable(path)])
