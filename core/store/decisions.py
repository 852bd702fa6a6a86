"""Decisions: a person's word on what becomes of the model, with the criteria as they stood then."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sqlite_utils import Database

from core.errors import UserError
from core.store.database import storable, transaction

Choice = Literal["deploy", "iterate", "reject"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. The newest stands; older ones are history.

    Attributes:
        criteria: {"items": [{"name", "title", "met", "by"}], "against": [names]}: each criterion and what it was met
            by, and those that the person named when they decided to deploy all the same.
        run: the evaluation it rests on.
    """

    choice: Choice
    who: str
    note: str
    criteria: dict[str, Any] = field(default_factory=dict)
    run: str | None = None
    time: float = 0.0
    id: int = 0

    @property
    def against(self) -> tuple[str, ...]:
        """The unmet criteria that were named."""
        named = self.criteria.get("against", [])
        return tuple(str(name) for name in named) if isinstance(named, list) else ()

    @property
    def unmet(self) -> tuple[str, ...]:
        """Names of the criteria that were not met then."""
        items = self.criteria.get("items", [])
        return tuple(str(item["name"]) for item in items if not item["met"]) if isinstance(items, list) else ()


def record(db: Database, decision: Decision) -> Decision:
    """Write a decision. Without a time it is made now.

    Raises:
        UserError: no such choice, or nobody says why.
    """
    if decision.choice not in CHOICES:
        raise UserError(f"'{decision.choice}' is no decision: {', '.join(CHOICES)}")
    if not decision.note.strip():
        raise UserError("a decision needs a note: say why")
    with transaction(db):
        cursor = db.execute(
            "INSERT INTO decisions (choice, note, who, criteria, run, time) VALUES (?, ?, ?, ?, ?, ?)",
            [decision.choice, storable(decision.note), storable(decision.who),
             json.dumps(decision.criteria, sort_keys=True), decision.run, decision.time or time.time()],
        )  # fmt: skip
        made = cursor.lastrowid
    return next(each for each in history(db) if each.id == made)


def latest(db: Database) -> Decision | None:
    """The decision that stands."""
    return next(iter(_decisions(db.query("SELECT * FROM decisions ORDER BY id DESC LIMIT 1"))), None)


def history(db: Database) -> list[Decision]:
    """All decisions, newest first."""
    return list(_decisions(db.query("SELECT * FROM decisions ORDER BY id DESC")))


def _decisions(rows: Iterable[dict[str, Any]]) -> Iterable[Decision]:
    return (Decision(**{**row, "criteria": json.loads(row["criteria"])}) for row in rows)
