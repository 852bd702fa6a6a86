"""Calibrations: batch sizes that were tried on this machine, and what each of them gave."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlite_utils import Database

from core.store.database import storable, transaction

# The key beside the configuration in the snapshot of a run of kind `calibrate`: the kind of training it is for.
FOR = "calibrate_for"

Fit = Literal["FITS", "TOO LARGE"]


class Size(NamedTuple):
    """One batch size. `rate` is in pairs (SFT: examples) per second, `peak` in bytes; None where it did not get so
    far. `note` says why it is too large, or what was done more than once."""

    size: int
    verdict: Fit
    rate: float | None
    peak: int | None
    seconds: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A row of `calibrations` with its sizes, smallest first. `subject` is what the answer holds for."""

    id: int
    run: str | None
    kind: str
    chip: str
    key: str
    subject: dict[str, Any]
    limit: int
    limit_source: str
    chosen: int | None
    reason: str
    started: float
    ended: float | None
    sizes: tuple[Size, ...] = ()

    @property
    def best(self) -> Size | None:
        """The measurement of the size that was chosen."""
        return next((size for size in self.sizes if size.size == self.chosen), None)


def key_of(subject: dict[str, Any]) -> str:
    """The hash by which a calibration is found again: of everything in `subject`."""
    return hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()


def begin(
    db: Database, *, run: str | None, kind: str, chip: str, subject: dict[str, Any], limit: int, limit_source: str
) -> int:
    """Open a calibration; returns its id. `limit` is the memory in bytes that a batch may take."""
    with transaction(db):
        cursor = db.execute(
            "INSERT INTO calibrations (run, kind, chip, key, subject, limit_bytes, limit_source, started)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [run, kind, storable(chip), key_of(subject), json.dumps(subject, sort_keys=True), limit,
             storable(limit_source), time.time()],
        )  # fmt: skip
        assert cursor.lastrowid is not None
        return int(cursor.lastrowid)


def add(db: Database, calibration: int, size: Size) -> None:
    """Keep what a size gave; measured again, the newer counts."""
    with transaction(db):
        db.execute(
            "INSERT OR REPLACE INTO calibration_sizes (calibration, size, verdict, rate, peak_bytes, seconds, note)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [calibration, size.size, size.verdict, size.rate, size.peak, size.seconds, storable(size.note)],
        )


def finish(db: Database, calibration: int, chosen: int | None, reason: str) -> None:
    with transaction(db):
        db.execute(
            "UPDATE calibrations SET chosen = ?, reason = ?, ended = ? WHERE id = ?",
            [chosen, storable(reason), time.time(), calibration],
        )


def remembered(db: Database, subject: dict[str, Any]) -> Calibration | None:
    """The newest calibration of exactly this subject that came to a choice."""
    sql = "SELECT * FROM calibrations WHERE key = ? AND chosen IS NOT NULL ORDER BY id DESC LIMIT 1"
    row = next(db.query(sql, [key_of(subject)]), None)
    return _calibration(db, row) if row else None


def get(db: Database, calibration: int) -> Calibration:
    (row,) = db.query("SELECT * FROM calibrations WHERE id = ?", [calibration])
    return _calibration(db, row)


def listing(db: Database, limit: int = -1) -> list[Calibration]:
    """Calibrations, newest first."""
    return [_calibration(db, row) for row in db.query("SELECT * FROM calibrations ORDER BY id DESC LIMIT ?", [limit])]


def of_run(db: Database, run: str) -> Calibration | None:
    """The newest calibration that a run made."""
    row = next(db.query("SELECT * FROM calibrations WHERE run = ? ORDER BY id DESC LIMIT 1", [run]), None)
    return _calibration(db, row) if row else None


def _calibration(db: Database, row: dict[str, Any]) -> Calibration:
    sizes = db.execute(
        "SELECT size, verdict, rate, peak_bytes, seconds, note FROM calibration_sizes WHERE calibration = ?"
        " ORDER BY size",
        [row["id"]],
    ).fetchall()
    rest = {name: value for name, value in row.items() if name not in ("subject", "limit_bytes")}
    return Calibration(
        **rest,
        subject=json.loads(row["subject"]),
        limit=row["limit_bytes"],
        sizes=tuple(Size(*size) for size in sizes),
    )
