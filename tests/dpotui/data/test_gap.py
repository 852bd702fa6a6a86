"""`dpotui data gap` as a person and as a script uses it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from core.data.comparisons import comparison_key
from core.store import Database, facts, runs
from core.store.votes import Vote, cast
from core.workspace import Workspace
from tests.core.training.test_reward_scores import with_reward_model
from tests.dpotui.test_gates_cli import Shell, inside, outside, pairs

__all__ = ["inside", "outside"]  # fixtures


def test_the_gap_with_its_source(outside: Shell) -> None:
    pairs(outside.folder / "a.jsonl", 4)
    assert outside.run("data", "gap", "a.jsonl") == (
        "a.jsonl: 4 pairs\n"
        "source: chosen_score/rejected_score on 0 to 1, all 4 pairs\n"
        "mean 0.4000  95 % interval [0.4000, 0.4000]\n"
        "median 0.4000\n"
        "with a gap of 0.15 or more: 100.0% of them (the gate judges the mean)\n"
        f"  0.4 to  0.5        4  {'█' * 40}\n"
    )
    found = outside.json("data", "gap", "a.jsonl")
    assert (found["source"], found["gap"]["mean"], found["gap"]["target"], found["fact"]["run"]) == (
        "fields", 0.4, 0.15, None,
    )  # fmt: skip


def test_without_a_source_it_is_unknown_and_says_so_by_its_status(outside: Shell) -> None:
    pairs(outside.folder / "a.jsonl", 2, chosen=None)
    assert "preference gap UNKNOWN: the pairs have no scores" in outside.run("data", "gap", "a.jsonl", code=1)
    found = outside.json("data", "gap", "a.jsonl", code=1)
    assert (found["gap"], found["fact"]["value"]) == (None, None)


def test_votes_count_where_the_file_has_no_scores(inside: Shell, workspace: Workspace, db: Database) -> None:
    pairs(workspace.data / "a.jsonl", 3, chosen=None)
    for who, choice in (("ann", "second"), ("bob", "second"), ("eve", "tie")):
        cast(db, Vote(comparison_key("p0", "good 0", "bad 0"), choice, who))  # type: ignore[arg-type]
    said = inside.run("data", "gap", "data/a.jsonl", "--record")
    assert "source: 3 human votes on 0 to 1, 1 of 3 pairs\n" in said
    assert "without a score, and left out of the mean: 2 pairs\n" in said
    assert "mean 0.6667\n" in said
    fact = facts.latest(db)["data.preference_gap"]
    assert fact.source == "3 human votes on 0 to 1, 1 of 3 pairs; a.jsonl"
    assert (fact.n, list(fact.inputs)) == (1, ["data/a.jsonl"])
    assert fact.run is not None
    run = runs.get(db, fact.run)
    assert (run.kind, run.state, run.name) == ("data_check", "finished", "gap data/a.jsonl")


def test_rewards_from_a_file(outside: Shell) -> None:
    pairs(outside.folder / "a.jsonl", 2)
    rewards = [{"chosen_reward": 1.0, "rejected_reward": 1.0}] * 2
    (outside.folder / "r.json").write_text(json.dumps({"pairs": rewards}))
    said = outside.run("data", "gap", "a.jsonl", "--reward", "r.json")
    assert "source: reward model r.json as 2σ(r_w - r_l) - 1 on 0 to 1, all 2 pairs\nmean 0.0000\n" in said


def test_a_reward_model_scores_the_pairs_now_as_score_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    shell = Shell(with_reward_model(tmp_path / "w").root, monkeypatch, capfdbinary)
    pairs = "data/pairs_val.jsonl"
    printed = shell.run("score", "--reward", "checkpoints/reward", "--pairs", pairs, "--json")
    (shell.folder / "printed.json").write_text(printed)
    now = shell.json("data", "gap", pairs, "--reward", "checkpoints/reward")
    then = shell.json("data", "gap", pairs, "--reward", "printed.json")
    scores = [pair["chosen_reward"] - pair["rejected_reward"] for pair in json.loads(printed)["pairs"]]
    assert now["gap"]["mean"] == then["gap"]["mean"]
    assert now["gap"]["mean"] == pytest.approx(sum(math.tanh(score / 2) for score in scores) / len(scores))
    assert now["source"] == "reward"


def test_an_unknown_gap_is_recorded_as_unknown(inside: Shell, workspace: Workspace, db: Database) -> None:
    pairs(workspace.data / "a.jsonl", 2, chosen=None)
    inside.run("data", "gap", "data/a.jsonl", "--record", code=1)
    assert facts.latest(db)["data.preference_gap"].value is None


def test_wrong_use_is_one_line(outside: Shell, inside: Shell, workspace: Workspace) -> None:
    pairs(outside.folder / "a.jsonl", 1)
    pairs(workspace.data / "a.jsonl", 1)
    for shell, args, words in (
        (outside, ("a.jsonl", "--votes"), "is not a workspace"),
        (outside, ("a.jsonl", "--record"), "is not a workspace"),
        (outside, ("a.jsonl", "--reward", "reward-001"), "no such file or folder"),
        (outside, ("a.jsonl", "--scale", "0:0.5"), "outside the declared scale"),
        (outside, ("none.jsonl",), "none.jsonl does not exist"),
        (inside, ("data/a.jsonl", "--reward", "reward-001"), "no run 'reward-001'"),
        (inside, ("data/a.jsonl", "--reward", "x", "--votes"), "name one of them"),
    ):
        assert words in shell.run("data", "gap", *args, code=2)
