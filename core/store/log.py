"""Log lines of runs, paged from the end, and found by their words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from sqlite_utils import Database

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")

_LAST = 2**62
# Longer ones are not typed; SQLite refuses patterns of fifty thousand bytes.
_LONGEST_WORDS = 1000


class Line(NamedTuple):
    id: int
    run: str
    time: float
    level: Level
    text: str


def lines(
    db: Database,
    run: str,
    *,
    after: int = 0,
    before: int | None = None,
    level: Level = "debug",
    words: str = "",
    limit: int = 500,
) -> list[Line]:
    """Lines of at least this level, in order: of those between the ids `after` and `before` the last `limit`.

    Args:
        words: what they hold, case aside.
    """
    rows = _select(db, run, after, before, level, words, limit, "DESC")
    return [Line(*row) for row in reversed(rows.fetchall())]


def following(
    db: Database, run: str, *, after: int = 0, level: Level = "debug", words: str = "", limit: int = 500
) -> list[Line]:
    """The first `limit` lines behind the id `after`, in order."""
    return [Line(*row) for row in _select(db, run, after, None, level, words, limit, "ASC")]


def everything(db: Database, run: str) -> Iterator[Line]:
    """All lines of a run, in order, as they are asked for."""
    return (Line(*row) for row in _select(db, run, 0, None, "debug", "", -1, "ASC"))


def _select(
    db: Database, run: str, after: int, before: int | None, level: Level, words: str, limit: int, order: str
) -> Any:
    args: list[object] = [run, after, before if before is not None else _LAST]
    where = "run = ? AND id > ? AND id < ?"
    levels = LEVELS[LEVELS.index(level) :]
    if len(levels) < len(LEVELS):
        where += f" AND level IN ({', '.join('?' * len(levels))})"
        args += levels
    if words:
        where += _holding(db, words)
        args.append(_argument(words))
    return db.execute(f"SELECT id, run, time, level, text FROM log WHERE {where} ORDER BY id {order} LIMIT ?",  # noqa: S608
                      [*args, limit])  # fmt: skip


def _holding(db: Database, words: str) -> str:
    """LIKE knows the case of ASCII letters alone, and is fast."""
    if words.isascii():
        return " AND text LIKE ? ESCAPE '\\'"
    db.conn.create_function("casefold", 1, str.casefold, deterministic=True)
    return " AND instr(casefold(text), ?)"


def _argument(words: str) -> str:
    words = words[:_LONGEST_WORDS]
    if not words.isascii():
        return words.casefold()
    for character in "\\%_":
        words = words.replace(character, "\\" + character)
    return f"%{words}%"
