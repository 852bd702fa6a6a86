"""Notes of people on a run or a checklist item."""

from __future__ import annotations

import time
from typing import NamedTuple

from sqlite_utils import Database

from core.store.database import storable, transaction


class Note(NamedTuple):
    id: int
    subject: str  # "run:dpo-003" or "item:<id>"
    text: str
    who: str
    time: float


def add(db: Database, subject: str, text: str, who: str) -> None:
    with transaction(db):
        db.execute(
            "INSERT INTO notes (subject, text, who, time) VALUES (?, ?, ?, ?)",
            [subject, storable(text), storable(who), time.time()],
        )


def of(db: Database, subject: str) -> list[Note]:
    return [
        Note(*row)
        for row in db.execute("SELECT id, subject, text, who, time FROM notes WHERE subject = ? ORDER BY id", [subject])
    ]
