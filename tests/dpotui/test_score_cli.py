"""`dpotui score --reward`: the shape that scripts rely on, and what does not go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.pairs import read_pairs
from core.training.reward_scores import RewardScore, reward_scores
from core.workspace import Workspace
from tests.core.training.test_reward_scores import with_reward_model
from tests.dpotui.test_gates_cli import Shell

REWARD, PAIRS = ("--reward", "checkpoints/reward"), ("--pairs", "data/pairs_val.jsonl")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(with_reward_model(tmp_path / "w").root, monkeypatch, capfdbinary)


def expected(shell: Shell) -> list[RewardScore]:
    space = Workspace(shell.folder)
    return reward_scores(space.checkpoints / "reward", read_pairs(space.data / "pairs_val.jsonl"))


def test_the_shape_scripts_rely_on(shell: Shell) -> None:
    document = shell.json("score", *REWARD, *PAIRS)
    assert set(document) == {"pairs"}
    assert [RewardScore(**pair) for pair in document["pairs"]] == expected(shell)


def test_a_line_for_each_pair_and_how_many_are_right(shell: Shell) -> None:
    lines = shell.run("score", *REWARD, *PAIRS).splitlines()
    scores = expected(shell)
    assert lines[0].split() == ["chosen", "rejected"]
    assert [float(word) for word in lines[1].split()] == pytest.approx(
        [scores[0].chosen_reward, scores[0].rejected_reward], abs=1e-4
    )
    wins = sum(score.chosen_reward > score.rejected_reward for score in scores)
    assert lines[-1] == f"{wins} of 5 pairs have the higher reward on chosen ({20 * wins:.1f} %)"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "name one model: --model DIR for log-probs, or --reward DIR"),
        (("--model", "models/tiny", *REWARD), "name one model"),
        ((*REWARD, "--adapter", "x"), "--adapter goes with --model"),
        ((*REWARD, "--max-response-length", "9"), "--max-response-length goes with --model"),
        (("--reward", "models/tiny"), "models/tiny is no reward model"),
        (("--reward", "nowhere"), "nowhere is no reward model"),
        (("--model", "checkpoints/reward"), "checkpoints/reward is a reward model, not a language model"),
    ],
)
def test_what_does_not_go_together(shell: Shell, args: tuple[str, ...], words: str) -> None:
    assert words in shell.run("score", *args, *PAIRS, code=2)


@pytest.mark.parametrize("args", [("--chat-template",), ("--no-chat-template",), ("--max-prompt-length", "3")])
def test_what_does(shell: Shell, args: tuple[str, ...]) -> None:
    changed = shell.json("score", *REWARD, *PAIRS, *args)["pairs"] != shell.json("score", *REWARD, *PAIRS)["pairs"]
    assert changed == (args != ("--no-chat-template",))


def test_a_bad_row_is_named(shell: Shell) -> None:
    (shell.folder / "bad.jsonl").write_text('{"prompt": "Say red. ", "chosen": "red", "rejected": "blue"}\n{"a": 1}\n')
    assert "bad.jsonl:2: chosen is missing" in shell.run("score", *REWARD, "--pairs", "bad.jsonl", code=2)


def test_a_hostile_folder_is_one_line(shell: Shell) -> None:
    file = shell.folder / "checkpoints" / "reward" / "reward_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"\x1b[31mred": 1}))
    line = shell.run("score", *REWARD, *PAIRS, code=2)
    assert "unknown key" in line
    assert "\x1b" not in line
