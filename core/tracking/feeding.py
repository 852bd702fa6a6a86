"""One tracker of one run: rows from runs.db to a worker, a mark behind what it kept, patience with what goes wrong."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.config.trackers import install_line, installed
from core.store import Database, runs, tracked, transaction
from core.store.database import storable
from core.store.log import Level
from core.store.runs import Run
from core.store.tracked import Position, Tracked
from core.tracking.messages import Worker, WorkerLost
from core.tracking.reading import behind, has_ended, options_of, rows_behind, subject_of, summary_of
from core.tracking.secrets import secret_in
from core.tracking.tracker import Subject, as_message
from core.workspace import Workspace

POLL = 2.0
# Waits after one failure, after two, and so on.
BACKOFF = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
# Seconds without any success after which it is given up, once the run has ended.
AFTER = 180.0
_AT_THE_END = 15.0  # the longest wait once the run has ended
# Rows in one call.
ROWS = 100


class Feeder:
    """Tells a tracker of a run until the run has ended and all was sent, or until it is given up.

    Args:
        db: of the calling thread.
        say: told what a person may want to know, beside the run's log.
        stopping: asked between calls whether to leave; what was sent is not sent again.
    """

    def __init__(
        self,
        workspace: Workspace,
        db: Database,
        run: str,
        tracker: str,
        options: dict[str, Any] | None = None,
        *,
        say: Callable[[Tracked], None] | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._workspace, self._db, self._run = workspace, db, run
        self._say, self._stopping = say, stopping
        self._one = begun(workspace, db, runs.get(db, run), tracker, options)
        self._warned = self._one.state == "waiting"
        self._best = self._one.position.rows  # most rows that were ever sent,
        self._good = time.monotonic()  # and when that was
        self._described: dict[str, Any] | None = None

    def feed(self) -> Tracked:
        """How it stands at the end."""
        if self._one.state in ("missing", "done"):
            return self._one
        with alone(self._workspace, self._run, self._one.tracker, self._stopping) as lock:
            if lock is None:
                return self._one
            # Whoever was before may have sent all of it.
            self._one = tracked.get(self._db, self._run, self._one.tracker) or self._one
            if self._one.state == "done" and not has_news(self._db, runs.get(self._db, self._run), self._one.position):
                return self._one
            failures = 0
            while not self._stopping():
                best = self._best
                try:
                    self._session(lock)
                    return self._one
                except WorkerLost as lost:
                    if self._stopping():
                        break
                    failures = 1 if self._best > best else failures + 1
                    if lost.final or self._too_late():
                        return self._give_up(str(lost))
                    self._wait_after(str(lost), BACKOFF[min(failures, len(BACKOFF)) - 1])
            self._put(state="waiting", error=f"left; {self._again} goes on")
        return self._one

    # One worker, from its beginning to its end

    def _session(self, lock: int) -> None:
        run = runs.get(self._db, self._run)
        subject = self._subject(run)
        secret = secret_in(subject.config)
        if secret is not None:
            raise WorkerLost(
                f"{secret} looks like a key or password, so nothing of the run is sent: keep it in the environment",
                final=True,
            )
        with Worker(self._one.tracker, lock) as worker:
            opened = worker.call(
                "open",
                subject=as_message(replace(subject, config={})),
                options=self._one.options,
                key=self._one.key,
            )
            position, skip = _start(self._one.position, opened["held"])
            self._described = None
            self._put(state="sending", key=opened["key"], place=opened["place"], position=position, error="")
            self._send_all(worker, skip)
            worker.call("close", state=_closed(runs.get(self._db, self._run)))
        self._put(state="done", error="")

    def _send_all(self, worker: Worker, skip: int) -> None:
        """Rows as they come until the run has ended, then what there is to say of it."""
        while True:
            run = runs.get(self._db, self._run)
            ended = has_ended(self._db, run)
            rows = rows_behind(self._db, self._run, self._one.position, ended=ended)
            if rows or ended:
                self._describe(worker, run)
            for start in range(0, len(rows), ROWS):
                batch = rows[start : start + ROWS]
                fresh = batch[skip:]
                skip -= len(batch) - len(fresh)
                if fresh:
                    worker.call("send", rows=[_message(row) for row in fresh])
                self._put(position=behind(self._one.position, batch))
            if self._stopping():
                worker.call("close", state="running")
                raise WorkerLost("left")
            if ended and not rows:
                break
            if not rows:
                self._pause(POLL)
        summary, position = summary_of(self._db, self._workspace, _as_ended(run), self._one.position)
        worker.call("summarize", summary=as_message(summary))
        self._put(position=position)

    def _describe(self, worker: Worker, run: Run) -> None:
        """The engine writes what it settled (a measured batch size) into the configuration before the first step."""
        if self._described != run.config:
            worker.call("describe", subject=as_message(self._subject(run)))
            self._described = run.config

    def _subject(self, run: Run) -> Subject:
        subject, again = subject_of(self._workspace, run), self._one.options.get("again")
        return replace(subject, unique=f"{subject.unique}-{again}") if again else subject

    # How it stands

    def _put(self, **changed: Any) -> None:
        before, self._one = self._one, replace(self._one, **changed)
        if self._one != before:
            self._one = tracked.put(self._db, self._one)
            if self._say is not None:
                self._say(self._one)
        further = self._one.position.rows > self._best
        if further:
            self._best, self._good = self._one.position.rows, time.monotonic()
        # It works again when it has more than before; one that fails at the same row each time is warned of once.
        if (before.state, self._one.state) == ("starting", "sending") or (further and self._warned):
            self._warned = False
            self._log("info", f"tracker {self._one.words}")

    def _wait_after(self, error: str, seconds: float) -> None:
        self._put(state="waiting", error=error)
        if not self._warned:
            self._warned = True
            self._log("warning", f"tracker {self._one.words}; the run goes on without it")
        self._pause(seconds)

    def _give_up(self, error: str) -> Tracked:
        self._put(state="failed", error=error)
        self._log("warning", f"tracker {self._one.words}; runs.db has all of it, {self._again} sends it later")
        return self._one

    @property
    def _again(self) -> str:
        return f"'dpotui track {self._run} --to {self._one.tracker}'"

    def _too_late(self) -> bool:
        run = runs.get(self._db, self._run)
        since = max(time.time() - (run.ended or 0.0), 0.0)
        return has_ended(self._db, run) and min(since, time.monotonic() - self._good) > AFTER

    def _pause(self, seconds: float) -> None:
        """The end of the run, and being asked to leave, cut it short."""
        ended = has_ended(self._db, runs.get(self._db, self._run))
        until = time.monotonic() + (min(seconds, _AT_THE_END) if ended else seconds)
        while time.monotonic() < until and not self._stopping():
            time.sleep(min(0.5, max(0.0, until - time.monotonic())))
            if not ended and has_ended(self._db, runs.get(self._db, self._run)):
                return

    def _log(self, level: Level, text: str) -> None:
        log(self._db, self._run, level, text)


def begun(workspace: Workspace, db: Database, run: Run, tracker: str, options: dict[str, Any] | None = None) -> Tracked:
    """The row of a tracker, made where there is none; one that failed begins anew from its mark."""
    with transaction(db):  # another feeder may move the mark
        before = found = tracked.get(db, run.id, tracker)
        if found is None:
            found = Tracked(run.id, tracker, "starting", options_of(workspace, run) | (options or {}))
        elif options:
            found = replace(found, options=found.options | options)
        if not installed(tracker):
            found = replace(found, state="missing", error=install_line(tracker))
        elif found.state in ("failed", "missing") or (found.state == "done" and has_news(db, run, found.position)):
            found = replace(found, state="starting", error="")
        return found if found == before else tracked.put(db, found)


def has_news(db: Database, run: Run, position: Position) -> bool:
    """Whether there is, or may be, more than was sent."""
    if not has_ended(db, run) or rows_behind(db, run.id, position, ended=True, points=1):
        return True
    sql = "SELECT 1 FROM facts WHERE run = ? AND id > ? AND value IS NOT NULL LIMIT 1"
    return db.execute(sql, [run.id, position.fact]).fetchone() is not None


def log(db: Database, run: str, level: Level, text: str) -> None:
    with transaction(db):
        db.execute(
            "INSERT INTO log (run, time, level, text) VALUES (?, ?, ?, ?)", [run, time.time(), level, storable(text)]
        )


def anew(db: Database, run: str, tracker: str) -> None:
    """Forget what was sent: it begins under a name of its own, and what is there stays there."""
    with transaction(db):
        found = tracked.get(db, run, tracker)
        if found is not None:
            options = found.options | {"again": f"{int(time.time()):x}"}
            tracked.put(db, Tracked(run, tracker, "starting", options))


def is_fed(workspace: Workspace, run: str, tracker: str) -> bool:
    """Whether a feeder is at it."""
    try:
        handle = os.open(_lock(workspace, run, tracker), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(handle)


def _lock(workspace: Workspace, run: str, tracker: str) -> Path:
    return workspace.cache / "trackers" / f"{run}.{tracker}.lock"


@contextmanager
def alone(workspace: Workspace, run: str, tracker: str, stopping: Callable[[], bool]) -> Iterator[int | None]:
    """Hold a run's tracker; its workers hold it with us, so that one which was left behind has ended first.

    Yields:
        The lock; None where one was asked to leave before it was free.
    """
    path = _lock(workspace, run, tracker)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stopping():
                    yield None
                    return
                time.sleep(0.2)
        yield handle
    finally:
        os.close(handle)


def _start(position: Position, held: int | None) -> tuple[Position, int]:
    """From where to read, and how many rows of that are there already.

    More than the mark says: killed before it was moved. Less: lost there, so all is gone through anew.
    """
    if held is None or held == position.rows:
        return position, 0
    return (position, held - position.rows) if held > position.rows else (Position(), held)


def _message(row: Any) -> list[Any]:
    # JSON knows no NaN.
    return [row.step, row.time, {name: None if value != value else value for name, value in row.values.items()}]


def _as_ended(run: Run) -> Run:
    return run if run.state not in (*runs.LIVE, "queued") else replace(run, state="interrupted")


def _closed(run: Run) -> str:
    return _as_ended(run).state
