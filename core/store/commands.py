"""Commands: what a person asked of a run, and when and how the engine answered."""

from __future__ import annotations

import time
from typing import Literal, NamedTuple

from sqlite_utils import Database

from core.errors import UserError
from core.store import runs
from core.store.database import transaction

Verb = Literal["pause", "resume", "stop", "checkpoint", "gradients"]

# What a run in no state to obey has not got, where "nothing to <verb>" would not do.
_NOTHING = {"gradients": "no step whose gradients could be measured"}
# Kinds of run that train.
_WITH_GRADIENTS = ("sft", "reward", "dpo")

_COLUMNS = "id, run, verb, who, time, obeyed, answer"


class Command(NamedTuple):
    id: int
    run: str
    verb: Verb
    who: str
    time: float
    obeyed: float | None
    answer: str | None


def send(db: Database, run_id: str, verb: Verb, who: str) -> int:
    """Ask the engine; returns the command's id, by which its answer can be watched.

    Raises:
        UserError: the run is not in a state in which the engine could obey.
    """
    with transaction(db):  # also around the look: the engine may be taking the run out of the queue right now
        run = runs.get(db, run_id)
        done: tuple[float | None, str | None] = (None, None)
        if run.state == "queued" and verb == "stop":
            runs.update(db, run_id, state="stopped", ended=time.time())
            done = (time.time(), "taken out of the queue")
        elif run.state not in runs.LIVE:
            raise UserError(f"{run_id} is {run.state}: there is {_NOTHING.get(verb, f'nothing to {verb}')}")
        elif verb == "gradients" and run.kind not in _WITH_GRADIENTS:
            raise UserError(f"{run_id} trains nothing ({run.kind}): it has no gradients")
        cursor = db.execute(
            "INSERT INTO commands (run, verb, who, time, obeyed, answer) VALUES (?, ?, ?, ?, ?, ?)",
            [run_id, verb, who, time.time(), *done],
        )
        return int(cursor.lastrowid)


def pending(db: Database, run_id: str) -> list[Command]:
    """What the engine has not answered yet, in order."""
    sql = f"SELECT {_COLUMNS} FROM commands WHERE run = ? AND obeyed IS NULL ORDER BY id"  # noqa: S608
    return [Command(*row) for row in db.execute(sql, [run_id])]


def answer(db: Database, command_id: int, text: str) -> None:
    """Mark a command as obeyed (or as not possible, in words)."""
    with transaction(db):
        db.execute("UPDATE commands SET obeyed = ?, answer = ? WHERE id = ?", [time.time(), text, command_id])


def of_run(db: Database, run_id: str, limit: int = 20) -> list[Command]:
    """The latest commands of a run, newest first."""
    sql = f"SELECT {_COLUMNS} FROM commands WHERE run = ? ORDER BY id DESC LIMIT ?"  # noqa: S608
    return [Command(*row) for row in db.execute(sql, [run_id, limit])]
