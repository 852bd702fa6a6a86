"""Votes of people on two responses to one prompt: cast, taken back, counted."""

from __future__ import annotations

import time as _time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlite_utils import Database

from core.errors import UserError
from core.store.database import storable, transaction
from core.text import one_line, printable

# `first` and `second` are the two responses in the order of their texts (`core.data.comparisons.comparison_key` sorts
# them so), whatever the order in a file: the same two may stand in one file as chosen and rejected and in another the
# other way round. `core.data.votes` says what a count means for a pair with its own chosen response.
Choice = Literal["first", "second", "tie", "reject", "skip"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
Side = Literal["A", "B"]

_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True)
class Vote:
    """What a person said of a comparison. `side` is where the first response stood on the screen; None where there
    was no screen. A skip is no opinion. `confidence` is from 1 to 5."""

    key: str
    choice: Choice
    who: str
    side: Side | None = None
    confidence: int | None = None
    note: str = ""
    file: str = ""  # as `Workspace.relative` writes it
    line: int | None = None
    seed: int | None = None
    run: str | None = None
    time: float = 0.0
    id: int = 0
    undone: bool = False

    @property
    def letter(self) -> str:
        """The choice as it was made on the screen: A, B, tie, reject or skip."""
        if self.choice not in ("first", "second") or self.side is None:
            return self.choice
        return "A" if (self.choice == "first") == (self.side == "A") else "B"


@dataclass(frozen=True, slots=True)
class Tally:
    """Standing votes of a comparison, in the order of its texts. Skips are not votes."""

    first: int = 0
    second: int = 0
    tie: int = 0
    reject: int = 0

    @property
    def votes(self) -> int:
        return self.first + self.second + self.tie + self.reject

    @property
    def agreement(self) -> float | None:
        """Share of the votes that say what most say; None without votes."""
        return max(self.first, self.second, self.tie, self.reject) / self.votes if self.votes else None

    @property
    def majority(self) -> Choice | None:
        """What more people said than anything else; None where two answers have the same number."""
        counts: list[tuple[int, Choice]] = [
            (self.first, "first"), (self.second, "second"), (self.tie, "tie"), (self.reject, "reject"),
        ]  # fmt: skip
        most = max(count for count, _ in counts)
        winners = [choice for count, choice in counts if count == most]
        return winners[0] if most and len(winners) == 1 else None

    def swapped(self) -> Tally:
        """The same seen from the other response."""
        return Tally(self.second, self.first, self.tie, self.reject)


def voter(name: str) -> str:
    """The name under which a person votes.

    Raises:
        UserError: it is empty, too long, or holds control characters.
    """
    name = name.strip()
    if not name or len(name) > _LONGEST_NAME or printable(name) != name or "\n" in name or "\t" in name:
        shown = one_line(name, 24)
        raise UserError(f"annotator '{shown}': a name of 1 to {_LONGEST_NAME} characters on one line is wanted")
    return name


def cast(db: Database, vote: Vote) -> int:
    """Save a vote at once and return its id. What the person said before of the same comparison counts no more."""
    with transaction(db):
        db.execute("UPDATE votes SET undone = 1 WHERE key = ? AND who = ? AND undone = 0", [vote.key, vote.who])
        cursor = db.execute(
            "INSERT INTO votes (key, choice, side, confidence, note, who, file, line, seed, run, time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [vote.key, vote.choice, vote.side, vote.confidence, storable(vote.note), storable(vote.who),
             storable(vote.file), vote.line, vote.seed, vote.run, vote.time or _time.time()],
        )  # fmt: skip
        assert cursor.lastrowid is not None
        return int(cursor.lastrowid)


def undo(db: Database, who: str, file: str, among: Callable[[str], bool] = lambda key: True) -> Vote | None:
    """Take back a person's newest standing vote on a file; that vote, or None where there is none.

    Args:
        among: whether a comparison is one of those that are voted on.
    """
    with transaction(db):
        sql = "SELECT * FROM votes WHERE file = ? AND who = ? AND undone = 0 ORDER BY time DESC, id DESC"
        row = next((row for row in db.query(sql, [storable(file), storable(who)]) if among(row["key"])), None)
        if row is None:
            return None
        db.execute("UPDATE votes SET undone = 1 WHERE id = ?", [row["id"]])
        return _vote(row)


def of_file(db: Database, relative: str, who: str | None = None) -> list[Vote]:
    """The standing votes that were cast on a file, skips too, oldest first; of one person where named."""
    sql = "SELECT * FROM votes WHERE file = ?1 AND undone = 0 AND (who = ?2 OR ?2 IS NULL) ORDER BY time, id"
    values = [storable(relative), storable(who) if who is not None else None]
    return [_vote(row) for row in db.query(sql, values)]


def of_person(db: Database, who: str) -> dict[str, Choice]:
    """What a person said of each comparison, on whatever file, skips too."""
    rows = db.execute("SELECT key, choice FROM votes WHERE who = ? AND undone = 0", [storable(who)])
    return dict(rows.fetchall())


def standing(db: Database) -> Iterator[Vote]:
    """All standing votes, skips too, oldest first."""
    for row in db.query("SELECT * FROM votes WHERE undone = 0 ORDER BY time, id"):
        yield _vote(row)


def standing_of(db: Database, key: str, who: str) -> Vote | None:
    """What a person says of a comparison now."""
    row = next(db.query("SELECT * FROM votes WHERE key = ? AND who = ? AND undone = 0", [key, storable(who)]), None)
    return _vote(row) if row else None


def was_cast(db: Database, vote: Vote) -> bool:
    """Whether this very vote is there, standing or not: of the same person, answer and moment."""
    sql = "SELECT 1 FROM votes WHERE key = ? AND who = ? AND choice = ? AND time = ?"
    return db.execute(sql, [vote.key, storable(vote.who), vote.choice, vote.time]).fetchone() is not None


def files_voted(db: Database) -> list[str]:
    """The files that have votes, the one voted on last first."""
    sql = "SELECT file FROM votes WHERE undone = 0 AND file != '' GROUP BY file ORDER BY max(time) DESC"
    return [file for (file,) in db.execute(sql)]


def tally(db: Database) -> dict[str, Tally]:
    """Standing votes of all people by comparison, on whatever file they were cast."""
    found: dict[str, dict[str, int]] = {}
    rows = db.execute("SELECT key, choice, count(*) FROM votes WHERE undone = 0 AND choice != 'skip' GROUP BY 1, 2")
    for key, choice, count in rows:
        found.setdefault(key, {})[choice] = count
    return {key: Tally(**counts) for key, counts in found.items()}


def tally_of(votes: Iterable[Vote]) -> dict[str, Tally]:
    """The same of votes that were read already."""
    found: dict[str, dict[str, int]] = {}
    for vote in votes:
        if vote.choice != "skip":
            counts = found.setdefault(vote.key, {})
            counts[vote.choice] = counts.get(vote.choice, 0) + 1
    return {key: Tally(**counts) for key, counts in found.items()}


def _vote(row: dict[str, Any]) -> Vote:
    return Vote(**{**row, "undone": bool(row["undone"])})
