"""A person's word on what follows a round of iterations."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import UserError
from core.experiments.iterate_judgement import Advice, advise, best
from core.experiments.iterate_plan import FILES, Plan, plan_of
from core.store import Database, iterations, runs
from core.store.database import transaction
from core.store.iterations import Choice, Decided, Iteration
from core.store.runs import Run


def standing(db: Database, run: Run) -> tuple[Plan, list[Iteration], Advice]:
    """The plan of an iterate run, its rounds that are done, and what the rule would do after the last of them.

    Raises:
        UserError: it is no such run, or no round of it is done.
    """
    if run.kind != "iterate":
        raise UserError(f"{run.id} is a run of kind {run.kind}: 'dpotui runs list --kind iterate' lists iterations")
    rounds = [one for one in iterations.listing(db, run.id) if one.number == 0 or one.measured or one.why]
    if len(rounds) < 2 or FILES not in run.config:
        raise UserError(f"{run.id}: no iteration of it is done yet, there is nothing to decide on")
    plan = plan_of(run.config)
    return plan, rounds, advise(rounds, plan.config)


def decide(
    db: Database,
    run: Run,
    choice: Choice,
    reason: str,
    who: str,
    *,
    to: int | None = None,
    goes_on: bool = False,
    settings: Sequence[str] = (),
) -> Decided:
    """Keep a decision on the last round and queue the run, which carries it out.

    Args:
        to: of rollback, the round to go back to, 0 for the start; without it the best one.
        goes_on: of rollback, another round follows from there.
        settings: keys that are other in the rounds that follow, such as dpo.training.beta=0.2.

    Raises:
        UserError: the run is on, or still in a round; there is no such round; the options do not fit the choice.
    """
    plan, rounds, _ = standing(db, run)
    now = rounds[-1]
    if run.state in (*runs.LIVE, "queued"):
        raise UserError(f"{run.id} is {run.state}: stop it first, or wait until a round is done")
    if iterations.listing(db, run.id)[-1].number > now.number:
        raise UserError(
            f"{run.id} is in the middle of iteration {now.number + 1}: resume it, and decide when it is done"
        )
    target = now.number
    if choice == "rollback":
        top = best(rounds, plan.config)
        target = (0 if top is None else top.number) if to is None else to
        if not 0 <= target < len(rounds):
            raise UserError(f"there is no iteration {target}: 0 (the start) to {now.number}")
        if target == now.number:
            raise UserError(f"iteration {target} is the last one and the best: name another with --to, or stop")
    elif to is not None or goes_on:
        raise UserError(f"a round to go back to is for rollback: {choice} takes none")
    if settings and not (choice == "continue" or goes_on):
        raise UserError("settings are for rounds that follow, and none does")
    earlier = [one for each in iterations.decisions(db, run.id) for one in each.settings]
    plan_of(run.config, [*earlier, *settings])
    with transaction(db):
        made = iterations.decide(
            db,
            Decided(
                run.id, now.number, choice, target, choice == "continue" or goes_on, reason.strip(), who,
                tuple(settings),
            ),
        )  # fmt: skip
        runs.update(db, run.id, state="queued", error=None, hint=None, ended=None, phase="")
    return made
