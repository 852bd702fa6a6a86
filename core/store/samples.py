"""Samples: what a run in training wrote to the same few prompts at its evaluations, and the reference to them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Literal, NamedTuple

from sqlite_utils import Database

from core.store.database import storable, transaction

Model = Literal["policy", "reference"]


class Sample(NamedTuple):
    """One response. `line` is that of the prompt in its file; `finish` why it ended: "stop" or "length"."""

    run: str
    step: int
    model: Model
    line: int
    prompt: str
    text: str
    finish: str
    tokens: int
    time: float = 0.0


_COLUMNS = ", ".join(Sample._fields)


def record(db: Database, samples: Iterable[Sample]) -> None:
    """Write responses; those of a step that is computed again after a resume take the place of the older ones."""
    now = time.time()
    rows = [(*s[:4], storable(s.prompt), storable(s.text), *s[6:8], s.time or now) for s in samples]
    with transaction(db):
        db.conn.executemany(
            f"INSERT OR REPLACE INTO samples ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            rows,
        )


def steps(db: Database, run: str) -> list[int]:
    """The steps at which the policy of a run was sampled, in order."""
    sql = "SELECT DISTINCT step FROM samples WHERE run = ? AND model = 'policy' ORDER BY step"
    return [step for (step,) in db.execute(sql, [run])]


def at(db: Database, run: str, step: int) -> list[Sample]:
    """The policy's responses of a step, by line of their prompts."""
    sql = f"SELECT {_COLUMNS} FROM samples WHERE run = ? AND step = ? AND model = 'policy' ORDER BY line"  # noqa: S608
    return [Sample(*row) for row in db.execute(sql, [run, step])]


def reference(db: Database, run: str) -> list[Sample]:
    """What the reference wrote, by line; empty where the run has none."""
    sql = f"SELECT {_COLUMNS} FROM samples WHERE run = ? AND model = 'reference' ORDER BY step, line"  # noqa: S608
    return [Sample(*row) for row in db.execute(sql, [run])]
