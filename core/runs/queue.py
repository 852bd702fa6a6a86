"""The queue in a person's order: runs moved, put off, started whatever memory there is; and why each one waits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

from core.errors import UserError
from core.runs.moments import LATER, later
from core.store import Database, runs
from core.store.database import transaction
from core.store.runs import Run
from core.text import one_line

Way = Literal["first", "last", "up", "down"]


class Waiting(NamedTuple):
    """A run of the queue; `place` counts from 1, `why` is what it waits for, in words."""

    place: int
    run: Run
    why: str


def listing(db: Database, now: float | None = None) -> list[Waiting]:
    """The queue, the next one first."""
    now = time.time() if now is None else now
    live = next(iter(runs.listing(db, states=runs.LIVE, limit=1)), None)
    every = runs.waiting(db)
    return [Waiting(place, run, _why(db, run, every[: place - 1], live, now)) for place, run in enumerate(every, 1)]


def _why(db: Database, run: Run, before: Sequence[Run], live: Run | None, now: float) -> str:
    if run.not_before is not None and run.not_before > now:
        return f"not before {when(run.not_before, now)}"
    if run.parent is not None and (state := runs.get(db, run.parent).state) != "finished":
        return f"waits for {run.parent}, which is {state}"
    if run.phase.startswith(HELD):
        return run.phase
    if live is not None:
        return f"waits for {live.id} to end"
    return f"after {before[-1].id}" if before else "next"


# How the phase of a run begins that is held back for its memory.
HELD = "held: "


def when(moment: float, now: float) -> str:
    """A moment to come: by the clock where that is enough."""
    near = 0 <= moment - now < 20 * 3600
    return time.strftime("%H:%M" if near else "%Y-%m-%d %H:%M", time.localtime(moment))


def move(db: Database, run_id: str, way: Way, *, before: str | None = None) -> int:
    """Put a queued run elsewhere in the queue; returns its place, from 1.

    Args:
        before: another queued run, ahead of which it goes; `way` is passed over then.

    Raises:
        UserError: one of the two does not wait in the queue.
    """
    with transaction(db):
        order = [run.id for run in runs.waiting(db)]
        _refuse(db, run_id, order)
        at = order.index(run_id)
        order.remove(run_id)
        if before is not None:
            _refuse(db, before, [*order, run_id])
            if before == run_id:
                raise UserError(f"{run_id} cannot go ahead of itself: name another run")
            to = order.index(before)
        else:
            to = {"first": 0, "last": len(order), "up": max(0, at - 1), "down": min(len(order), at + 1)}[way]
        order.insert(to, run_id)
        # All are placed anew, before the first of them came: between two that came in the same moment there would be no
        # room, and whoever comes next, be it at once, comes behind them.
        first = min((run.created for run in runs.waiting(db)), default=time.time())
        for place, each in enumerate(order):
            runs.update(db, each, place=first - (len(order) - place) * 1e-3)
    return to + 1


def put_off(db: Database, run_id: str, text: str, now: float | None = None) -> float | None:
    """Let a queued run wait until a moment, as `core.runs.moments.later` reads it; None where that is now.

    Raises:
        UserError: it is no moment to come, or the run does not wait in the queue.
    """
    now = time.time() if now is None else now
    at = moment_of(text, now)
    with transaction(db):
        _refuse(db, run_id, [run.id for run in runs.waiting(db)])
        runs.update(db, run_id, not_before=at)
    return at


def moment_of(text: str, now: float) -> float | None:
    """
    Raises:
        UserError: it is no moment to come.
    """
    at = later(text, now)
    if at is None:
        raise UserError(f"'{one_line(text, 40)}' is no time to come: {LATER}")
    return at if at > now else None


def force(db: Database, run_id: str) -> None:
    """Start a queued run as soon as the engine is free, whatever its time and the memory.

    Raises:
        UserError: it does not wait in the queue.
    """
    move(db, run_id, "first")
    runs.update(db, run_id, forced=1, not_before=None, phase="")


def _refuse(db: Database, run_id: str, order: Sequence[str]) -> None:
    if run_id in order:
        return
    run = runs.get(db, run_id)
    if run.state == "queued" and run.part_of is not None:
        raise UserError(f"{run_id} is a part of {run.part_of}, which starts it itself: move that one")
    raise UserError(f"{run_id} is {run.state}: only a run that waits in the queue has a place in it")
