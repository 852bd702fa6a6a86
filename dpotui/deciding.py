"""What a person answers to "what follows the last iteration?", read and carried out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.errors import UserError
from core.store import runs
from core.store.iterations import CHOICES, Choice
from core.text import one_line
from dpotui.screens.dialogs import Ask, Field

if TYPE_CHECKING:
    from dpotui.app import Workbench

_ROLLBACK = re.compile(r"rollback(?: to)? (?:iteration )?(\d+|the start|start)")


def ask(bench: Workbench, run_id: str, then: Callable[[], object]) -> None:
    """Ask, with what the rule would do. When it is answered the run is queued, and `then` sees to an engine."""
    from core.experiments.iterate_decide import standing

    run = runs.get(bench.db, run_id)
    _, rounds, advice = standing(bench.db, run)
    to = "" if advice.choice != "rollback" else f" {advice.target}" if advice.target else " start"
    words = (
        f"Iteration {rounds[-1].number} of {run.id} is done. The rule would {advice.choice}{to}: {advice.reason}.\n\n"
        "continue goes on from here, stop lets this model stand, rollback N lets that of iteration N stand: its files"
        " and what was measured of it are put back in place. rollback N continue goes on from there."
    )
    fields = [
        Field("Decision: continue, stop, rollback N", f"{advice.choice}{to}"),
        Field("Why"),
        Field("Keys that are other from now on", hint="such as dpo.training.beta=0.2"),
    ]

    def answered(done: bool | None) -> None:
        if done:
            then()

    bench.push_screen(Ask("Decide", words, fields, _Answer(bench, run_id)), answered)


class _Answer:
    def __init__(self, bench: Workbench, run_id: str) -> None:
        self._bench, self._run = bench, run_id

    def __call__(self, values: list[str]) -> None:
        from core.experiments.iterate_decide import decide

        bench, (said, why, keys) = self._bench, values
        choice, to, goes_on = read_choice(said)
        if not why:
            raise UserError("say why: it stands with the decision")
        try:
            settings = shlex.split(keys)
        except ValueError:
            raise UserError("keys: a quotation mark is not closed") from None
        decide(
            bench.db, runs.get(bench.db, self._run), choice, why, bench.who, to=to, goes_on=goes_on, settings=settings
        )
        bench.say(f"decided: {one_line(said, 60)}")


def read_choice(said: str) -> tuple[Choice, int | None, bool]:
    """The choice, the iteration to go back to (None: the best one), and whether another follows from there.

    Raises:
        UserError: it is none.
    """
    words = " ".join(said.casefold().split())
    goes_on = words.startswith("rollback") and words.endswith(" continue")
    words = words.removesuffix(" continue") if goes_on else words
    found = _ROLLBACK.fullmatch(words)
    if found is not None:
        return "rollback", int(found[1]) if found[1].isdecimal() else 0, goes_on
    for choice in CHOICES:
        if words == choice:
            return choice, None, goes_on
    raise UserError(f"'{one_line(said, 30)}' is no decision: continue, stop, rollback, or rollback 1")
