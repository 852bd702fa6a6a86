"""The engine: a thread that executes queued runs one after the other, and the host that keeps it."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import TYPE_CHECKING

from core import environment, hardware
from core.engine.admission import Admission
from core.engine.client import ensure_engine
from core.engine.hooks import Hooks
from core.engine.lock import engine_lock
from core.engine.lost import mark_lost
from core.engine.reasons import reason_of
from core.engine.surroundings import surroundings
from core.errors import UserError
from core.store import Database, commands, engines, open_store, runs
from core.store.runs import Run
from core.store.writer import Writer
from core.tracking.start import Feeders
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.training.context import Prune

HEARTBEAT = 1.0
LOOK = 0.2
# A detached engine without work leaves; the next start of a run brings a new one.
IDLE_SECONDS = 60.0


def _version() -> str:
    try:
        return version("dpotui")
    except PackageNotFoundError:
        return "?"


class Engine:
    """Executes the queue of one workspace until `leave` or, when `idle_seconds` is given, until it has idled so long.

    `serve` blocks. Runs are executed in one thread made for it, so that MLX's streams, compile caches and random
    state, which belong to threads, are the same from a run's first step to its last.
    """

    def __init__(self, workspace: Workspace, hosting: str, idle_seconds: float | None) -> None:
        self._workspace = workspace
        self._hosting = hosting
        self._idle_seconds = idle_seconds
        self._leaving = threading.Event()
        self._failure: BaseException | None = None
        self._feeders: Feeders | None = None
        self.wants_successor = False  # a process that loads MLX with other variables

    def leave(self) -> None:
        """Checkpoint the run that is on, then end. Returns at once."""
        self._leaving.set()

    def serve(self) -> None:
        with engine_lock(self._workspace.engine_lock):
            db = open_store(self._workspace.database)
            mark_lost(db)
            engine = engines.register(db, self._hosting, _version(), hardware.provenance())
            worker = threading.Thread(target=self._work, args=(engine,), name="mlx")
            worker.start()
            while worker.is_alive():
                worker.join(HEARTBEAT)
                engines.beat(db, engine)
                if self._feeders is not None:
                    self._feeders.tend()
            engines.end(db, engine)
            db.close()
        if self._failure is not None:
            raise self._failure

    def _work(self, engine: int) -> None:
        try:
            db = open_store(self._workspace.database)
            writer = Writer(self._workspace.database)
            hooks = Hooks(self._workspace, writer.log)
            self._feeders = Feeders(self._workspace, writer.log)
            try:
                admission = Admission(self._workspace)
                idle_since = time.monotonic()
                while not self._leaving.is_set():
                    run = admission.next(db)
                    if run is not None and self._needs_another_process(run):
                        writer.log(run.id, "info", "the engine starts anew: MLX reads its variables when it begins")
                        self.wants_successor = True
                        break
                    if run is not None:
                        self._execute(db, writer, run, engine)
                        hooks.run_ended(runs.get(db, run.id))
                        idle_since = time.monotonic()
                    elif admission.awaits(db):
                        idle_since = time.monotonic()
                        self._leaving.wait(LOOK)
                    elif self._idle_seconds is not None and time.monotonic() - idle_since > self._idle_seconds:
                        break
                    else:
                        self._leaving.wait(LOOK)
            finally:
                hooks.join()
                writer.close()
                db.close()
        except BaseException as error:
            self._failure = error

    def _needs_another_process(self, run: Run) -> bool:
        return self._hosting == "detached" and environment.began_otherwise(environment.environment_in(run.config))

    def _execute(self, db: Database, writer: Writer, run: Run, engine: int, prune: Prune | None = None) -> None:
        # Before MLX is loaded, which reads them once.
        variables = environment.set_variables(environment.environment_in(run.config))
        # MLX is loaded here, in the thread that uses it, and not before there is something to do.
        from core import gates
        from core.engine.jobs import JOBS
        from core.training.context import Context
        from core.training.control import Stopped

        runs.update(
            db, run.id, state="running", engine=engine, started=run.started or time.time(), ended=None, error=None,
            hint=None, phase="starting",
        )  # fmt: skip
        writer.log(run.id, "info", f"{run.id} {'goes on' if run.started else 'started'}")
        assert self._feeders is not None
        self._feeders.run_started(db, runs.get(db, run.id))

        def part(other: Run, prune: Prune | None) -> None:
            self._execute(db, writer, other, engine, prune)

        context = Context(self._workspace, db, runs.get(db, run.id), writer, self._leaving, part, prune)
        ending: dict[str, str | None] = {}
        try:
            with surroundings(context, variables):
                JOBS[run.kind](context)
            ending = {"state": "finished"}
        except Stopped as stopped:
            ending = {"state": "interrupted" if stopped.leaving else "stopped"}
        except Exception as error:
            reason = reason_of(error, context.run)
            ending = {"state": "failed", "error": reason.error, "hint": reason.hint}
            # The words come first; what only a defect needs comes after them.
            writer.log(run.id, "error", reason.error)
            if reason.hint is not None:
                writer.log(run.id, "error", f"try: {reason.hint}")
            if not isinstance(error, UserError):
                writer.log(run.id, "debug", traceback.format_exc())
        writer.log(run.id, "info", f"{run.id} {ending['state']}")
        # All that the run reported is on disk before it reads as finished.
        writer.flush()
        runs.update(db, run.id, ended=time.time(), phase="", **ending)
        for command in commands.pending(db, run.id):
            commands.answer(db, command.id, f"{run.id} {_ENDED.get(str(ending['state']), 'has finished')}")
        _tell_children(db, run.id, str(ending["state"]))
        gates.follow(db, self._workspace)
        del context
        _free()


def _tell_children(db: Database, parent: str, state: str) -> None:
    """Runs that wait for this one say so as long as it has not finished."""
    for child in runs.listing(db, states=("queued",)):
        if child.parent == parent:
            runs.update(db, child.id, phase="" if state == "finished" else f"waits for {parent}, which {_ENDED[state]}")


# How a run that ended otherwise than finished is spoken of.
_ENDED = {"stopped": "was stopped", "failed": "failed", "interrupted": "was interrupted"}


def _free() -> None:
    gc.collect()
    import mlx.core as mx

    mx.clear_cache()


def serve_detached(workspace: Workspace, idle_seconds: float | None = IDLE_SECONDS) -> None:
    """Be the engine of this workspace in this process, until idle or told to leave (SIGTERM, SIGINT)."""
    engine = Engine(workspace, "detached", idle_seconds)

    def leave(number: int, frame: FrameType | None) -> None:
        engine.leave()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    # It has no terminal; a hangup that reaches it all the same means nothing to it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    engine.serve()
    if engine.wants_successor:
        ensure_engine(workspace, environment.as_started())


class InProcessEngine:
    """The same engine in a thread of this process, for tests, debugging and where one process is wanted."""

    def __init__(self, workspace: Workspace, on_failure: Callable[[BaseException], None] | None = None) -> None:
        self._workspace = workspace
        self._engine = Engine(workspace, "in-process", None)
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._serve, name="engine")

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, hand_over: bool = False) -> list[str]:
        """End after a checkpoint of the run that is on.

        Args:
            hand_over: an unfinished run goes on in a detached engine, from that checkpoint, to the same bits.

        Returns:
            The ids of the runs handed over.
        """
        self._engine.leave()
        self._thread.join()
        if not hand_over:
            return []
        db = open_store(self._workspace.database)
        engine = engines.latest(db)
        assert engine is not None
        mine = [run.id for run in runs.listing(db, states=("interrupted",)) if run.engine == engine.id]
        for run_id in mine:
            runs.requeue(db, run_id)
        if mine:
            ensure_engine(self._workspace)
        db.close()
        return mine

    def _serve(self) -> None:
        try:
            self._engine.serve()
        except BaseException as error:
            if self._on_failure is None:
                print(f"the engine ended: {error}", file=sys.stderr)  # noqa: T201
            else:
                self._on_failure(error)
