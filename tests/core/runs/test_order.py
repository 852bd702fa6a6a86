"""Names, tags, notes and the archive: what is kept, who did it, and back."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.runs import order
from core.store import Database, notes, run_changes, runs
from tests.core.runs.conftest import NOW, add


def test_each_change_is_recorded_with_who_and_taken_back_in_turn(db: Database) -> None:
    run = add(db, state="finished")
    order.rename(db, run, " calm ", "ana")
    order.tag(db, run, ["good", "keep", "good"], "ana")
    order.untag(db, run, ["keep"], "ana")
    order.archive(db, run, "ana")
    changed = runs.get(db, run)
    assert (changed.name, changed.tags, changed.archived is not None) == ("calm", ("good",), True)
    found = run_changes.of_run(db, run)
    assert [change.who for change in found] == ["ana"] * 4
    assert [order.said(change) for change in found] == [
        f"name {run} → calm", "tags +good +keep", "tags -keep", "archived",
    ]  # fmt: skip
    for expected in (("calm", ("good",), None), ("calm", ("good", "keep"), None), ("calm", (), None), (run, (), None)):
        assert order.undo(db, "ana") is not None
        now = runs.get(db, run)
        assert (now.name, now.tags, now.archived) == expected
    assert order.undo(db, "ana") is None
    assert order.undo(db, "bo") is None


def test_what_changes_nothing_is_not_recorded(db: Database) -> None:
    run = add(db, state="finished")
    order.tag(db, run, ["good"], "ana")
    order.tag(db, run, ["good"], "bo")
    order.rename(db, run, "", "bo")
    order.unarchive(db, run, "bo")
    order.archive(db, run, "ana")
    order.archive(db, run, "bo")
    assert [change.who for change in run_changes.of_run(db, run)] == ["ana", "ana"]


def test_what_another_changed_since_stands(db: Database) -> None:
    run = add(db, state="finished")
    order.rename(db, run, "mine", "ana")
    order.rename(db, run, "theirs", "bo")
    with pytest.raises(UserError, match="changed since: it stays"):
        order.undo(db, "ana")
    assert runs.get(db, run).name == "theirs"


@pytest.mark.parametrize("bad", ["", "two words", "a,b", "x" * 41, 'q"', "none", "a\x1b[2J", "(x)"])
def test_a_tag_is_one_word(db: Database, bad: str) -> None:
    run = add(db)
    with pytest.raises(UserError, match="is no tag"):
        order.tag(db, run, [bad], "ana")
    assert runs.get(db, run).tags == ()


def test_words_that_cannot_be(db: Database) -> None:
    run = add(db, state="running")
    with pytest.raises(UserError, match="has no tag 'x': its tags are none"):
        order.untag(db, run, ["x"], "ana")
    with pytest.raises(UserError, match="one line"):
        order.rename(db, run, "a\nb", "ana")
    with pytest.raises(UserError, match="is running: stop it first"):
        order.archive(db, run, "ana")
    with pytest.raises(UserError, match="at most 20 tags"):
        order.tag(db, run, [f"t{n}" for n in range(21)], "ana")
    with pytest.raises(UserError, match="a note has words"):
        order.note(db, run, "  ", "ana")
    with pytest.raises(UserError, match="at most 4000"):
        order.note(db, run, "x" * 4001, "ana")
    assert run_changes.of_run(db, run) == []


def test_notes_are_added(db: Database) -> None:
    run = add(db)
    order.note(db, run, "first \x1b[2J", "ana")
    order.note(db, run, "second", "bo")
    assert [(note.text, note.who) for note in notes.of(db, f"run:{run}")] == [("first ␛[2J", "ana"), ("second", "bo")]
    assert order.split_tags(" a, b\tc ,") == ["a", "b", "c"]
    assert NOW
