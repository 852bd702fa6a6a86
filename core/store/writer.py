"""The thread that brings metrics, log lines and progress to runs.db in batches: training never waits for a disk."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from pathlib import Path

from sqlite_utils import Database

from core.store import metrics
from core.store.database import open_store, storable, transaction
from core.store.log import Level

# How often a batch is written. Twice the rate at which the terminal looks.
INTERVAL = 0.25


Row = tuple[str, tuple[object, ...]]


class Writer:
    """Takes rows from any thread without blocking; `flush` waits until all that was handed over is on disk.

    An error while writing is raised by the next `flush` or `close`: a full disk must not go unseen. Rows that could
    not be written because of the disk or a lock are kept and tried again with the next ones.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[Row | threading.Event | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._hurry = threading.Event()  # somebody waits for what is in the queue
        self._thread = threading.Thread(target=self._work, name="store-writer")
        self._thread.start()

    def metric(self, run: str, step: int, values: dict[str, float]) -> None:
        now = time.time()
        for name, value in values.items():
            self._queue.put(("metric", (run, step, name, float(value), now)))

    def log(self, run: str, level: Level, text: str) -> None:
        self._queue.put(("log", (run, time.time(), level, storable(text))))

    def progress(self, run: str, step: int, steps: int, phase: str) -> None:
        self._queue.put(("progress", (step, steps, phase, run)))

    def flush(self) -> None:
        done = threading.Event()
        self._queue.put(done)
        self._hurry.set()
        while not done.wait(0.1):
            if not self._thread.is_alive():
                break
        self._raise()

    def close(self) -> None:
        self._queue.put(None)
        self._hurry.set()
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        try:
            db = open_store(self._path)
        except BaseException as error:  # handed to the thread that asks next, as below
            self._error = error
            return
        closing = False
        rows: list[Row] = []
        while not closing:
            items = [self._queue.get()]
            # An event or the end needs no company; rows wait for theirs.
            if isinstance(items[0], tuple):
                self._hurry.wait(INTERVAL)
                self._hurry.clear()
            while not self._queue.empty():
                items.append(self._queue.get())
            rows += [item for item in items if isinstance(item, tuple)]
            try:
                _write(db, rows)
                rows = []
                if isinstance(self._error, sqlite3.OperationalError):
                    self._error = None  # what could not be written then is written now
            except sqlite3.OperationalError as error:
                self._error = error
            except BaseException as error:
                self._error = error
                rows = []  # they would never be taken
            for item in items:
                if isinstance(item, threading.Event):
                    item.set()
                closing = closing or item is None
        db.close()


def _write(db: Database, rows: list[Row]) -> None:
    """All rows, or none and an exception."""
    if not rows:
        return
    with transaction(db):
        metrics.write(db, [args for what, args in rows if what == "metric"])  # type: ignore[misc]
        db.conn.executemany(
            "INSERT INTO log (run, time, level, text) VALUES (?, ?, ?, ?)",
            [args for what, args in rows if what == "log"],
        )
        # Only the newest progress of a run matters.
        newest = {args[-1]: args for what, args in rows if what == "progress"}
        db.conn.executemany("UPDATE runs SET step = ?, steps = ?, phase = ? WHERE id = ?", list(newest.values()))
