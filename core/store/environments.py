"""Variables and limits of MLX that a run computed under: what they were, who set them, whether they acted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlite_utils import Database

from core.store.database import storable, transaction

By = Literal["configuration", "shell", "default"]
# not yet: from the engine's next start. not told: it is set, and what reads it does not say.
Effect = Literal["effective", "without effect", "not yet", "not told"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them, as a run has it or would have it. `value` None: not set."""

    name: str
    key: str  # of the configuration; "" where there is none
    value: str | None
    by: By
    effect: Effect | None  # None: nothing was set
    why: str  # how the effect is known; what it would do, where nothing was set

    @property
    def asked(self) -> bool:
        return self.by != "default"

    def sentence(self) -> str:
        """In one line, for a log."""
        value = "not set" if self.value is None else self.value
        by = f" ({self.by})" if self.asked or self.value is not None else ""
        return f"{self.name}: {value}{by}: {self.effect + ': ' if self.effect else ''}{self.why}"


def record(db: Database, run: str, found: Sequence[Setting]) -> None:
    """In place of what stood there: a run that goes on has what it goes on with."""
    rows = [
        (run, place, one.name, one.key, None if one.value is None else storable(one.value), one.by, one.effect, one.why)
        for place, one in enumerate(found)
    ]
    with transaction(db):
        db.execute("DELETE FROM environments WHERE run = ?", [run])
        db.conn.executemany(
            "INSERT INTO environments (run, place, name, key, value, by, effect, why) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )


def of_run(db: Database, run: str) -> list[Setting]:
    """Empty where none was recorded."""
    sql = "SELECT name, key, value, by, effect, why FROM environments WHERE run = ? ORDER BY place"
    return [Setting(*row) for row in db.execute(sql, [run])]


def latest(db: Database) -> tuple[str, list[Setting]] | None:
    """The run that began last of those whose environment is known, and that."""
    sql = (
        "SELECT id FROM runs WHERE started IS NOT NULL AND id IN (SELECT run FROM environments)"
        " ORDER BY started DESC, id DESC LIMIT 1"
    )
    row = db.execute(sql).fetchone()
    return (row[0], of_run(db, row[0])) if row else None
