"""Log lines of runs, paged from the end."""

from __future__ import annotations

from typing import Literal, NamedTuple

from sqlite_utils import Database

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")


class Line(NamedTuple):
    id: int
    run: str
    time: float
    level: Level
    text: str


def lines(
    db: Database, run: str, *, after: int = 0, before: int | None = None, level: Level = "debug", limit: int = 500
) -> list[Line]:
    """Lines of at least this level, in order: of those between the ids `after` and `before` the last `limit`."""
    levels = LEVELS[LEVELS.index(level) :]
    rows = db.execute(
        f"SELECT id, run, time, level, text FROM log WHERE run = ? AND id > ? AND id < ?"  # noqa: S608
        f" AND level IN ({', '.join('?' * len(levels))}) ORDER BY id DESC LIMIT ?",
        [run, after, before if before is not None else 2**62, *levels, limit],
    ).fetchall()
    return [Line(*row) for row in reversed(rows)]
