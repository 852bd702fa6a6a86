"""Runs that a run is made of: each is done once, whatever came between, and found again when the whole is resumed."""

from __future__ import annotations

from core.config import RunConfig
from core.engine.client import submit
from core.store import runs
from core.store.runs import Kind, Run
from core.training.context import Context, Prune
from core.training.control import Stopped


def execute(
    context: Context,
    name: str,
    kind: Kind,
    config: RunConfig,
    *,
    title: str = "",
    config_path: str | None = None,
    prune: Prune | None = None,
) -> Run:
    """The part of this name as it ended: finished, stopped by a person, or failed.

    One that has finished already is not done again; one that began before goes on from where it was, with the
    configuration it has.

    Args:
        name: what the part is in the whole, such as "trial 3"; no other part may have it.
        title: the name of the new run.
        prune: asked after each of its evaluations; words end it, as stopped.

    Raises:
        Stopped: the whole is asked to stop, or the engine leaves. The part goes on when the whole is resumed.
    """
    assert context.execute is not None, "the engine executes parts"
    leave_if_asked(context)
    found = next((run for run in runs.parts(context.db, context.run.id) if run.part == name), None)
    if found is None:
        found = submit(
            context.workspace, context.db, kind, config,
            name=title, config_path=config_path, part_of=context.run.id, part=name,
        )  # fmt: skip
    elif found.state in runs.RESUMABLE:
        runs.requeue(context.db, found.id)
        found = runs.get(context.db, found.id)
    if found.state == "queued":
        context.execute(found, prune)
        found = runs.get(context.db, found.id)
    leave_if_asked(context)
    return found


def leave_if_asked(context: Context) -> None:
    """End the whole here where it is asked to.

    Raises:
        Stopped: so it is.
    """
    control = context.control
    stops = [command for command in control.pending(now=True) if command.verb == "stop"]
    if stops or control.leaving:
        runs.update(context.db, context.run.id, state="stopping")
        for command in stops:
            control.answer(command, "stopped; what was finished of it is kept")
        raise Stopped(leaving=not stops)
