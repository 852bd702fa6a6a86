"""What a run hears between its steps: commands from runs.db, and the engine's wish to leave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from core.store import Database, commands, runs
from core.store.commands import Command
from core.store.runs import State

# How often runs.db is asked; a look is one small indexed query.
INTERVAL = 0.1


class Stopped(Exception):
    """The run ends here, resumable: a person asked for it, or the engine is leaving (`leaving`)."""

    def __init__(self, *, leaving: bool) -> None:
        super().__init__("the engine is leaving" if leaving else "stopped")
        self.leaving = leaving


class Control:
    """Commands for one run. All of it happens in the run's own thread, with that thread's connection.

    Args:
        whole: the run that this one is a part of. A pause of it is one of this run, too; where it is to stop, this run
            leaves as if the engine did, to go on when the whole is resumed.
    """

    def __init__(self, db: Database, run_id: str, leaving: threading.Event, whole: str | None = None) -> None:
        self._db = db
        self._runs = (run_id,) if whole is None else (run_id, whole)
        self._leaving = leaving
        self._next_look = 0.0
        self._seen: list[Command] = []
        self._whole_stops = False

    def pending(self, *, now: bool = False) -> list[Command]:
        """Commands not yet answered, oldest first; as of the last look, which is at most INTERVAL ago, unless `now`."""
        if now or time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + INTERVAL
            found = [command for run in self._runs for command in commands.pending(self._db, run)]
            own = [command for command in found if command.run == self._runs[0] or command.verb != "stop"]
            self._whole_stops = len(own) < len(found)
            self._seen = own
        return self._seen

    @property
    def leaving(self) -> bool:
        self.pending()
        return self._leaving.is_set() or self._whole_stops

    def wants_stop(self) -> bool:
        """Whether to end soon; asked inside long evaluations."""
        return self.leaving or any(command.verb == "stop" for command in self.pending())

    def raise_if_stopping(self) -> None:
        """For work that has nothing to save: end at once when asked to."""
        if self.wants_stop():
            for command in self.pending():
                self.answer(command, "stopped")
            raise Stopped(leaving=self.leaving)

    def answer(self, command: Command, text: str) -> None:
        commands.answer(self._db, command.id, text)
        self._seen = [c for c in self._seen if c.id != command.id]

    def pause(
        self, command: Command, checkpoint: Callable[[], str], meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Wait until a person resumes or stops the run or the engine leaves; `checkpoint` writes one meanwhile.

        Args:
            meanwhile: called again and again.
        """
        self._are("paused")
        self.answer(command, "paused")
        while not self.leaving:
            time.sleep(INTERVAL)
            meanwhile()
            for later in self.pending():
                match later.verb:
                    case "pause":
                        self.answer(later, "already paused")
                    case "checkpoint":
                        self.answer(later, checkpoint())
                    case "resume":
                        self._are("running")
                        self.answer(later, "resumed")
                        return
                    case "stop":
                        return
                    case "gradients":
                        pass  # no step is computed now: those of the first one after the pause are measured

    def _are(self, state: State) -> None:
        for run in self._runs:
            runs.update(self._db, run, state=state)
