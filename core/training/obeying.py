"""Commands between the items of a run whose every item is on disk when it is done: pause, checkpoint, stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from core.store import runs
from core.training.context import Context
from core.training.control import Stopped


def obey(context: Context, kept: Callable[[], str]) -> float:
    """Do what was asked since the last call; returns the seconds that the run was paused.

    Args:
        kept: what is on disk, in words; the answer to whoever asked.

    Raises:
        Stopped: a person asked for it, or the engine is leaving.
    """
    control, paused = context.control, 0.0
    for command in control.pending():
        match command.verb:
            case "checkpoint":
                control.answer(command, kept())
            case "pause":
                began = time.monotonic()
                control.pause(command, kept)
                paused += time.monotonic() - began
            case "resume":
                control.answer(command, "it is not paused")
    stops = [command for command in control.pending() if command.verb == "stop"]
    if stops or control.leaving:
        runs.update(context.db, context.run.id, state="stopping")
        for command in stops:
            control.answer(command, f"stopped, {kept()}")
        raise Stopped(leaving=not stops)
    return paused
