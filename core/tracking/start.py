"""Feeders of live runs as the engine starts them: processes of their own, looked after and never waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.store import Database, tracked
from core.store.log import Level
from core.store.runs import Run
from core.tracking.feeding import begun
from core.tracking.reading import wanted
from core.workspace import Workspace

Log = Callable[[str, Level, str], None]
# How often a feeder that was killed is started again.
_STARTS = 3


@dataclass
class _Feeding:
    run: str
    process: subprocess.Popen[bytes]
    starts: int = 1


class Feeders:
    """Those of one engine. What goes wrong with them is said in the log of the run, and nowhere else."""

    def __init__(self, workspace: Workspace, log: Log) -> None:
        self._workspace, self._log = workspace, log
        self._on: list[_Feeding] = []

    def run_started(self, db: Database, run: Run) -> None:
        """Call before a run is executed; also when it goes on."""
        if not wanted(run):
            return
        try:
            rows = [begun(self._workspace, db, run, each) for each in wanted(run)]
            for one in rows:
                if one.state == "missing":
                    self._log(run.id, "warning", f"tracker {one.words}; the run goes on without it")
            if any(one.state in tracked.ON for one in rows):
                self._on.append(_Feeding(run.id, spawn(self._workspace, run.id)))
        except Exception as error:  # nothing of a tracker may keep a run from being executed
            self._log(run.id, "warning", f"trackers cannot be told of it ({error}); the run goes on without them")

    def tend(self) -> None:
        """Start those again that were ended by force. Returns at once."""
        for one in list(self._on):
            status = one.process.poll()
            if status is None:
                continue
            if status == 0 or one.starts >= _STARTS:
                self._on.remove(one)
                if status:
                    self._log(one.run, "warning", f"the process that tells trackers ended {_STARTS} times: given up")
                continue
            self._log(one.run, "warning", f"the process that tells trackers ended with {status}: started again")
            one.process, one.starts = spawn(self._workspace, one.run), one.starts + 1


def spawn(workspace: Workspace, run: str, trackers: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """A feeder that ends by itself."""
    folder = workspace.cache / "trackers"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Its own words are few: an error that it did not foresee. The file begins anew with each.
    log = os.open(folder / f"{run}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "core.tracking", str(workspace.root), run, *trackers],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=workspace.root,
            start_new_session=True,
        )
    finally:
        os.close(log)
