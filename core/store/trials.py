"""Trials of sweeps: what was drawn for each, how it ended, and how much each parameter matters."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database

from core.store.database import storable, transaction

State = Literal["running", "complete", "pruned", "failed", "out of memory", "refused", "stopped"]

# Ended with nothing to show, for a reason that lies in the values that were drawn.
BROKEN: tuple[State, ...] = ("failed", "out of memory", "refused")


@dataclass(frozen=True, slots=True)
class Trial:
    """A row of `trials`.

    Attributes:
        drawn: what Optuna drew, by parameter: the value itself, or the quantile or the place that it stands for.
        parameters: what the drawn numbers come to.
        keys: keys of dpo_config.yaml that the trial has otherwise than the configuration of the sweep.
        kl: exact KL from the reference of what the trial handed over, in nats per token.
        evaluations: step and value of the metric, evaluation by evaluation.
        losses: how often the engine was gone without a word while it ran.
    """

    sweep: str
    number: int
    state: State
    drawn: dict[str, Any]
    parameters: dict[str, Any]
    keys: dict[str, Any]
    run: str | None
    value: float | None
    kl: float | None
    reason: str
    evaluations: tuple[tuple[int, float], ...]
    losses: int
    began: float
    ended: float | None


def _trial(row: dict[str, Any]) -> Trial:
    read = {name: json.loads(row[name]) for name in ("drawn", "parameters", "keys")}
    evaluations = tuple((int(step), float(value)) for step, value in json.loads(row["evaluations"]))
    return Trial(**{**row, **read, "evaluations": evaluations})


def begin(
    db: Database,
    sweep: str,
    *,
    drawn: Mapping[str, Any],
    parameters: Mapping[str, Any],
    keys: Mapping[str, Any],
) -> Trial:
    """The next trial of a sweep, from 1."""
    with transaction(db):
        (last,) = db.execute("SELECT coalesce(max(number), 0) FROM trials WHERE sweep = ?", [sweep]).fetchone()
        db.execute(
            "INSERT INTO trials (sweep, number, state, drawn, parameters, keys, began)"
            " VALUES (?, ?, 'running', ?, ?, ?, ?)",
            [sweep, last + 1, *(storable(json.dumps(dict(each))) for each in (drawn, parameters, keys)), time.time()],
        )
    return get(db, sweep, last + 1)


def get(db: Database, sweep: str, number: int) -> Trial:
    return next(trial for trial in of_sweep(db, sweep) if trial.number == number)


def of_sweep(db: Database, sweep: str) -> list[Trial]:
    """In order."""
    return [_trial(row) for row in db.query("SELECT * FROM trials WHERE sweep = ? ORDER BY number", [sweep])]


def update(db: Database, trial: Trial, **columns: Any) -> Trial:
    """Set columns of a trial; what is no number or text is written as JSON."""
    values = [json.dumps(v) if isinstance(v, dict | list | tuple) else _text(v) for v in columns.values()]
    assignments = ", ".join(f"{name} = ?" for name in columns)
    with transaction(db):
        db.execute(
            f"UPDATE trials SET {assignments} WHERE sweep = ? AND number = ?",  # noqa: S608
            [*values, trial.sweep, trial.number],
        )
    return get(db, trial.sweep, trial.number)


def _text(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


def end(db: Database, trial: Trial, state: State, reason: str = "", **columns: Any) -> Trial:
    return update(db, trial, state=state, reason=reason, ended=time.time(), **columns)


def keep_importances(db: Database, sweep: str, shares: Mapping[str, float], trials: int) -> None:
    """How much each parameter matters, as of so many trials; what was known before goes."""
    with transaction(db):
        db.execute("DELETE FROM importances WHERE sweep = ?", [sweep])
        for parameter, share in shares.items():
            db.execute(
                "INSERT INTO importances (sweep, parameter, share, trials) VALUES (?, ?, ?, ?)",
                [sweep, storable(parameter), share, trials],
            )


def importances(db: Database, sweep: str) -> dict[str, float]:
    """The largest first; empty before they are known."""
    sql = "SELECT parameter, share FROM importances WHERE sweep = ? ORDER BY share DESC, parameter"
    return dict(db.execute(sql, [sweep]).fetchall())
