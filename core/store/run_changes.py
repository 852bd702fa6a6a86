"""What people changed of runs: name, tags, archive; who, when, and what it was before."""

from __future__ import annotations

import json
import time
from typing import Any, Literal, NamedTuple

from sqlite_utils import Database

from core.store.database import storable, transaction

Field = Literal["name", "tags", "archived"]


class Change(NamedTuple):
    id: int
    run: str
    field: Field
    before: Any
    after: Any
    who: str
    time: float
    undone: bool


_COLUMNS = "id, run, field, before, after, who, time, undone"


def record(db: Database, run: str, field: Field, before: Any, after: Any, who: str) -> None:
    """The caller holds the transaction in which it changes the run."""
    db.execute(
        "INSERT INTO run_changes (run, field, before, after, who, time) VALUES (?, ?, ?, ?, ?, ?)",
        [run, field, json.dumps(before), json.dumps(after), storable(who), time.time()],
    )


def of_run(db: Database, run: str) -> list[Change]:
    """Oldest first."""
    return [_change(row) for row in db.execute(f"SELECT {_COLUMNS} FROM run_changes WHERE run = ? ORDER BY id", [run])]  # noqa: S608


def last(db: Database, who: str) -> Change | None:
    """The newest change of a person that was not taken back."""
    sql = f"SELECT {_COLUMNS} FROM run_changes WHERE who = ? AND undone = 0 ORDER BY id DESC LIMIT 1"  # noqa: S608
    row = db.execute(sql, [storable(who)]).fetchone()
    return _change(row) if row else None


def mark_undone(db: Database, change: int) -> None:
    with transaction(db):
        db.execute("UPDATE run_changes SET undone = 1 WHERE id = ?", [change])


def _change(row: tuple[Any, ...]) -> Change:
    id_, run, field, before, after, who, moment, undone = row
    return Change(id_, run, field, json.loads(before), json.loads(after), who, moment, bool(undone))
