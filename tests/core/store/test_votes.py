"""Votes in runs.db: one standing vote of a person on a comparison; an older file gets the new table and loses none."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from core.errors import UserError
from core.store import open_store, votes
from core.store.schema import migrations
from core.store.votes import Tally, Vote
from tests.core.store.older import create_run


def test_what_was_cast_stands(db: Database) -> None:
    vote = Vote(
        "k1",
        "second",
        "ana",
        side="B",
        confidence=4,
        note="close \ud800",
        file="data/x.jsonl",
        line=7,
        seed=42,
        time=9.0,
    )
    votes.cast(db, vote)
    (found,) = votes.of_file(db, "data/x.jsonl")
    assert found == Vote(**{**_fields(vote), "note": "close \\ud800", "id": 1})
    assert found.letter == "A"  # the first stood at B, so the second at A
    assert votes.of_person(db, "ana") == {"k1": "second"}
    assert votes.of_person(db, "ben") == {}


def _fields(vote: Vote) -> dict:
    return {name: getattr(vote, name) for name in Vote.__slots__}


@pytest.mark.parametrize(
    ("choice", "side", "letter"),
    [("first", "A", "A"), ("first", "B", "B"), ("second", "A", "B"), ("second", "B", "A"), ("tie", "A", "tie")],
)
def test_the_letter_is_what_was_pressed(choice: votes.Choice, side: votes.Side, letter: str) -> None:
    assert Vote("k", choice, "ana", side=side).letter == letter


def test_a_later_vote_of_the_same_person_replaces_the_first(db: Database) -> None:
    for choice in ("skip", "first", "tie"):
        votes.cast(db, Vote("k", choice, "ana", file="f"))
    votes.cast(db, Vote("k", "second", "ben", file="f"))
    assert [(vote.who, vote.choice) for vote in votes.of_file(db, "f")] == [("ana", "tie"), ("ben", "second")]
    assert [vote.who for vote in votes.of_file(db, "f", "ben")] == ["ben"]
    standing = votes.standing_of(db, "k", "ana")
    assert standing is not None
    assert standing.choice == "tie"
    assert db.execute("SELECT count(*) FROM votes").fetchone() == (4,)
    with pytest.raises(sqlite3.IntegrityError):  # the file itself does not allow two
        db.execute("INSERT INTO votes (key, choice, who, time) VALUES ('k', 'tie', 'ana', 1)")
    db.conn.rollback()


def test_undo_goes_back_one_by_one(db: Database) -> None:
    for number, file in enumerate(("f", "f", "other", "f")):
        votes.cast(db, Vote(f"k{number}", "first", "ana", file=file, time=100.0 + number))
    votes.cast(db, Vote("k9", "tie", "ben", file="f", time=200.0))
    undone = []
    while (vote := votes.undo(db, "ana", "f")) is not None:
        undone.append(vote.key)
    assert undone == ["k3", "k1", "k0"]
    assert [vote.key for vote in votes.standing(db)] == ["k2", "k9"]


def test_the_tally_counts_everybody_and_no_skips(db: Database) -> None:
    said = {"ana": "first", "ben": "first", "cas": "tie", "dan": "skip"}
    for who, choice in said.items():
        votes.cast(db, Vote("k", choice, who, file="f"))
    votes.cast(db, Vote("k2", "skip", "ana", file="g"))
    assert votes.tally(db) == {"k": Tally(first=2, tie=1)} == votes.tally_of(votes.standing(db))
    assert votes.files_voted(db) == ["g", "f"]
    found = votes.tally(db)["k"]
    assert (found.votes, found.agreement, found.majority) == (3, pytest.approx(2 / 3), "first")
    assert found.swapped() == Tally(second=2, tie=1)


def test_without_a_majority_nobody_has_won() -> None:
    assert Tally(1, 1).majority is None
    assert Tally(2, 2, 1).majority is None
    assert Tally(0, 0, 0, 1).majority == "reject"
    assert Tally().majority is None
    assert Tally().agreement is None
    assert Tally(3, 2).agreement == 0.6


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[31mana", "x" * 41, "a\u202eb"])
def test_a_name_is_one_line_of_text(name: str) -> None:
    with pytest.raises(UserError, match=r"^annotator '.*': a name of 1 to 40 characters on one line is wanted$"):
        votes.voter(name)


def test_a_name_is_without_blanks_around_it() -> None:
    assert votes.voter(" Žofie K. ") == "Žofie K."


@pytest.mark.parametrize("column", [{"choice": "A"}, {"confidence": 6}, {"side": "C"}])
def test_the_file_refuses_what_is_no_vote(db: Database, column: dict) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        votes.cast(db, Vote(**{"key": "k", "choice": "tie", "who": "ana", **column}))
    assert list(votes.standing(db)) == []


def _old_file(path: Path) -> None:
    """runs.db as the program before blind votes wrote it, with votes in it."""
    connection = sqlite3.connect(path)
    old = Database(connection)
    migrations.apply(old, stop_before="blind_votes")
    run = create_run(old, "dpo", config={})
    rows = [
        ("k", "tie", "ana", run, 1.0),
        ("k", "first", "ana", run, 2.0),
        ("k", "second", "ben", None, 3.0),
        ("k2", "chosen; really", "ben", None, 4.0),
    ]
    for row in rows:
        old.execute("INSERT INTO votes (pair, choice, who, run, time) VALUES (?, ?, ?, ?, ?)", list(row))
    old.conn.commit()
    connection.close()


def test_an_older_file_keeps_its_votes(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    _old_file(path)
    db = open_store(path)
    assert [(v.id, v.key, v.choice, v.note, v.who, v.run, v.time) for v in votes.standing(db)] == [
        (2, "k", "first", "", "ana", "dpo-001", 2.0),
        (3, "k", "second", "", "ben", None, 3.0),
        (4, "k2", "skip", "voted: chosen; really", "ben", None, 4.0),
    ]
    assert db.execute("SELECT id, choice, undone FROM votes WHERE undone = 1").fetchall() == [(1, "tie", 1)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_an_older_file_becomes_a_new_one(tmp_path: Path) -> None:
    _old_file(tmp_path / "old.db")
    db = open_store(tmp_path / "old.db")
    new = open_store(tmp_path / "new.db", create=True)
    shape = "SELECT type, name, replace(sql, '\"', '') FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    assert db.execute(shape).fetchall() == new.execute(shape).fetchall()
    db.close()
    new.close()
