"""A person who votes: the comparison in hand, what was said of it, and the next one that is open."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from core.data.comparisons import Comparison
from core.data.messages import Text
from core.data.votes import pace
from core.data.votes_order import Ballots, drawn_side
from core.store import Database, notes, votes
from core.store.votes import Choice, Side, Vote

# What is pressed: one of the two on the screen, or what is said of both.
Answer = Literal["A", "B", "tie", "reject", "skip"]

# The pace is that of the last votes: one is slower at the beginning.
_RECENT = 20
_FEW = 4


@dataclass(frozen=True, slots=True)
class Ballot:
    """A comparison as one annotator sees it: blind, with sides drawn by seed and name."""

    number: int
    comparison: Comparison
    side: Side  # of the first response

    @property
    def a(self) -> Text:
        return self.comparison.first if self.side == "A" else self.comparison.second

    @property
    def b(self) -> Text:
        return self.comparison.second if self.side == "A" else self.comparison.first

    def choice(self, answer: Answer) -> Choice:
        """What an answer means in the order of the texts."""
        if answer in ("A", "B"):
            return "first" if answer == self.side else "second"
        return answer  # type: ignore[return-value]  # the rest of the words are the same


class Session:
    """Votes of one person on the comparisons of a file. Each is saved before the next one is shown.

    Attributes:
        ballot: in hand; None when all are done.
        confidence: of the answer to come, from 1 to 5; None while it was not said.
        last: the vote that was cast last in this session; None when it was taken back.
        cast_here: votes cast in this session that stand.
    """

    def __init__(
        self, db: Database, ballots: Ballots, file: str, who: str, clock: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            file: as runs.db knows it (`Workspace.relative`).

        Raises:
            UserError: the file changed since it was looked through.
        """
        self.ballots, self.file, self.who = ballots, file, who
        self._db, self._clock = db, clock
        self._answers: dict[int, Choice] = {}
        for key, choice in votes.of_person(db, who).items():
            number = ballots.number_of(key)
            if number is not None:
                self._answers[number] = choice
        self._times = [vote.time for vote in votes.of_file(db, file, who)][-_RECENT - 1 :]
        self.ballot: Ballot | None = None
        self.confidence: int | None = None
        self.note = ""
        self.last: Vote | None = None
        self.cast_here = 0
        self._low = 0  # all below are answered
        self._go_on()

    @property
    def total(self) -> int:
        return len(self.ballots)

    @property
    def done(self) -> int:
        """How many have an answer of this person, skips too."""
        return len(self._answers)

    @property
    def skipped(self) -> int:
        return sum(choice == "skip" for choice in self._answers.values())

    @property
    def rate(self) -> float | None:
        """Answers a minute, of late; None before there are enough to say."""
        return pace(self._times)[1] if len(self._times) >= _FEW else None

    @property
    def minutes_left(self) -> float | None:
        return (self.total - self.done) / self.rate if self.rate else None

    def answer(self, answer: Answer) -> None:
        """Save what the person says of the comparison in hand, and turn to the next one that is open."""
        ballot = self.ballot
        if ballot is None:
            return
        vote = Vote(
            key=ballot.comparison.key,
            choice=ballot.choice(answer),
            who=self.who,
            side=ballot.side,
            confidence=None if answer == "skip" else self.confidence,
            note=self.note,
            file=self.file,
            line=ballot.comparison.line,
            seed=self.ballots.seed,
            time=self._clock(),
        )
        votes.cast(self._db, vote)
        self.last = vote
        self.cast_here += 1
        self._answers[ballot.number] = vote.choice
        self._times = [*self._times, vote.time][-_RECENT - 1 :]
        self._go_on()

    def undo(self) -> bool:
        """Take back the newest vote and turn to its comparison; False where there is none."""
        vote = votes.undo(self._db, self.who, self.file, lambda key: self.ballots.number_of(key) is not None)
        if vote is None:
            return False
        number = self.ballots.number_of(vote.key)
        assert number is not None
        self._answers.pop(number, None)
        self._times = [moment for moment in self._times if moment != vote.time]
        self.last = None
        self.cast_here = max(0, self.cast_here - 1)
        self._low = min(self._low, number)
        self._turn(number)
        self.confidence, self.note = vote.confidence, vote.note or self.note
        return True

    def take_note(self, text: str) -> None:
        """Keep a note on the comparison in hand, at once: it is in runs.db before the vote is."""
        if self.ballot is not None:
            self.note = text
            notes.add(self._db, _subject(self.ballot), text, self.who)

    def open_skipped(self) -> bool:
        """Turn to the first of those that were skipped; they are asked again, and their skips stand until then."""
        skipped = [number for number, choice in self._answers.items() if choice == "skip"]
        for number in skipped:
            del self._answers[number]
        self._low = 0
        self._go_on()
        return bool(skipped)

    def _go_on(self) -> None:
        while self._low < self.total and self._low in self._answers:
            self._low += 1
        if self._low < self.total:
            self._turn(self._low)
        else:
            self.ballot, self.confidence, self.note = None, None, ""

    def _turn(self, number: int) -> None:
        comparison = self.ballots.read(number)
        self.ballot = Ballot(number, comparison, drawn_side(self.ballots.seed, self.who, comparison.key))
        mine = [note.text for note in notes.of(self._db, _subject(self.ballot)) if note.who == self.who]
        self.confidence, self.note = None, mine[-1] if mine else ""


def _subject(ballot: Ballot) -> str:
    return f"comparison:{ballot.comparison.key}"
