"""A session of votes: what is pressed is what is stored, at once; it goes on where one left; undo goes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.data.votes_order import gather
from core.data.votes_session import Session
from core.store import Database, votes
from tests.core.data.test_votes import pairs, write


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "pairs.jsonl", pairs(12))


@pytest.fixture
def session(db: Database, path: Path) -> Iterator[Session]:
    ballots = gather(path, seed=7)
    yield Session(db, ballots, "data/pairs.jsonl", "ana", Clock())
    ballots.close()


def test_the_stored_side_decodes_to_the_response_that_was_seen(db: Database, session: Session) -> None:
    pressed: dict[str, str] = {}
    sides = set()
    while session.ballot is not None:
        # The better one wins, wherever it stands.
        ballot = session.ballot
        answer = "A" if str(ballot.a).startswith("good") else "B"
        pressed[ballot.comparison.key] = answer
        sides.add(answer)
        session.answer(answer)  # type: ignore[arg-type]
    assert sides == {"A", "B"}
    stored = votes.of_file(db, "data/pairs.jsonl")
    assert len(stored) == 12
    for vote in stored:
        assert vote.choice == "second"  # "good" comes after "bad" in the order of texts
        assert vote.letter == pressed[vote.key]
        assert (vote.seed, vote.who) == (7, "ana")


def test_the_sides_of_another_person_are_others(db: Database, path: Path) -> None:
    seen = {}
    for who in ("ana", "ben"):
        one = Session(db, gather(path, seed=7), "f", who)
        seen[who] = []
        while one.ballot is not None:
            seen[who].append((one.ballot.comparison.key, one.ballot.a))
            one.answer("skip")
    assert [key for key, _ in seen["ana"]] == [key for key, _ in seen["ben"]]
    assert seen["ana"] != seen["ben"]


def test_it_goes_on_where_one_left(db: Database, path: Path, session: Session) -> None:
    session.confidence = 4
    session.answer("A")
    session.answer("tie")
    assert (session.confidence, session.done, session.total) == (None, 2, 12)
    assert session.ballot is not None
    again = Session(db, gather(path, seed=7), "data/pairs.jsonl", "ana")
    assert again.ballot == session.ballot
    assert (again.done, again.cast_here) == (2, 0)
    # Another order has other pairs first, and passes over the same two.
    assert Session(db, gather(path, seed=8), "data/pairs.jsonl", "ana").done == 2
    assert Session(db, gather(path, seed=7), "data/pairs.jsonl", "ben").done == 0
    assert [vote.confidence for vote in votes.of_file(db, "data/pairs.jsonl")] == [4, None]


def test_undo_goes_back_as_often_as_one_likes(db: Database, session: Session) -> None:
    shown = []
    for sure in (1, 2, 3):
        assert session.ballot is not None
        shown.append(session.ballot.number)
        session.confidence = sure
        session.answer("B")
    for sure, number in zip((3, 2, 1), reversed(shown), strict=True):
        assert session.undo()
        assert session.ballot is not None
        assert (session.ballot.number, session.confidence) == (number, sure)
    assert not session.undo()
    assert (session.done, session.cast_here, votes.of_file(db, "data/pairs.jsonl")) == (0, 0, [])


def test_undo_leaves_votes_on_what_is_not_in_the_sample(db: Database, path: Path, session: Session) -> None:
    for _ in range(12):
        session.answer("A")
    small = Session(db, gather(path, seed=7, sample=3), "data/pairs.jsonl", "ana")
    assert (small.total, small.done, small.ballot) == (3, 3, None)
    assert small.undo()
    assert small.ballot is not None
    assert small.ballot.number == 2
    assert len(votes.of_file(db, "data/pairs.jsonl")) == 11


def test_skipped_ones_come_again_when_asked(db: Database, session: Session) -> None:
    assert session.ballot is not None
    first = session.ballot.comparison.key
    session.answer("skip")
    while session.ballot is not None:
        session.answer("reject")
    assert (session.skipped, session.done) == (1, 12)
    assert session.open_skipped()
    assert session.ballot is not None
    assert session.ballot.comparison.key == first
    session.answer("tie")
    assert session.ballot is None
    assert not session.open_skipped()
    assert {vote.choice for vote in votes.of_file(db, "data/pairs.jsonl")} == {"reject", "tie"}


def test_a_note_is_kept_before_the_vote_is_cast(db: Database, path: Path, session: Session) -> None:
    session.take_note("which one is the joke?")
    again = Session(db, gather(path, seed=7), "data/pairs.jsonl", "ana")  # the terminal was lost
    assert again.note == "which one is the joke?"
    again.answer("A")
    assert again.note == ""
    assert [vote.note for vote in votes.of_file(db, "data/pairs.jsonl")] == ["which one is the joke?"]
    assert Session(db, gather(path, seed=7), "data/pairs.jsonl", "ben").note == ""


def test_the_pace_needs_a_few_answers(session: Session) -> None:
    for _ in range(3):
        session.answer("A")
    assert session.rate is None
    session.answer("A")
    assert session.rate == 6.0
    assert session.minutes_left == pytest.approx(8 / 6)
