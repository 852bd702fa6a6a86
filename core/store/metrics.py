"""Metrics: a number at a step of a run, written in batches, read as a tail or as a decimated plot."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from sqlite_utils import Database


class Point(NamedTuple):
    step: int
    value: float  # NaN where the recorded value was not a finite number


class Bin(NamedTuple):
    """A range of steps: the smallest and largest value in it, and the mean of its finite values."""

    first: int
    last: int
    low: float
    high: float
    mean: float


class Summary(NamedTuple):
    points: int
    first: float
    last: float
    low: float
    high: float
    last_step: int


# Steps of a row in `metric_bins`.
BIN = 512
_LAST = 2**63 - 1


def write(db: Database, rows: Iterable[tuple[str, int, str, float, float]]) -> None:
    """Insert or replace rows of (run, step, name, value, time). The caller holds the transaction.

    A step that is computed again after a resume replaces itself.
    """
    ids: dict[tuple[str, str], int] = {}
    values = []
    for run, step, name, value, at in rows:
        if (run, name) not in ids:
            db.execute("INSERT OR IGNORE INTO series (run, name) VALUES (?, ?)", [run, name])
            ids[run, name] = db.execute("SELECT id FROM series WHERE run = ? AND name = ?", [run, name]).fetchone()[0]
        values.append((ids[run, name], step, value if math.isfinite(value) else None, at))
    db.conn.executemany("INSERT OR REPLACE INTO metrics (series, step, value, time) VALUES (?, ?, ?, ?)", values)
    db.conn.executemany(
        "INSERT OR REPLACE INTO metric_bins (series, bin, low, high, total, finite)"
        " SELECT ?1, ?2, min(value), max(value), total(value), count(value)"
        " FROM metrics WHERE series = ?1 AND step >= ?2 * ?3 AND step < (?2 + 1) * ?3",
        sorted({(series, step // BIN, BIN) for series, step, _, _ in values}),
    )


def names(db: Database, run: str) -> list[str]:
    return [row[0] for row in db.execute("SELECT name FROM series WHERE run = ? ORDER BY id", [run])]


def _series(db: Database, run: str, name: str) -> int | None:
    row = db.execute("SELECT id FROM series WHERE run = ? AND name = ?", [run, name]).fetchone()
    return row[0] if row else None


def _points(rows: Iterable[tuple[int, float | None]]) -> list[Point]:
    return [Point(step, math.nan if value is None else value) for step, value in rows]


def since(
    db: Database, run: str, name: str, step: int = -1, *, last: int | None = None, limit: int = -1
) -> list[Point]:
    """The points after `step` and up to `last`, in order; the first ones where there are more than `limit`."""
    series = _series(db, run, name)
    if series is None:
        return []
    sql = "SELECT step, value FROM metrics WHERE series = ? AND step > ? AND step <= ? ORDER BY step LIMIT ?"
    return _points(db.execute(sql, [series, step, _LAST if last is None else last, limit]))


def tail(db: Database, run: str, name: str, count: int) -> list[Point]:
    """The last `count` points, in order."""
    series = _series(db, run, name)
    if series is None:
        return []
    rows = db.execute(
        "SELECT step, value FROM metrics WHERE series = ? ORDER BY step DESC LIMIT ?", [series, count]
    ).fetchall()
    return _points(reversed(rows))


def reached(db: Database, run: str, name: str, last: int | None = None) -> int | None:
    """The newest step, or the newest one up to `last`."""
    series = _series(db, run, name)
    sql = "SELECT max(step) FROM metrics WHERE series = ? AND step <= ?"
    found: int | None = db.execute(sql, [series, _LAST if last is None else last]).fetchone()[0]
    return found


def decimated(
    db: Database, run: str, name: str, bins: int, *, first: int | None = None, last: int | None = None
) -> list[Bin]:
    """A series as at most `bins` ranges of equal width in steps, with nothing hidden: extremes are kept.

    Args:
        first: where a part of it begins.
        last: where that ends. Ranges that are wider than `BIN` may begin and end outside.
    """
    series = _series(db, run, name)
    if series is None:
        return []
    ends = _ends(db, series)
    if ends is None:
        return []
    first = ends[0] if first is None else max(first, ends[0])
    last = ends[1] if last is None else min(last, ends[1])
    width = max(1, math.ceil((last - first + 1) / bins))
    if width < BIN:
        # One range scan of the clustered index each: GROUP BY on an expression would sort.
        scale = 1
        sql = (
            "SELECT min(value), max(value), total(value), count(value) FROM metrics"
            " WHERE series = ? AND step >= ? AND step < ?"
        )
    else:
        # Whole rows of metric_bins: the first range may begin earlier than the series, which changes nothing.
        scale, width, first, last = BIN, math.ceil(width / BIN), first // BIN, last // BIN
        sql = (
            "SELECT min(low), max(high), total(total), total(finite) FROM metric_bins"
            " WHERE series = ? AND bin >= ? AND bin < ?"
        )
    found = []
    for start in range(first, last + 1, width):
        low, high, total, finite = db.execute(sql, [series, start, min(start + width, last + 1)]).fetchone()
        if finite:
            found.append(Bin(start * scale, (start + width) * scale - 1, low, high, total / finite))
    return found


def _ends(db: Database, series: int) -> tuple[int, int] | None:
    # Two look-ups in the index; min and max in one SELECT would read every row.
    sql = "SELECT (SELECT min(step) FROM metrics WHERE series = ?1), (SELECT max(step) FROM metrics WHERE series = ?1)"
    first, last = db.execute(sql, [series]).fetchone()
    return None if first is None else (first, last)


def summary(db: Database, run: str) -> dict[str, Summary]:
    """Each metric of a run in one line: how many finite points, first and last value, extremes."""
    found = {}
    for series, name in db.execute("SELECT id, name FROM series WHERE run = ? ORDER BY id", [run]).fetchall():
        ends = _ends(db, series)
        if ends is None:
            continue
        points, low, high = db.execute(
            "SELECT sum(finite), min(low), max(high) FROM metric_bins WHERE series = ?", [series]
        ).fetchone()
        at = dict(db.execute("SELECT step, value FROM metrics WHERE series = ? AND step IN (?, ?)", [series, *ends]))
        first, last, low, high = (math.nan if v is None else v for v in (at[ends[0]], at[ends[1]], low, high))
        found[name] = Summary(points, first, last, low, high, ends[1])
    return found
