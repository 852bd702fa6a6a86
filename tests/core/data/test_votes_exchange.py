"""Votes out and back: pairs by majority with their manifest; the votes themselves to another machine, never doubled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.comparisons import comparison_key
from core.data.manifest import manifest_path
from core.data.pairs import Pair, read_pairs
from core.data.quality import measure
from core.data.votes_exchange import export_pairs, export_votes, import_votes
from core.errors import UserError
from core.store import Database, open_store, votes
from core.store.votes import Vote
from tests.core.data.test_votes import pairs, write

_PEOPLE = ("ana", "ben", "cas", "dan", "eva")


def _say(db: Database, number: int, *answers: str) -> None:
    """Votes of several people on pair `number` of `pairs`, `good` meaning the chosen one of the file."""
    prompt, good, bad = f"p{number}", f"good {number}", f"bad {number}"
    words = {"good": "second", "bad": "first"}  # in the order of the texts
    for moment, (who, answer) in enumerate(zip(_PEOPLE, answers, strict=False)):
        choice = words.get(answer, answer)
        vote = Vote(comparison_key(prompt, good, bad), choice, who, side="A", confidence=3, note=f"n, {number}\n\"x\"",
                    file="data/a.jsonl", line=number + 1, seed=42, time=1000.5 + moment)  # type: ignore[arg-type]  # fmt: skip
        votes.cast(db, vote)


@pytest.fixture
def path(tmp_path: Path, db: Database) -> Path:
    for number, answers in enumerate(
        [
            ("good", "good", "bad"),
            ("bad", "bad"),
            ("tie", "tie", "good"),
            ("reject",),
            ("good", "bad"),
            ("good", "good", "bad", "tie"),
            ("skip",),
            ("good",),
        ]
    ):
        _say(db, number, *answers)
    rows = pairs(9)
    return write(tmp_path / "a.jsonl", [*rows, rows[0], {"prompt": "p"}])


def test_pairs_are_those_of_the_majority(tmp_path: Path, db: Database, path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = export_pairs(db, path, out)
    assert done.rows == 3
    assert done.left_out == {
        "low agreement": 1, "no votes": 2, "rejected": 1, "the same comparison again": 1, "tie": 1, "undecided": 1,
        "unreadable": 1,
    }  # fmt: skip
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["chosen"], row["votes"], row["agreement"]) for row in rows] == [
        ("good 0", 3, 0.666667),
        ("bad 1", 2, 1.0),
        ("good 7", 1, 1.0),
    ]
    assert [(row["chosen_score"], row["rejected_score"]) for row in rows] == [
        (0.666667, 0.333333), (1.0, 0.0), (1.0, 0.0),
    ]  # fmt: skip
    manifest = json.loads(manifest_path(out).read_text())
    assert manifest["made_by"]["command"] == "annotate export"
    assert manifest["parents"][0]["path"] == "a.jsonl"
    assert manifest["counts"]["tie"] == 1
    assert (out.stat().st_mode & 0o777) == 0o600


def test_the_gap_is_read_from_the_shares(tmp_path: Path, db: Database, path: Path) -> None:
    out = tmp_path / "out.jsonl"
    export_pairs(db, path, out)
    gap = measure(out).gap
    assert gap is not None
    assert gap.mean == pytest.approx((1 / 3 + 1 + 1) / 3, abs=1e-5)
    assert "chosen_score/rejected_score on 0 to 1" in gap.source


def test_bounds_of_what_makes_a_pair(tmp_path: Path, db: Database, path: Path) -> None:
    def chosen(**bounds: float) -> list[str]:
        export_pairs(db, path, tmp_path / "out.jsonl", **bounds)  # type: ignore[arg-type]
        return [str(pair.chosen) for pair in read_pairs(tmp_path / "out.jsonl") if isinstance(pair, Pair)]

    assert chosen(min_agreement=0.0) == ["good 0", "bad 1", "good 5", "good 7"]
    assert chosen(min_votes=2) == ["good 0", "bad 1"]
    assert chosen(min_votes=2, min_agreement=0.7) == ["bad 1"]


def test_the_same_votes_make_the_same_bytes(tmp_path: Path, db: Database, path: Path) -> None:
    for name in ("x.jsonl", "y.jsonl"):
        export_pairs(db, path, tmp_path / name)
    assert (tmp_path / "x.jsonl").read_bytes() == (tmp_path / "y.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["votes.jsonl", "votes.csv"])
def test_votes_travel_to_another_machine_once(tmp_path: Path, db: Database, path: Path, name: str) -> None:
    done = export_votes(db, path, tmp_path / name)
    assert done.rows == 17
    other = open_store(tmp_path / "other.db", create=True)
    first = import_votes(other, tmp_path / name)
    assert (first.new, first.changed, first.known, first.older, first.bad_rows) == (17, 0, 0, 0, 0)
    again = import_votes(other, tmp_path / name)
    assert (again.new, again.known) == (0, 17)
    assert votes.tally(other) == votes.tally(db)
    here, there = ({(v.key, v.who): v for v in votes.standing(store)} for store in (db, other))
    for place, vote in here.items():
        for column in ("choice", "side", "confidence", "note", "file", "line", "seed", "time"):
            assert getattr(there[place], column) == getattr(vote, column), column
    other.close()


def test_of_two_votes_of_a_person_the_newer_counts(tmp_path: Path, db: Database) -> None:
    key = comparison_key("p", "a", "b")
    votes.cast(db, Vote(key, "first", "ana", time=100.0))

    def take(choice: str, time: float) -> tuple[int, int, int, int]:
        row = {"key": key, "choice": choice, "who": "ana", "time": time}
        done = import_votes(db, write(tmp_path / "v.jsonl", [row]))
        return done.new, done.changed, done.known, done.older

    assert take("second", 50.0) == (0, 0, 0, 1)
    assert take("second", 150.0) == (0, 1, 0, 0)
    assert take("second", 150.0) == (0, 0, 1, 0)
    assert take("first", 100.0) == (0, 0, 1, 0)  # it was there once
    standing = votes.standing_of(db, key, "ana")
    assert standing is not None
    assert (standing.choice, standing.time) == ("second", 150.0)


def test_votes_of_other_tools_need_no_key(tmp_path: Path, db: Database) -> None:
    rows = [
        {"prompt": "p", "first": "b", "second": "a", "choice": "first", "who": "ana"},
        {"prompt": "p", "first": "a", "second": "b", "choice": "second", "who": "ben", "side": "B"},
    ]
    path = write(tmp_path / "v.jsonl", rows)
    assert import_votes(db, path).new == 2
    assert import_votes(db, path).known == 2  # without a time of its own, too
    assert votes.tally(db) == {comparison_key("p", "a", "b"): votes.Tally(second=2)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"choice": "A"}, "choice must be one of first, second, tie, reject, skip, not 'A'"),
        ({"choice": None}, "choice must be one of first, second, tie, reject, skip, and is missing"),
        ({"who": None}, "who is missing: the annotator's name is wanted"),
        ({"who": "a\x1b[2Jb"}, "annotator 'a␛[2Jb': a name of 1 to 40 characters on one line is wanted"),
        ({"key": "12"}, "key must be 32 hex digits, or prompt, first and second must be there"),
        ({"confidence": 9}, "confidence must be a whole number from 1 to 5, not '9'"),
        ({"side": "left"}, "side must be A or B, not 'left'"),
        ({"time": "soon"}, "time must be in seconds since 1970, not 'soon'"),
        ({"note": [1]}, "note must be text, not a list"),
        ({"prompt": "p", "first": "x", "second": "y"}, "key does not belong to the texts beside it"),
    ],
)
def test_what_is_no_vote_is_named(tmp_path: Path, db: Database, change: dict, reason: str) -> None:
    good = {"key": "ab" * 16, "choice": "tie", "who": "ana"}
    done = import_votes(db, write(tmp_path / "v.jsonl", [good, {**good, **change}, {**good, "who": "ben"}]))
    assert (done.new, done.bad_rows) == (2, 1)
    assert (done.bad[0].line, done.bad[0].reason) == (2, reason)


def test_a_file_of_votes_that_cannot_be_read(tmp_path: Path, db: Database) -> None:
    with pytest.raises(UserError, match="does not exist"):
        import_votes(db, tmp_path / "none.jsonl")
