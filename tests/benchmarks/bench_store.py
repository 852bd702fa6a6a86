"""How fast runs.db answers the terminal: `make bench` prints it. Two million rows of one metric of one run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlite_utils import Database

from core.store import metrics, open_store, runs, transaction
from core.store.writer import Writer

ROWS = 2_000_000


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "runs.db"
    db = open_store(path, create=True)
    runs.create(db, "dpo", config={})
    started = time.perf_counter()
    for first in range(0, ROWS, 50_000):
        with transaction(db):
            metrics.write(
                db,
                [
                    ("dpo-001", step, "loss", math.sin(step / 900) + step % 7, 0.0)
                    for step in range(first, first + 50_000)
                ],
            )
    print(f"\n{ROWS:,} rows written in {time.perf_counter() - started:.1f} s, {path.stat().st_size / 1e6:.0f} MB")
    db.close()
    return path


def _milliseconds(work: Callable[[Database], object], path: Path) -> float:
    """The best of seven (others use the machine too), each with a fresh connection: SQLite's own cache is cold."""
    taken = []
    for _ in range(7):
        db = open_store(path)
        started = time.perf_counter()
        work(db)
        taken.append((time.perf_counter() - started) * 1000)
        db.close()
    return min(taken)


def test_the_last_30_000_of_2_000_000_rows(database: Path) -> None:
    milliseconds = _milliseconds(lambda db: metrics.tail(db, "dpo-001", "loss", 30_000), database)
    print(f"\nlast 30,000 of {ROWS:,} rows: {milliseconds:.1f} ms (limit 50 ms)")
    assert milliseconds < 50


@pytest.mark.parametrize("bins", [80, 400, 4000])
def test_a_decimated_series_of_all_rows(database: Path, bins: int) -> None:
    milliseconds = _milliseconds(lambda db: metrics.decimated(db, "dpo-001", "loss", bins), database)
    print(f"\n{ROWS:,} rows as {bins} ranges: {milliseconds:.1f} ms (limit 300 ms)")
    assert milliseconds < 300


def test_the_summary_of_a_run(database: Path) -> None:
    milliseconds = _milliseconds(lambda db: metrics.summary(db, "dpo-001"), database)
    print(f"\nsummary of {ROWS:,} rows: {milliseconds:.1f} ms (limit 50 ms)")
    assert milliseconds < 50


def test_handing_a_step_to_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    db = open_store(path, create=True)
    runs.create(db, "dpo", config={})
    writer = Writer(path)
    values = {f"metric/{i}": float(i) for i in range(15)}
    steps = 2_000
    started = time.perf_counter()
    for step in range(steps):
        writer.metric("dpo-001", step, values)
    microseconds = (time.perf_counter() - started) / steps * 1e6
    writer.close()
    print(f"\na step of 15 metrics handed to the writer: {microseconds:.0f} µs (limit 1000 µs)")
    assert microseconds < 1000
