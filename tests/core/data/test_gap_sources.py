"""The preference gap: which source counts, what each of them is worth, and what is said where none is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from core.data.comparisons import comparison_key
from core.data.gap_sources import Rewards, gap_fact, measure_gap, rewards_of_file, rewards_of_run
from core.errors import UserError
from core.store import Database, runs
from core.store.files import fingerprints
from core.store.votes import Tally
from core.workspace import Workspace


def pairs(path: Path, count: int = 4, **fields: Any) -> Path:
    rows = [{"prompt": f"p{n}", "chosen": f"good {n}", "rejected": f"bad {n}", **fields} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tally(number: int, for_chosen: int, for_rejected: int, tie: int = 0, reject: int = 0) -> dict[str, Tally]:
    """Votes on the pair with that number. In the order of texts "bad" stands before "good"."""
    key = comparison_key(f"p{number}", f"good {number}", f"bad {number}")
    return {key: Tally(first=for_rejected, second=for_chosen, tie=tie, reject=reject)}


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return pairs(tmp_path / "plain.jsonl")


def test_fields_come_first(tmp_path: Path) -> None:
    path = pairs(tmp_path / "a.jsonl", chosen_score=0.9, rejected_score=0.4)
    found = measure_gap([path], tallies=tally(0, 3, 0), rewards=Rewards("r", in_order=[(1, 0)] * 4))
    assert (found.source, found.without) == ("fields", 0)
    assert found.gap is not None
    assert (found.gap.mean, found.gap.source) == (0.5, "chosen_score/rejected_score on 0 to 1, all 4 pairs")


def test_the_judge_is_named_in_the_source(tmp_path: Path) -> None:
    path = pairs(tmp_path / "a.jsonl", chosen_score=0.9, rejected_score=0.4, judge="smollm2")
    found = measure_gap([path])
    assert found.gap is not None
    assert found.gap.source == "chosen_score/rejected_score by smollm2 on 0 to 1, all 4 pairs"
    assert gap_fact(found, [path]).source == f"{found.gap.source}; a.jsonl"


def test_votes_come_next_and_pairs_without_any_are_left_out(plain: Path) -> None:
    tallies = tally(0, 3, 0) | tally(1, 1, 1, tie=1) | tally(2, 0, 2, tie=2)
    found = measure_gap([plain], tallies=tallies, rewards=Rewards("r", in_order=[(1, 0)] * 4))
    assert (found.source, found.without) == ("votes", 1)
    assert found.gap is not None
    assert list(found.gap.values) == [-0.5, 0.0, 1.0]  # (0 + 2/2) / 4 - (2 + 2/2) / 4
    assert found.gap.source == "10 human votes on 0 to 1, 3 of 4 pairs"
    assert found.gap.inverted == 1


def test_votes_can_be_asked_for_over_fields(tmp_path: Path) -> None:
    path = pairs(tmp_path / "a.jsonl", chosen_score=9, rejected_score=4)
    found = measure_gap([path], scale=(1, 10), tallies=tally(0, 1, 0), only="votes")
    assert found.gap is not None
    assert (found.source, found.gap.mean, found.without) == ("votes", 1.0, 3)
    nobody = measure_gap([path], tallies={}, only="votes")
    assert (nobody.gap, nobody.reason[:27]) == (None, "nobody voted on any of the ")


def test_a_reward_model_gives_twice_its_chance_less_one(plain: Path) -> None:
    found = measure_gap([plain], rewards=Rewards("reward-001", in_order=[(2, 0), (0, 2), (1, 1), (800, -800)]))
    assert found.source == "reward"
    assert found.gap is not None
    assert list(found.gap.values) == pytest.approx([-math.tanh(1), 0.0, math.tanh(1), 1.0])
    assert found.gap.source.startswith("reward model reward-001 as 2σ(r_w - r_l) - 1 on 0 to 1")


def test_without_a_source_the_gap_is_unknown(plain: Path) -> None:
    found = measure_gap([plain], tallies={}, rewards=None)
    assert (found.source, found.gap, found.without) == (None, None, 4)
    assert found.reason == "the pairs have no scores, such as chosen_score and rejected_score, and no votes"
    fact = gap_fact(found, [plain])
    assert (fact.value, fact.source) == (None, f"{found.reason}; plain.jsonl")


def test_bad_rows_are_counted_and_hold_no_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"})
    path.write_text(f'{{\n{good}\n{good[:-1]}, "x": 1}}\n')
    found = measure_gap([path], rewards=Rewards("r", in_order=[(1, 0), (3, 0)]))
    assert (found.pairs, found.bad_rows) == (2, 1)
    assert found.gap is not None
    assert found.gap.n == 2


def test_rewards_of_another_number_of_pairs_are_refused(plain: Path) -> None:
    with pytest.raises(UserError, match="holds rewards of 3 pairs, and there are 4"):
        measure_gap([plain], rewards=Rewards("scores.json", in_order=[(1, 0)] * 3))


# Files of rewards


def scores(path: Path, *rows: tuple[str, int, float, float]) -> Path:
    names = ("split", "line", "chosen_reward", "rejected_reward")
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    return path


def test_what_score_printed_is_read_in_its_order(tmp_path: Path, plain: Path) -> None:
    path = tmp_path / "printed.json"
    path.write_text(json.dumps({"pairs": [{"chosen_reward": n, "rejected_reward": 0.0} for n in range(4)]}, indent=2))
    rewards = rewards_of_file(path, [plain])
    assert rewards.in_order is not None
    assert rewards.in_order[3] == (3.0, 0.0)


def test_scores_of_one_split_are_read_by_line(tmp_path: Path, plain: Path) -> None:
    rewards = rewards_of_file(scores(tmp_path / "s.jsonl", ("train", 2, 1, 0), ("train", 4, 0, 1)), [plain])
    found = measure_gap([plain], rewards=rewards)
    assert found.gap is not None
    assert (found.gap.n, found.without, found.gap.inverted) == (2, 2, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"split": "train", "line": 1, "chosen_reward": 1, "rejected_reward": 0}\n'
         '{"split": "validation", "line": 1, "chosen_reward": 1, "rejected_reward": 0}\n', "rewards of two files"),
        ('{"line": 1, "chosen_reward": 1}\n{}\n', "s.jsonl:1: rejected_reward is missing: scores.jsonl of"),
        ('{"chosen_reward": 1, "rejected_reward": 0}\n{}\n', "s.jsonl:1: line is missing"),
        ('{"pairs": [{"chosen_logp": 1}]}', "pair 1: chosen_reward is missing"),
        ('{"pairs": [{"chosen_reward": "x", "rejected_reward": 0}]}', "chosen_reward must be a number, not 'x'"),
        ("hello", "s.jsonl:1: not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_rewards_is_said(tmp_path: Path, plain: Path, content: str, words: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        rewards_of_file(path, [plain])
    assert words in str(error.value)


# Runs


@pytest.fixture
def scored(workspace: Workspace, db: Database) -> str:
    """A reward run that scored two files."""
    for name in ("train", "val"):
        pairs(workspace.data / f"{name}.jsonl")
    config = {"data": {"train_file": "data/train.jsonl", "validation_file": "data/val.jsonl"}}
    run = runs.create(db, "reward", config=config)
    folder = workspace.outputs / run.id
    folder.mkdir(parents=True)
    scores(folder / "scores.jsonl", ("train", 1, 5, 0), ("validation", 1, 0, 5), ("validation", 2, 0, 5))
    inputs = fingerprints(db, workspace, "data/train.jsonl", "data/val.jsonl")
    runs.update(db, run.id, output_dir=f"outputs/{run.id}", inputs=inputs)
    return run.id


def test_a_run_scores_each_file_by_its_split(workspace: Workspace, db: Database, scored: str) -> None:
    train, val = workspace.data / "train.jsonl", workspace.data / "val.jsonl"
    for paths, n, inverted in (([train], 1, 0), ([val], 2, 2), ([train, val], 3, 2)):
        found = measure_gap(paths, rewards=rewards_of_run(db, workspace, scored, paths))
        assert found.gap is not None
        assert (found.gap.n, found.gap.inverted) == (n, inverted)


def test_a_file_that_the_run_did_not_score_or_that_changed_is_refused(
    workspace: Workspace, db: Database, scored: str
) -> None:
    other = pairs(workspace.data / "other.jsonl")
    with pytest.raises(UserError, match=r"scored data/train.jsonl and data/val.jsonl, not data/other.jsonl"):
        rewards_of_run(db, workspace, scored, [other])
    changed = pairs(workspace.data / "train.jsonl", 5)
    with pytest.raises(UserError, match=r"data/train.jsonl changed since reward-001 scored it"):
        rewards_of_run(db, workspace, scored, [changed])
    sft = runs.create(db, "sft", config={})
    with pytest.raises(UserError, match="is a run of kind sft without scores"):
        rewards_of_run(db, workspace, sft.id, [other])
