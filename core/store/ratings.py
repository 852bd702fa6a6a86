"""Marks of people on answers: given, taken back, counted; and what they note on an answer."""

from __future__ import annotations

import time as _time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from core.store.database import storable, transaction

# The criterion of a row that is a note on the answer as a whole.
NOTE = ""


@dataclass(frozen=True, slots=True)
class Rating:
    """A person's mark of one answer by one criterion; None where it was passed over. Of criterion `NOTE` it is a note
    and no mark. `key` is `core.evaluation.ratings.sample.answer_key`; `file` as `Workspace.relative` writes it."""

    key: str
    criterion: str
    who: str
    mark: int | None = None
    note: str = ""
    file: str = ""
    line: int = 0
    run: str | None = None  # the evaluation that wrote the answers
    time: float = 0.0
    id: int = 0
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """How much a person has said on a file. `seconds` since 1970 of the newest mark in `last`."""

    who: str
    marks: int
    passed: int
    notes: int
    answers: int  # with a mark
    last: float


def rate(db: Database, *given: Rating) -> None:
    """Save marks or notes at once, all or none. What a person said before of the same answer counts no more."""
    with transaction(db):
        for one in given:
            where = [storable(one.file), one.key, one.criterion, storable(one.who)]
            db.execute(
                "UPDATE ratings SET undone = 1 WHERE file = ? AND key = ? AND criterion = ? AND who = ? AND undone = 0",
                where,
            )
            db.execute(
                "INSERT INTO ratings (file, key, criterion, who, mark, note, line, run, time)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [*where, one.mark, storable(one.note), one.line, one.run, one.time or _time.time()],
            )


def undo(db: Database, who: str, file: str, among: Callable[[str], bool] = lambda key: True) -> list[Rating]:
    """Take back what a person did last on a file: a mark, or an answer that was passed over whole. Notes stay.

    Args:
        among: whether an answer is one of those that are rated.
    """
    with transaction(db):
        sql = (
            "SELECT * FROM ratings WHERE file = ? AND who = ? AND undone = 0 AND criterion != ''"
            " ORDER BY time DESC, id DESC"
        )
        rows = [row for row in db.query(sql, [storable(file), storable(who)]) if among(row["key"])]
        if not rows:
            return []
        newest = rows[0]
        together = [newest]
        if newest["mark"] is None:
            same = (newest["key"], newest["time"])
            together += [row for row in rows[1:] if (row["key"], row["time"]) == same and row["mark"] is None]
        for row in together:
            db.execute("UPDATE ratings SET undone = 1 WHERE id = ?", [row["id"]])
        return [_rating(row) for row in reversed(together)]


def of_file(db: Database, relative: str, who: str | None = None) -> list[Rating]:
    """What stands on the answers of a file, oldest first: marks, what was passed over, notes; of one person where
    named."""
    sql = "SELECT * FROM ratings WHERE file = ?1 AND undone = 0 AND (who = ?2 OR ?2 IS NULL) ORDER BY time, id"
    values = [storable(relative), storable(who) if who is not None else None]
    return [_rating(row) for row in db.query(sql, values)]


def standing_of(db: Database, given: Rating) -> Rating | None:
    """What the same person says of the same answer and criterion now."""
    sql = "SELECT * FROM ratings WHERE file = ? AND key = ? AND criterion = ? AND who = ? AND undone = 0"
    values = [storable(given.file), given.key, given.criterion, storable(given.who)]
    row = next(db.query(sql, values), None)
    return _rating(row) if row else None


def was_given(db: Database, given: Rating) -> bool:
    """Whether this very mark or note is there, standing or not: of the same person, answer and moment."""
    sql = (
        "SELECT 1 FROM ratings WHERE file = ? AND key = ? AND criterion = ? AND who = ? AND mark IS ? AND note = ?"
        " AND time = ?"
    )
    values = [storable(given.file), given.key, given.criterion, storable(given.who), given.mark, storable(given.note),
              given.time]  # fmt: skip
    return db.execute(sql, values).fetchone() is not None


def files_rated(db: Database) -> list[str]:
    """The files whose answers have marks, the one rated last first."""
    sql = "SELECT file FROM ratings WHERE undone = 0 GROUP BY file ORDER BY max(time) DESC"
    return [file for (file,) in db.execute(sql)]


def tally(given: Iterable[Rating]) -> list[Tally]:
    """How much each person has said, by name."""
    by_person: dict[str, list[Rating]] = {}
    for one in given:
        by_person.setdefault(one.who, []).append(one)
    return [
        Tally(
            who,
            marks=sum(one.mark is not None for one in said),
            passed=sum(one.mark is None and one.criterion != NOTE for one in said),
            notes=sum(bool(one.note) for one in said),
            answers=len({one.key for one in said if one.mark is not None}),
            last=max(one.time for one in said),
        )
        for who, said in sorted(by_person.items())
    ]


def _rating(row: dict[str, Any]) -> Rating:
    return Rating(**{**row, "undone": bool(row["undone"])})
