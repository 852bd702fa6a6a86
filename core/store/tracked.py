"""Trackers that a run is told to: how far each has been told, where to look, and what keeps it from more."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from sqlite_utils import Database

from core.store.database import storable, transaction
from core.text import one_line

# starting: its process comes up; sending: it keeps up with the run; waiting: it tries again after an error;
# done: all of the run was sent; failed: it was given up; missing: its package is not installed.
State = Literal["starting", "sending", "waiting", "done", "failed", "missing"]
STATES: tuple[State, ...] = get_args(State)
ON: tuple[State, ...] = ("starting", "sending", "waiting")

TITLES = {"wandb": "W&B", "mlflow": "MLflow", "tensorboard": "TensorBoard"}


@dataclass(frozen=True, slots=True)
class Position:
    """How far a tracker has been told: rows sent in all, the last step of each metric, the last fact."""

    rows: int = 0
    steps: Mapping[str, int] = field(default_factory=dict)
    fact: int = 0


@dataclass(frozen=True, slots=True)
class Tracked:
    """A row of `tracked`. `options` say where it was to go, `key` is the run's id there, `place` where to look."""

    run: str
    tracker: str
    state: State
    options: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    place: str = ""
    position: Position = Position()
    error: str = ""
    time: float = 0.0

    @property
    def title(self) -> str:
        return TITLES.get(self.tracker, self.tracker)

    @property
    def words(self) -> str:
        """One line: its name, where to look, how it stands."""
        where = (
            f" in {self.place}" if self.place and "://" not in self.place else f" at {self.place}" * bool(self.place)
        )
        why = f": {self.error}" if self.error and self.state in ("waiting", "failed", "missing") else ""
        rows = f", {self.position.rows:,} rows sent" if self.position.rows else ""
        return f"{self.title}{where} ({_STATED[self.state]}{rows}){why}"


_STATED = {
    "starting": "starting",
    "sending": "sending",
    "waiting": "tries again",
    "done": "all sent",
    "failed": "failed",
    "missing": "not installed",
}


def of_run(db: Database, run: str) -> list[Tracked]:
    return [_tracked(row) for row in db.query("SELECT * FROM tracked WHERE run = ? ORDER BY tracker", [run])]


def get(db: Database, run: str, tracker: str) -> Tracked | None:
    row = next(db.query("SELECT * FROM tracked WHERE run = ? AND tracker = ?", [run, tracker]), None)
    return _tracked(row) if row is not None else None


def newest(db: Database, limit: int = 200) -> list[Tracked]:
    """Those of all runs, what was told last first."""
    return [_tracked(row) for row in db.query("SELECT * FROM tracked ORDER BY time DESC LIMIT ?", [limit])]


def put(db: Database, one: Tracked) -> Tracked:
    """Write how it stands now, in the place of what stood there."""
    one = replace(one, time=time.time())
    position = {"rows": one.position.rows, "steps": dict(one.position.steps), "fact": one.position.fact}
    with transaction(db):
        db.execute(
            "INSERT OR REPLACE INTO tracked (run, tracker, state, options, key, place, position, error, time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [one.run, one.tracker, one.state, json.dumps(one.options), storable(one.key), storable(one.place),
             json.dumps(position), storable(one_line(one.error, 1000)), one.time],
        )  # fmt: skip
    return one


def forget(db: Database, run: str, tracker: str) -> None:
    with transaction(db):
        db.execute("DELETE FROM tracked WHERE run = ? AND tracker = ?", [run, tracker])


def _tracked(row: dict[str, Any]) -> Tracked:
    return Tracked(
        **{**row, "options": json.loads(row["options"]), "position": Position(**json.loads(row["position"]))}
    )
