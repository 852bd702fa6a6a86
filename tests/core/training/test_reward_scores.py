"""Each pair gets its own rewards, in the file's order, or a line that says why it cannot be scored."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from core.config.models import Adapter
from core.data.pairs import read_pairs
from core.errors import UserError
from core.models.reward_folder import RewardSettings, load_reward, save_reward, start_reward
from core.training.reward_scores import reward_scores
from core.workspace import Workspace
from tests.core.training import tiny


def with_reward_model(folder: Path) -> Workspace:
    """A workspace with a reward model in checkpoints/reward that was never trained."""
    made, _ = tiny.workspace(folder, pairs=20)
    loaded = start_reward(made.root / "models" / "tiny", RewardSettings(format=1), seed=5)
    loaded.model.score.weight = 20 * loaded.model.score.weight
    (made.checkpoints / "reward").mkdir()
    save_reward(loaded, Adapter(type="full"), made.checkpoints / "reward")
    return made


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return with_reward_model(tmp_path / "w")


def naive(folder: Path, prompt: str, response: str) -> float:
    loaded = load_reward(folder)
    ids = [*loaded.tokenizer.encode(prompt + response), loaded.tokenizer.eos_token_id]
    hidden = loaded.model.language_model.model(mx.array([ids]))[0, -1]
    return float(np.array(hidden, np.float64) @ np.array(loaded.model.score.weight[0], np.float64))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_rewards_in_the_order_of_the_file(space: Workspace, batch_size: int) -> None:
    file, folder = space.data / "pairs_val.jsonl", space.checkpoints / "reward"
    found = reward_scores(folder, read_pairs(file), batch_size=batch_size)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(found) == len(rows)
    for row, score in zip(rows, found, strict=True):
        assert score.chosen_reward == pytest.approx(naive(folder, row["prompt"], row["chosen"]), abs=1e-4)
        assert score.rejected_reward == pytest.approx(naive(folder, row["prompt"], row["rejected"]), abs=1e-4)
    assert len({score.chosen_reward for score in found}) > 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"prompt": "Say"}', r"bad\.jsonl:2: chosen is missing"),
        ('{"prompt": [{"role": "user", "content": "x"}], "chosen": "a", "rejected": "b", "z": 1', r"bad\.jsonl:2: "),
    ],
)
def test_a_bad_row_is_named(space: Workspace, row: str, words: str) -> None:
    file = space.data / "bad.jsonl"
    file.write_text('{"prompt": "Say red. ", "chosen": "red", "rejected": "blue"}\n' + row + "\n")
    with pytest.raises(UserError, match=words):
        reward_scores(space.checkpoints / "reward", read_pairs(file), name=str(file))


def test_a_template_that_refuses_names_the_row(space: Workspace) -> None:
    template = space.checkpoints / "reward" / "chat_template.jinja"
    template.write_text("{{ raise_exception('no thanks') }}")
    with pytest.raises(UserError, match=r"the pairs:1: the chat template refuses it \(no thanks\)"):
        reward_scores(space.checkpoints / "reward", read_pairs(space.data / "pairs_val.jsonl"), chat=True)
