"""Why a run has nothing to show, or failed, in words; and what to try."""

from __future__ import annotations

from collections.abc import Sequence

from core.store.runs import LIVE, Run
from dpotui.live import Engine
from dpotui.roles import Span


def nothing_yet(run: Run, live: Run | None, engine: Engine) -> str:
    """What a run that has written no metrics says of itself."""
    if run.state == "queued":
        if engine.known and not engine.alive:
            return f"{run.id} waits in the queue, and no engine runs\n\nr starts one"
        if live is None or live.id == run.id:
            return f"{run.id} waits for the engine, which takes it up in a moment"
        return f"{run.id} waits in the queue: it starts when {live.id} has ended"
    if run.error:
        hint = f"\n\ntry: {run.hint}" if run.hint else ""
        return f"{run.id} failed: {run.error}{hint}\n\nthe log has more; g starts another run, r resumes this one"
    if run.state in LIVE:
        return f"{run.id} has written nothing here yet"
    return f"{run.id} measures nothing step by step: what it found stands among the gates and in its log"


def failed(run: Run) -> Sequence[Span]:
    """What is said above the charts of a run that failed, before its traceback."""
    if run.state != "failed":
        return ()
    hint: list[Span] = [(f"try: {run.hint}", "warn")] if run.hint else []
    return [(f"{run.id} failed: {run.error or 'no reason was written'}", "bad"), *hint]
