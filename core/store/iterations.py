"""Iterations: what each round of an iterate run started from, came to, and what was decided after it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sqlite_utils import Database

from core.errors import UserError
from core.store.database import storable, transaction

Choice = Literal["continue", "stop", "rollback"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


@dataclass(frozen=True, slots=True)
class Iteration:
    """One round. Number 0 is the start: its model is what the first round starts from, and it has no runs.

    Attributes:
        policy, reference, train_file: what the round starts from, is held to and learns from.
        model: the folder that its DPO wrote; None until it has.
        dpo, evaluation: ids of its runs.
        score: with `low` and `high`, its 95 % interval, and `n`; None where it is not known, and `why` says why.
        broken: limits that its model does not keep, in words; what is broken is never the best.
        weaknesses: what the evaluation found, as `core.experiments.weaknesses` has it.
    """

    run: str
    number: int
    policy: str
    reference: str
    train_file: str
    model: str | None = None
    dpo: str | None = None
    evaluation: str | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = ""
    why: str = ""
    broken: tuple[str, ...] = ()
    weaknesses: tuple[dict[str, Any], ...] = ()
    time: float = 0.0

    @property
    def measured(self) -> bool:
        return self.score is not None


@dataclass(frozen=True, slots=True)
class Decided:
    """What follows from a round. The newest of a round stands.

    Attributes:
        target: the round whose model stands from now on: of continue and stop the round itself.
        goes_on: another round follows, from the target.
        settings: keys that are other from the next round on, as `iteration.settings` has them.
        done: when the engine carried it out.
    """

    run: str
    number: int
    choice: Choice
    target: int
    goes_on: bool
    reason: str
    who: str
    settings: tuple[str, ...] = ()
    time: float = 0.0
    done: float | None = None
    id: int = field(default=0, compare=False)


def save(db: Database, iteration: Iteration) -> None:
    """Write a round as it is now known."""
    row = [
        iteration.run, iteration.number, storable(iteration.policy), storable(iteration.reference),
        storable(iteration.train_file), iteration.model, iteration.dpo, iteration.evaluation, iteration.score,
        iteration.low, iteration.high, iteration.n, iteration.unit, storable(iteration.why),
        json.dumps(iteration.broken), json.dumps(iteration.weaknesses), iteration.time or time.time(),
    ]  # fmt: skip
    with transaction(db):
        db.execute(f"INSERT OR REPLACE INTO iterations VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608


def listing(db: Database, run: str) -> list[Iteration]:
    """The rounds of a run, the start first."""
    rows = db.query("SELECT * FROM iterations WHERE run = ? ORDER BY number", [run])
    lists = ("broken", "weaknesses")
    return [Iteration(**{**row, **{name: tuple(json.loads(row[name])) for name in lists}}) for row in rows]


def decide(db: Database, decided: Decided) -> Decided:
    """Write a decision.

    Raises:
        UserError: no such choice, or nobody says why.
    """
    if decided.choice not in CHOICES:
        raise UserError(f"'{decided.choice}' is no decision: {', '.join(CHOICES)}")
    if not decided.reason.strip():
        raise UserError("a decision needs a reason: say why")
    with transaction(db):
        cursor = db.execute(
            "INSERT INTO iteration_decisions (run, number, choice, target, goes_on, reason, who, settings, time, done)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [decided.run, decided.number, decided.choice, decided.target, decided.goes_on, storable(decided.reason),
             storable(decided.who), json.dumps(decided.settings), decided.time or time.time(), decided.done],
        )  # fmt: skip
        made = cursor.lastrowid
    return next(each for each in decisions(db, decided.run) if each.id == made)


def decisions(db: Database, run: str) -> list[Decided]:
    """All decisions on the rounds of a run, oldest first."""
    rows = db.query("SELECT * FROM iteration_decisions WHERE run = ? ORDER BY id", [run])
    return [
        Decided(**{**row, "settings": tuple(json.loads(row["settings"])), "goes_on": bool(row["goes_on"])})
        for row in rows
    ]


def decision(db: Database, run: str, number: int) -> Decided | None:
    """The one that stands on a round."""
    return next((each for each in reversed(decisions(db, run)) if each.number == number), None)


def carried_out(db: Database, decided: Decided) -> None:
    """It is done."""
    with transaction(db):
        db.execute("UPDATE iteration_decisions SET done = ? WHERE id = ?", [time.time(), decided.id])


def left(db: Database) -> frozenset[str]:
    """The runs of rounds that a rollback went back from: what they made and measured does not stand."""
    sql = (
        "SELECT iterations.dpo, iterations.evaluation FROM iterations JOIN iteration_decisions AS decided"
        " ON decided.run = iterations.run AND iterations.number > decided.target"
        " AND iterations.number <= decided.number WHERE decided.choice = 'rollback' AND decided.done IS NOT NULL"
    )
    return frozenset(run for row in db.execute(sql) for run in row if run is not None)
