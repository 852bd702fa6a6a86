"""A person who rates: the answer and criterion in hand, what was said of it, and the next one that is open."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data.messages import Text
from core.data.votes import pace
from core.evaluation.ratings.sample import in_order, texts
from core.evaluation.ratings.source import Source
from core.store import Database, ratings
from core.store.ratings import NOTE, Rating

# The pace is that of the last marks: one is slower at the beginning.
_RECENT = 30
_FEW = 6


@dataclass(frozen=True, slots=True)
class Sheet:
    """What one person rates, read from the file once."""

    keys: tuple[str, ...]  # in this person's order
    lines: dict[str, int]
    texts: dict[str, tuple[Text, str]]


def sheet_of(source: Source, who: str, *, size: int | None = None, seed: int | None = None) -> Sheet:
    """
    Args:
        size, seed: other ones than the configuration's.

    Raises:
        UserError: the file cannot be read, or has no answer.
    """
    seed = source.seed if seed is None else seed
    catalogue = source.catalogue()
    drawn = catalogue.drawn(size or source.human.sample_size, seed)
    lines = {key: catalogue.entries[key].line for key in drawn}
    return Sheet(tuple(in_order(drawn, seed, who)), lines, texts(Path(catalogue.path), drawn))


class Session:
    """Marks of one person. Each is saved before what comes next is shown.

    Attributes:
        key: of the answer in hand; None when all are done.
        criterion: number of the one in hand.
        marks: what this person said of the answer in hand, by criterion; None where it was passed over.
        note: on the answer in hand.
        said: what was done last in this session, in words.
        given_here: marks given in this session that stand.
    """

    def __init__(
        self, db: Database, source: Source, sheet: Sheet, who: str, clock: Callable[[], float] = time.time
    ) -> None:
        self.source, self.who = source, who
        self._db, self._sheet, self._clock = db, sheet, clock
        self._said: dict[str, dict[str, int | None]] = {}
        self._notes: dict[str, str] = {}
        mine = ratings.of_file(db, source.file, who)
        for one in mine:
            if one.key not in sheet.lines:
                continue
            if one.criterion == NOTE:
                self._notes[one.key] = one.note
            elif one.criterion in source.criteria:
                self._said.setdefault(one.key, {})[one.criterion] = one.mark
        self._times = [one.time for one in mine if one.criterion != NOTE][-_RECENT - 1 :]
        self.key: str | None = None
        self.criterion = 0
        self.said = ""
        self.given_here = 0
        self.changed_here = False
        self._asked_again: set[tuple[str, str]] = set()  # answer and criterion
        self._go_on()

    @property
    def criteria(self) -> tuple[str, ...]:
        return self.source.criteria

    @property
    def total(self) -> int:
        return len(self._sheet.keys)

    @property
    def done(self) -> int:
        """Answers of which everything is said, if only that one passes it over."""
        return sum(map(self._is_done, self._sheet.keys))

    @property
    def passed(self) -> int:
        """Answers of which something was passed over."""
        return sum(None in said.values() for said in self._said.values())

    @property
    def given(self) -> int:
        return sum(mark is not None for said in self._said.values() for mark in said.values())

    @property
    def noted(self) -> int:
        return sum(bool(note) for note in self._notes.values())

    @property
    def prompt(self) -> Text:
        assert self.key is not None
        return self._sheet.texts[self.key][0]

    @property
    def answer(self) -> str:
        assert self.key is not None
        return self._sheet.texts[self.key][1]

    @property
    def marks(self) -> dict[str, int | None]:
        return self._said.get(self.key or "", {})

    @property
    def note(self) -> str:
        return self._notes.get(self.key or "", "")

    @property
    def rate(self) -> float | None:
        """Marks a minute, of late; None before there are enough to say."""
        return pace(self._times)[1] if len(self._times) >= _FEW else None

    @property
    def minutes_left(self) -> float | None:
        left = sum(len(self.criteria) - len(self._said.get(key, ())) for key in self._sheet.keys)
        return left / self.rate if self.rate else None

    def give(self, mark: int) -> bool:
        """Save a mark by the criterion in hand and go on; False where it is not on the scale."""
        low, high = self.source.bounds
        if self.key is None or not low <= mark <= high:
            return False
        self._save((self.criteria[self.criterion],), mark)
        self.said = f"saved: {self.criteria[self.criterion]} {mark}"
        self._next()
        return True

    def pass_over(self) -> None:
        """Say that the criterion in hand does not apply here."""
        if self.key is not None:
            self._save((self.criteria[self.criterion],), None)
            self.said = f"{self.criteria[self.criterion]} passed over"
            self._next()

    def skip(self) -> None:
        """Pass over all that is not said yet of the answer in hand, and turn to the next one."""
        if self.key is not None:
            open_ = [c for number, c in enumerate(self.criteria) if self._is_open(self.key, number)]
            self._save(open_ or [self.criteria[self.criterion]], None)
            self.said = "skipped"
            self._go_on()

    def choose(self, by: int) -> None:
        """Turn to another criterion of the answer in hand, to say it anew."""
        if self.key is not None:
            self.criterion = (self.criterion + by) % len(self.criteria)

    def undo(self) -> bool:
        """Take back what was said last and turn to it; False where there is nothing."""
        criteria = set(self.criteria)
        taken = ratings.undo(self._db, self.who, self.source.file, lambda key: key in self._sheet.lines)
        while taken and taken[0].criterion not in criteria:  # of a criterion that is asked no more
            taken = ratings.undo(self._db, self.who, self.source.file, lambda key: key in self._sheet.lines)
        if not taken:
            return False
        first = taken[0]
        for one in taken:
            self._said.get(first.key, {}).pop(one.criterion, None)
        self._times = [moment for moment in self._times if moment != first.time]
        self.given_here = max(0, self.given_here - sum(one.mark is not None for one in taken))
        self.changed_here = True
        self.key, self.criterion = first.key, self.criteria.index(first.criterion)
        self.said = f"taken back: {first.criterion}" if len(taken) == 1 else "taken back: the skip"
        return True

    def take_note(self, text: str) -> None:
        """Keep a note on the answer in hand, at once; an empty one takes it away."""
        if self.key is not None and text != self.note:
            ratings.rate(self._db, self._rating(self.key, NOTE, None, self._clock(), text))
            self._notes[self.key] = text
            self.said = "note saved" if text else "note taken away"
            self.changed_here = True

    def open_passed(self) -> bool:
        """Ask what was passed over again; until something else is said, that stands."""
        self._asked_again = {(key, c) for key, said in self._said.items() for c, mark in said.items() if mark is None}
        self._go_on()
        return self.key is not None

    def _save(self, criteria: Sequence[str], mark: int | None) -> None:
        assert self.key is not None
        now = self._clock()
        ratings.rate(self._db, *(self._rating(self.key, criterion, mark, now) for criterion in criteria))
        said = self._said.setdefault(self.key, {})
        for criterion in criteria:
            self.given_here += (mark is not None) - (said.get(criterion) is not None)
            said[criterion] = mark
            self._asked_again.discard((self.key, criterion))
        self._times = [*self._times, now][-_RECENT - 1 :]
        self.changed_here = True

    def _rating(self, key: str, criterion: str, mark: int | None, now: float, note: str = "") -> Rating:
        run = self.source.run.id if self.source.run is not None else None
        return Rating(key, criterion, self.who, mark, note, self.source.file, self._sheet.lines[key], run, now)

    def _is_done(self, key: str) -> bool:
        return len(self._said.get(key, ())) == len(self.criteria)

    def _next(self) -> None:
        """The next criterion of the answer in hand that is open, or else the next answer."""
        assert self.key is not None
        for number in (*range(self.criterion + 1, len(self.criteria)), *range(self.criterion)):
            if self._is_open(self.key, number) and number != self.criterion:
                self.criterion = number
                return
        self._go_on()

    def _is_open(self, key: str, number: int) -> bool:
        criterion = self.criteria[number]
        return criterion not in self._said.get(key, ()) or (key, criterion) in self._asked_again

    def _go_on(self) -> None:
        for key in self._sheet.keys:
            for number in range(len(self.criteria)):
                if self._is_open(key, number):
                    self.key, self.criterion = key, number
                    return
        self.key, self.criterion = None, 0
