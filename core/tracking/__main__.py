"""`python -m core.tracking WORKSPACE RUN [TRACKER ...]`: the feeder of a run, a thread for each tracker of it.

Without names: those that the run's configuration asks for. A process of its own session, which neither ends with the
engine nor holds it up; SIGTERM ends it, and what was sent is not sent again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from contextlib import closing
from pathlib import Path

from core.store import open_store, runs
from core.tracking.feeding import Feeder
from core.tracking.reading import wanted
from core.workspace import Workspace, open_workspace


def main(folder: str, run: str, *names: str) -> None:
    os.nice(10)  # training comes first
    leaving = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())
    signal.signal(signal.SIGINT, lambda *_: leaving.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    workspace = open_workspace(Path(folder))
    with closing(open_store(workspace.database)) as db:
        trackers = names or tuple(wanted(runs.get(db, run)))
    defects: list[str] = []
    threads = [threading.Thread(target=_feed, args=(workspace, run, each, leaving, defects)) for each in trackers]
    for thread in threads:
        thread.start()
    for thread in threads:
        # A join without a limit would keep signals waiting.
        while thread.is_alive():
            thread.join(1)
    sys.exit(1 if defects else 0)


def _feed(workspace: Workspace, run: str, tracker: str, leaving: threading.Event, defects: list[str]) -> None:
    try:
        with closing(open_store(workspace.database)) as db:
            Feeder(workspace, db, run, tracker, stopping=leaving.is_set).feed()
    except Exception:  # such as a full disk: whoever started this process may start it again
        traceback.print_exc()
        defects.append(tracker)


if __name__ == "__main__":
    main(*sys.argv[1:])
