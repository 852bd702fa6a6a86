"""The writer thread: everything arrives, readers never wait, errors are not swallowed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlite_utils import Database

from core.errors import UserError
from core.store import log, metrics, runs
from core.store.writer import Writer
from core.workspace import Workspace

# A reader as the terminal is one: it polls, in a process of its own, until told to end; prints what went wrong.
_READER = """
import sys
from pathlib import Path
from core.store import log, metrics, open_store, runs
db = open_store(Path(sys.argv[1]))
looks = 0
print("ready", flush=True)
while runs.get(db, "dpo-001").phase != "over":
    points = metrics.tail(db, "dpo-001", "loss", 500)
    assert [p.step for p in points] == sorted(p.step for p in points)
    metrics.decimated(db, "dpo-001", "loss", 100)
    log.lines(db, "dpo-001", limit=50)
    looks += 1
print(looks)
"""


def test_all_rows_arrive_while_four_processes_read_and_one_writes_beside(workspace: Workspace, db: Database) -> None:
    runs.create(db, "dpo", config={})
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", _READER, str(workspace.database)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    assert all(reader.stdout and reader.stdout.readline() == "ready\n" for reader in readers)
    writer = Writer(workspace.database)
    count = 1500
    try:
        for step in range(count):
            writer.metric("dpo-001", step, {"loss": step / 7, "grad_norm": 1.0})
            writer.log("dpo-001", "info", f"step {step}")
            writer.progress("dpo-001", step, count, "training")
            if step % 50 == 0:
                runs.update(db, "dpo-001", hint=str(step))  # a second writer, as the terminal is
            time.sleep(0.001)
        writer.flush()
        assert runs.get(db, "dpo-001").step == count - 1
        writer.progress("dpo-001", count, count, "over")
    finally:
        writer.close()
    for reader in readers:
        looks, errors = reader.communicate(timeout=60)
        assert errors == ""
        assert int(looks) > 0
    assert [point.value for point in metrics.since(db, "dpo-001", "loss")] == [step / 7 for step in range(count)]
    assert metrics.summary(db, "dpo-001")["grad_norm"].points == count
    assert [line.text for line in log.lines(db, "dpo-001", limit=9999)] == [f"step {step}" for step in range(count)]


def test_handing_over_does_not_wait_for_the_disk(workspace: Workspace, db: Database) -> None:
    runs.create(db, "dpo", config={})
    writer = Writer(workspace.database)
    db.conn.execute("BEGIN IMMEDIATE")  # somebody holds the lock for long
    took = []
    for step in range(100):
        started = time.perf_counter()
        writer.metric("dpo-001", step, {"loss": 1.0})
        took.append(time.perf_counter() - started)
    time.sleep(0.5)
    db.conn.rollback()
    writer.close()
    assert sorted(took)[90] < 0.01  # what waits for the lock takes seconds
    assert len(metrics.since(db, "dpo-001", "loss")) == 100


def test_an_error_surfaces_once_and_the_writer_goes_on(workspace: Workspace, db: Database) -> None:
    runs.create(db, "dpo", config={})
    writer = Writer(workspace.database)
    writer.metric("no-such-run", 1, {"loss": 1.0})
    with pytest.raises(sqlite3.IntegrityError):
        writer.flush()
    writer.metric("dpo-001", 1, {"loss": 1.0})
    writer.flush()
    writer.close()
    assert len(metrics.since(db, "dpo-001", "loss")) == 1


def test_an_error_surfaces_at_close(workspace: Workspace, db: Database) -> None:
    writer = Writer(workspace.database)
    writer.metric("no-such-run", 1, {"loss": 1.0})
    with pytest.raises(sqlite3.IntegrityError):
        writer.close()


def test_a_store_that_cannot_be_opened_surfaces(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "runs.db")
    writer.metric("dpo-001", 1, {"loss": 1.0})
    with pytest.raises(UserError, match="does not exist"):
        writer.flush()
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_rows_that_the_disk_refused_are_written_when_it_recovers(
    workspace: Workspace, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.create(db, "dpo", config={})
    full = threading.Event()
    full.set()
    write = metrics.write

    def failing(*arguments: object) -> None:
        if full.is_set():
            raise sqlite3.OperationalError("database or disk is full")
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(metrics, "write", failing)
    writer = Writer(workspace.database)
    writer.metric("dpo-001", 1, {"loss": 1.0})
    with pytest.raises(sqlite3.OperationalError, match="full"):
        writer.flush()
    full.clear()
    writer.metric("dpo-001", 2, {"loss": 2.0})
    writer.close()
    assert [point.step for point in metrics.since(db, "dpo-001", "loss")] == [1, 2]


def test_text_that_utf8_cannot_hold_does_not_take_the_metrics_with_it(workspace: Workspace, db: Database) -> None:
    runs.create(db, "dpo", config={})
    writer = Writer(workspace.database)
    writer.log("dpo-001", "warning", "row 3: \ud83d is half a letter")
    writer.metric("dpo-001", 1, {"loss": 1.0})
    writer.close()
    assert [line.text for line in log.lines(db, "dpo-001")] == ["row 3: \\ud83d is half a letter"]
    assert len(metrics.since(db, "dpo-001", "loss")) == 1
