"""A rater at work: every mark is in runs.db at once, undo, skip, notes, and going on where one left."""

from __future__ import annotations

from collections.abc import Callable

from core.evaluation.ratings.session import Session, sheet_of
from core.evaluation.ratings.source import Source
from core.store import Database, ratings

Clock = Callable[[], float]


def _session(db: Database, source: Source, clock: Clock, who: str = "ana", size: int | None = None) -> Session:
    return Session(db, source, sheet_of(source, who, size=size), who, clock)


def _marks(db: Database, source: Source, who: str = "ana") -> list[tuple[str, int | None]]:
    return [(one.criterion, one.mark) for one in ratings.of_file(db, source.file, who)]


def test_marks_are_saved_at_once_and_it_goes_on_by_itself(db: Database, source: Source, clock: Clock) -> None:
    session = _session(db, source, clock)
    assert (session.total, session.done, session.criterion) == (24, 0, 0)
    first = session.key
    assert session.give(7)
    assert _marks(db, source) == [("helpfulness", 7)]
    assert (session.key, session.criterion) == (first, 1)
    assert session.give(9)
    assert not session.give(11)
    assert not session.give(0)
    assert session.give(10)
    assert session.key != first
    assert (session.criterion, session.done) == (0, 1)
    # Somebody who comes back is in the middle of the next answer.
    session.give(3)
    again = _session(db, source, clock)
    assert (again.key, again.criterion, again.done, again.marks) == (session.key, 1, 1, {"helpfulness": 3})


def test_undo_goes_back_mark_by_mark_across_answers_and_sessions(db: Database, source: Source, clock: Clock) -> None:
    session = _session(db, source, clock)
    first = session.key
    for mark in (1, 2, 3, 4):
        session.give(mark)
    session = _session(db, source, clock)
    assert session.undo()
    assert (session.key != first, session.criterion, session.marks) == (True, 0, {})
    assert session.undo()
    assert (session.key, session.criterion, session.marks) == (first, 2, {"helpfulness": 1, "harmlessness": 2})
    session.give(5)
    assert _marks(db, source) == [("helpfulness", 1), ("harmlessness", 2), ("honesty", 5)]
    for _ in range(3):
        assert session.undo()
    assert not session.undo()
    assert _marks(db, source) == []


def test_a_mark_can_be_said_anew(db: Database, source: Source, clock: Clock) -> None:
    session = _session(db, source, clock)
    session.give(1)
    session.choose(-1)
    assert session.criterion == 0
    session.give(8)
    assert session.criterion == 1
    assert _marks(db, source) == [("helpfulness", 8)]
    assert session.given_here == 1


def test_what_is_passed_over_is_no_mark_and_can_be_asked_again(db: Database, source: Source, clock: Clock) -> None:
    session = _session(db, source, clock, size=1)
    assert session.total == 2
    first = session.key
    session.give(5)
    session.pass_over()
    session.give(6)
    session.skip()
    assert session.key is None
    assert (session.done, session.passed, session.given) == (2, 2, 2)
    assert [mark for _, mark in _marks(db, source)] == [5, None, 6, None, None, None]
    # A skip is taken back whole.
    assert session.undo()
    assert (session.done, session.criterion, session.marks) == (1, 0, {})
    session.skip()
    assert session.open_passed()
    assert (session.key, session.criterion) == (first, 1)
    session.pass_over()
    assert session.key != first
    for mark in (1, 2, 3):
        session.give(mark)
    assert session.key is None
    assert session.passed == 1


def test_notes_are_kept_beside_the_marks(db: Database, source: Source, clock: Clock) -> None:
    session = _session(db, source, clock)
    session.take_note("invents a source")
    first = session.key
    for mark in (1, 2, 3):
        session.give(mark)
    assert session.note == ""
    session.undo()
    assert (session.key, session.note) == (first, "invents a source")
    assert _session(db, source, clock).note == "invents a source"
    session.take_note("")
    assert [one.note for one in ratings.of_file(db, source.file) if one.criterion == ""] == [""]
    (mine,) = ratings.tally(ratings.of_file(db, source.file))
    assert (mine.marks, mine.notes, mine.answers, mine.passed) == (2, 0, 1, 0)


def test_raters_do_not_see_each_other(db: Database, source: Source, clock: Clock) -> None:
    ana, ben = _session(db, source, clock), _session(db, source, clock, "ben")
    ana.give(3)
    ben.give(9)
    assert _marks(db, source) == [("helpfulness", 3)]
    assert _marks(db, source, "ben") == [("helpfulness", 9)]
    assert ben.undo()
    assert not ben.undo()
    assert _marks(db, source) == [("helpfulness", 3)]


def test_the_pace(db: Database, source: Source, clock: Clock) -> None:
    session = _session(db, source, clock)
    for _ in range(6):
        session.give(5)
    assert session.rate == 6.0
    assert session.minutes_left == (24 * 3 - 6) / 6
