"""What votes come to: scores, agreement, pace, facts; and what is voted on, in an order and on sides drawn by seed."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from core.data import votes as counting
from core.data.comparisons import comparison_key
from core.data.votes import is_low, pace, shares, votes_on
from core.data.votes_order import Ballots, Stopped, drawn_side, gather
from core.errors import UserError
from core.store import Database, facts, votes
from core.store.votes import Tally, Vote
from core.workspace import Workspace, templates


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(count: int) -> list[dict]:
    return [{"prompt": f"p{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(count)]


def order(ballots: Ballots) -> list[str]:
    return [str(ballots.read(number).prompt) for number in range(len(ballots))]


# What is voted on


def test_the_order_is_of_the_seed_and_not_of_the_file(tmp_path: Path) -> None:
    rows = pairs(50)
    one = gather(write(tmp_path / "a.jsonl", rows), seed=1)
    random.Random(3).shuffle(rows)
    swapped = [{"prompt": row["prompt"], "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    other = gather(write(tmp_path / "b.jsonl", swapped), seed=1)
    assert order(one) == order(other)
    assert order(one) != [f"p{n}" for n in range(50)]
    assert order(gather(tmp_path / "a.jsonl", seed=2)) != order(one)
    for number in range(50):
        mine, theirs = one.read(number), other.read(number)
        assert (mine.first, mine.second, mine.key) == (theirs.first, theirs.second, theirs.key)


def test_a_sample_is_part_of_every_larger_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", pairs(40))
    small, large = (gather(path, seed=5, sample=n) for n in (7, 20))
    assert (len(small), small.whole, len(large)) == (7, 40, 20)
    assert order(large)[:7] == order(small)
    assert len(gather(path, seed=5, sample=99)) == 40


def test_sides_are_balanced_and_drawn_for_each_person() -> None:
    keys = [comparison_key(f"p{n}", "a", "b") for n in range(2000)]
    ana = [drawn_side(42, "ana", key) for key in keys]
    ben = [drawn_side(42, "ben", key) for key in keys]
    later = [drawn_side(43, "ana", key) for key in keys]
    for sides in (ana, ben, later):
        assert 900 < sides.count("A") < 1100  # four standard deviations and more
    for other in (ben, later):
        assert 900 < sum(x == y for x, y in zip(ana, other, strict=True)) < 1100
    assert ana == [drawn_side(42, "ana", key) for key in keys]


def test_the_same_comparison_counts_once_and_one_of_equals_not_at_all(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "x", "rejected": "y"},
        {"prompt": "p", "chosen": "y", "rejected": "x"},
        {"prompt": "p", "chosen": "x ", "rejected": "x"},
        {"prompt": "p", "chosen": "x"},
    ]
    ballots = gather(write(tmp_path / "a.jsonl", rows), seed=1)
    assert (len(ballots), ballots.bad) == (1, 1)
    found = ballots.read(0)
    assert (found.first, found.second) == ("x", "y")
    assert ballots.number_of(found.key) == 0
    assert ballots.number_of(comparison_key("p", "x", "z")) is None


def test_every_two_candidates_are_compared(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "responses": [{"text": t, "model": "secret"} for t in ("a", "c", "b", "a")]}]
    ballots = gather(write(tmp_path / "candidates.jsonl", rows), seed=1)
    found = {(ballots.read(n).first, ballots.read(n).second) for n in range(len(ballots))}
    assert found == {("a", "b"), ("a", "c"), ("b", "c")}


def test_a_packed_file_can_be_voted_on(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.jsonl", pairs(9))
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert order(gather(packed, seed=1)) == order(gather(plain, seed=1))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("", "is empty"),
        ('{"prompt": "p", "chosen": "x"}\n', "has nothing to vote on: line 1: rejected is missing"),
        ('{"prompt": "p", "responses": ["x"]}\n', "has nothing to vote on"),
    ],
)
def test_a_file_with_nothing_in_it(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "a.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=words):
        gather(path, seed=1)


def test_a_file_that_changed_is_no_longer_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", pairs(3))
    ballots = gather(path, seed=1)
    path.write_text(path.read_text().replace("good", "evil"))
    with pytest.raises(UserError, match=r"a\.jsonl:\d changed since voting began: leave and open it again"):
        ballots.read(0)


def test_reading_tells_how_far_it_is_and_can_be_stopped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", pairs(1000))
    told: list[tuple[int, int]] = []
    gather(path, seed=1, progress=lambda rows, at: told.append((rows, at)))
    assert told == sorted(told)
    assert len(told) == 3
    assert 0 < told[-1][1] < path.stat().st_size
    with pytest.raises(Stopped):
        gather(path, seed=1, wants_stop=lambda: True)


# What votes come to


def test_votes_are_seen_from_either_response() -> None:
    tallies = {comparison_key("p", "apple", "pear"): Tally(first=3, second=1, tie=2)}
    assert votes_on(tallies, "p", "apple", "pear") == Tally(first=3, second=1, tie=2)
    assert votes_on(tallies, "p", "pear", "apple") == Tally(first=1, second=3, tie=2)
    assert votes_on(tallies, "q", "pear", "apple") is None
    chat = [{"role": "assistant", "content": "pear"}]
    found = votes_on(tallies, [{"role": "user", "content": "p"}], chat, [{"role": "assistant", "content": "apple"}])
    assert found == Tally(first=1, second=3, tie=2)


def test_scores_are_shares_of_the_votes() -> None:
    assert shares(Tally(first=3, second=1)) == (0.75, 0.25)
    assert shares(Tally(first=1, tie=1)) == (0.75, 0.25)
    assert shares(Tally(first=1, reject=1)) == (0.5, 0.0)
    assert shares(Tally()) == (0.0, 0.0)


def test_low_agreement_is_fewer_than_60_percent_of_several_votes() -> None:
    assert not is_low(Tally(first=1))
    assert is_low(Tally(first=1, second=1))
    assert not is_low(Tally(first=3, second=2))  # 60 % is enough
    assert is_low(Tally(first=4, second=2, tie=1))
    assert not is_low(Tally(first=1, second=1), at_least=0.5)


def test_a_pause_is_no_work() -> None:
    assert pace([0, 10, 20, 4000, 4010]) == (30.0, 6.0)
    assert pace([5.0]) == (0.0, None)
    assert pace([]) == (0.0, None)


def _vote(key: str, who: str, choice: votes.Choice, **more: object) -> Vote:
    return Vote(key, choice, who, file="data/a.jsonl", **more)


def test_how_far_each_has_come() -> None:
    cast = [
        _vote("k1", "ben", "first", side="A", time=100.0, confidence=5),
        _vote("k2", "ben", "first", side="B", time=110.0, confidence=2, note="hm"),
        _vote("k3", "ben", "skip", time=120.0),
        _vote("k1", "ana", "tie", time=50.0),
    ]
    ana, ben = counting.progress(cast)
    assert (ana.who, ana.votes, ana.ties, ana.a_share, ana.rate) == ("ana", 1, 1, None, None)
    assert (ben.votes, ben.skips, ben.a_share, ben.confidence, ben.notes) == (2, 1, 0.5, 3.5, 1)
    assert (ben.rate, ben.last) == (6.0, 120.0)


def test_facts_of_two_people(workspace: Workspace, db: Database) -> None:
    write(workspace.data / "a.jsonl", pairs(4))
    said = {"ana": ("first", "second", "first", "tie"), "ben": ("first", "second", "second", "tie")}
    for who, choices in said.items():
        for number, choice in enumerate(choices):
            votes.cast(db, _vote(f"k{number}", who, choice))
    votes.cast(db, _vote("k9", "cas", "skip"))
    counting.record_facts(db, workspace, "data/a.jsonl")
    found = facts.latest(db)
    cast, agreed = found["data.votes"], found["data.annotator_agreement"]
    assert (cast.value, cast.n, cast.unit) == (8.0, 8, "votes")
    assert cast.text == "8 by 2 people on 4 pairs"
    assert set(cast.inputs) == {"data/a.jsonl"}
    # By hand: observed 3/4; by chance 2/4*1/4 + 1/4*2/4 + 1/4*1/4 = 5/16; (3/4 - 5/16) / (1 - 5/16).
    assert agreed.value == pytest.approx(7 / 11)
    assert agreed.n == 4
    assert agreed.text == "0.64 (Cohen's kappa, 2 people, 4 pairs, observed 0.75)"
    assert agreed.source.endswith("1 pair of low agreement")
    assert (agreed.run, cast.run) == (None, None)


def test_one_person_agrees_with_nobody(workspace: Workspace, db: Database) -> None:
    write(workspace.data / "a.jsonl", pairs(1))
    votes.cast(db, _vote("k", "ana", "first"))
    agreed = {fact.name: fact for fact in counting.facts_of(db, workspace, "data/a.jsonl")}["data.annotator_agreement"]
    assert (agreed.value, agreed.text) == (None, None)
    assert agreed.source == "data/a.jsonl: nothing was judged by two"


def test_without_votes_nothing_is_recorded(workspace: Workspace, db: Database) -> None:
    with pytest.raises(UserError, match=r"has no votes: cast some with 'dpotui annotate vote data/a\.jsonl'"):
        counting.record_facts(db, workspace, "data/a.jsonl")
    assert facts.latest(db) == {}


def test_guidelines_count_once_they_are_not_the_template(workspace: Workspace) -> None:
    path = workspace.path(counting.GUIDELINES)
    assert path.read_text() == (templates() / path.name).read_text()
    found = counting.guidelines_fact(workspace)
    assert (found.value, "still the template" in found.source) == (0.0, True)
    path.write_text(path.read_text() + "\nAnd never prefer French.\n")
    found = counting.guidelines_fact(workspace)
    assert (found.value, list(found.inputs)) == (1.0, [counting.GUIDELINES])
    path.write_text("\n")
    assert counting.guidelines_fact(workspace).value == 0.0
    path.unlink()
    assert "is missing" in counting.guidelines_fact(workspace).source
