"""`python -m core.experiments.spread_worker ROOT`: answers items of a run that is another machine's, one line for each.

It reads its own copies of model and data, writes nothing but its answers, and ends with its input.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import environment, hardware
from core.errors import UserError
from core.experiments import cluster_agent
from core.workspace import Workspace

BEAT = 2.0

Message = dict[str, Any]
# What does items of a task: it says an answer to each, calls between where it may wait, and notes the rest.
Work = Callable[
    [Workspace, Message, Message, Callable[[str, Message], None], Callable[[], None], Callable[..., None]], None
]


class Desk:
    """What is said to the one who asked, and heard from them."""

    def __init__(self) -> None:
        # Libraries print what they like to what they take for standard output.
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self._heard: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._paused = threading.Event()

    def open(self) -> None:
        self.say({"dpotui": "share", "protocol": 1})
        threading.Thread(target=self._hear, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def say(self, message: Message) -> None:
        with self._lock:
            self._answers.write(json.dumps(message) + "\n")
            self._answers.flush()

    def next(self) -> Message:
        return self._heard.get()

    def between(self) -> None:
        """Wait where the run is paused."""
        while self._paused.is_set():
            time.sleep(0.1)

    def _hear(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if message["do"] == "pause":
                self._paused.set()
            elif message["do"] == "resume":
                self._paused.clear()
            else:
                self._heard.put(message)
        os._exit(0)  # the one who asked is gone, and so is this one, at once

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT)
            self.say({"beat": time.time()})


def _about(root: Path, paths: list[str]) -> Message:
    here = hardware.provenance()
    return {
        "versions": hardware.versions(),
        "code": cluster_agent.code(),
        "chip": here["chip"],
        **cluster_agent.hashes(root, paths),
    }


def _work(workspace: Workspace, message: Message, desk: Desk) -> None:
    from core.experiments.spread_shares import sealed

    task = message["task"]
    # Before MLX is loaded, which reads them once.
    environment.set_variables(environment.environment_in(task["config"]))
    answer: Work
    if task["kind"] == "generate":
        from core.experiments.spread_candidates import answer
    elif task["kind"] == "benchmarks":
        from core.experiments.spread_measures import answer_benchmarks as answer
    elif task["kind"] == "measure":
        from core.experiments.spread_measures import measure as answer
    else:
        raise UserError(f"'{task['kind']}' is no work that this dpotui knows: install the same on all hosts")
    answer(workspace, task, message, lambda name, said: desk.say(sealed(name, said)), desk.between, desk.say)
    desk.say({"done": len(message["items"])})


def main(root: Path) -> None:
    desk = Desk()
    desk.open()
    while True:
        message = desk.next()
        try:
            if message["do"] == "about":
                desk.say(_about(root, message["paths"]))
            else:
                _work(Workspace(root), message, desk)
        except UserError as error:
            desk.say({"error": str(error)})
        except Exception as error:
            desk.say({"error": f"{type(error).__name__}: {error}"})
            raise


if __name__ == "__main__":
    main(Path(sys.argv[1]).expanduser())
