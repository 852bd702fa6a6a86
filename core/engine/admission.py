"""Which run of the queue starts next: the first one whose time has come and whose memory is free beside what runs."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from core.config.kinds import CONFIGS
from core.errors import UserError
from core.hardware import memory_free
from core.runs.queue import HELD
from core.store import Database, runs
from core.store.runs import Run
from core.text import one_line
from core.workspace import Workspace

# Seconds between two looks at memory for a run that is held.
_EVERY = 5.0
# Programs that are named as taking memory: so many, and none below this share of the machine's.
_NAMED, _LEAST = 3, 0.05


class Admission:
    """Chooses for one engine. A run that does not fit is held, with the reason as its phase, and others go ahead; it is
    looked at again and again, and started when there is room, or when a person says so."""

    def __init__(self, workspace: Workspace, free: Callable[[], int] = memory_free) -> None:
        self._workspace, self._free = workspace, free
        self._needs: dict[str, int | None] = {}  # bytes, by run; None where that is not known
        self._looked: dict[str, float] = {}

    def next(self, db: Database) -> Run | None:
        """The run to start now."""
        return next((run for run in runs.ready(db) if not self._held(db, run)), None)

    def awaits(self, db: Database) -> bool:
        """Whether some run will start without anybody's doing: at its time, or when memory is free."""
        return bool(runs.coming(db))

    def _held(self, db: Database, run: Run) -> bool:
        if run.forced or run.kind not in CONFIGS:
            return False
        if time.monotonic() - self._looked.get(run.id, -_EVERY) < _EVERY:
            return True
        need = self._need(run)
        if need is None or need > psutil.virtual_memory().total:
            return False  # what can never fit is not helped by waiting: who asked for it was told
        free = self._free()
        if need <= free:
            self._looked.pop(run.id, None)
            return False
        self._looked[run.id] = time.monotonic()
        why = f"{HELD}takes about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free beside {_others()}"
        if why != run.phase:
            runs.update(db, run.id, phase=why)
        return True

    def _need(self, run: Run) -> int | None:
        """Bytes at the highest, from the configuration; the same as said before a start."""
        if run.id not in self._needs:
            from core.training.forecast import forecast

            try:
                found = forecast(self._workspace, CONFIGS[run.kind].model_validate(run.config))
            except (UserError, ValueError):
                self._needs[run.id] = None  # the run will say itself what is wrong
            else:
                self._needs[run.id] = found.estimate.bytes
        return self._needs[run.id]


def _others() -> str:
    """The programs that take most memory, in words."""
    least = _LEAST * psutil.virtual_memory().total
    found = []
    for process in psutil.process_iter(["name", "pid", "memory_info"]):
        memory = process.info["memory_info"]
        if memory is not None and memory.rss >= least:
            found.append((memory.rss, one_line(process.info["name"] or "?", 30), process.info["pid"]))
    found.sort(reverse=True)
    named = [f"{name} ({pid}) {taken / 1e9:.1f} GB" for taken, name, pid in found[:_NAMED]]
    return ", ".join(named) or "other programs"
