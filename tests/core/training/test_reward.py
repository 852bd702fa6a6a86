"""The reward objective against values that TRL 1.16.0 computed (torch CPU, float32), and against its own formulas.

`oracle/reward_model` is a 2-layer Llama with one score; `oracle/trl_reward.json` holds eight pairs as token ids, what
TRL's RewardTrainer made of them (without and with margins and centering, and with EOS as padding), and six pairs of
text with the token ids that it trains on.
"""

import json
import math
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.data.pairs import Pair
from core.data.tokenize import Tokens
from core.models.adapters import add_adapters
from core.models.reward_folder import LoadedReward, load_reward
from core.models.reward_head import RewardModel
from core.training.gradients import gradient_function
from core.training.optimization import global_norm
from core.training.reward import TIE, Comparison, Reward, compare, rewards_of, rows, summary
from tests.core.models.architectures import build
from tests.core.training.objectives import random_pairs
from tests.core.training.tiny import dpo_config

ORACLE = Path(__file__).parent / "oracle"
TRL = json.loads((ORACLE / "trl_reward.json").read_text())


def oracle() -> LoadedReward:
    return load_reward(ORACLE / "reward_model")


def tokens() -> list[Tokens]:
    # Where the prompt ends means nothing to a reward model.
    return [Tokens(row["chosen_ids"][:0], (row["chosen_ids"], row["rejected_ids"])) for row in TRL["feats"]]


def objective(model: RewardModel, pairs: list[Comparison], *, center: float = 0.0, batch_size: int = 8) -> Reward:
    return Reward(model, pairs, pairs, center=center, batch_size=batch_size, write_model=lambda folder: None)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_scores_are_trl_s(batch_size: int) -> None:
    found = rewards_of(oracle().model, tokens(), batch_size)
    expected = np.array(TRL["plain"]["scores"]).reshape(2, 8).T
    assert found.shape == (8, 2)
    assert np.abs(found - expected).max() < 1e-5


def test_where_eos_is_the_padding_the_score_is_read_off_before_it() -> None:
    model = oracle().model
    model.pad_token_id = 2
    found = rewards_of(model, tokens(), 8)
    assert np.abs(found - np.array(TRL["pad_is_eos"]["scores"]).reshape(2, 8).T).max() < 1e-5
    assert np.abs(found - np.array(TRL["plain"]["scores"]).reshape(2, 8).T).max() > 0.1


@pytest.mark.parametrize(
    ("case", "margins", "center"),
    [("plain", False, 0.0), ("centered", False, 0.01), ("margin", True, 0.0), ("margin_centered", True, 0.01)],
)
def test_loss_metrics_and_gradient_are_trl_s(case: str, margins: bool, center: float) -> None:
    expected = TRL[case]
    ahead = TRL["margins"] if margins else [0.0] * 8
    pairs = [Comparison(i, pair, margin) for i, (pair, margin) in enumerate(zip(tokens(), ahead, strict=True))]
    model = oracle().model
    model.unfreeze()
    reward = objective(model, pairs, center=center)
    (loss, count, sums), grads = nn.value_and_grad(model, reward.loss)(*reward.batch(list(range(8))))
    assert count.item() == 8
    assert (loss / count).item() == pytest.approx(expected["loss"], rel=1e-6)
    assert (global_norm(grads) / count).item() == pytest.approx(expected["grad_norm"], rel=1e-4)
    evaluated = reward.evaluate(1, lambda: False)
    assert evaluated["eval_loss"] == pytest.approx(expected["loss"], rel=1e-6)
    for name in ("accuracy", "margin", "min_reward", "mean_reward", "max_reward"):
        assert sums[name].item() / 8 == pytest.approx(expected["metrics"][name], abs=1e-5), name
        assert evaluated[f"eval_{name}"] == pytest.approx(expected["metrics"][name], abs=1e-5), name
    assert reward.score(evaluated) == -evaluated["eval_loss"]
    assert reward.tokens(list(range(8))) == expected["metrics"]["num_tokens"]


@pytest.mark.parametrize("form", ["plain", "chat"])
def test_texts_become_the_tokens_that_trl_trains_on(form: str) -> None:
    tokenizer = oracle().tokenizer
    for row in TRL["texts"]:
        pair = Pair(1, row["prompt"], row["chosen"], row["rejected"])
        found = compare(tokenizer, pair, max_prompt_length=None, chat=form == "chat")
        for response, name in zip(found.responses, ("chosen_ids", "rejected_ids"), strict=True):
            assert found.prompt + response == row[form][name]
    messages = Pair(
        1,
        [{"role": "user", "content": TRL["texts"][0]["prompt"]}],
        *([{"role": "assistant", "content": TRL["texts"][0][name]}] for name in ("chosen", "rejected")),
    )
    found = compare(tokenizer, messages, max_prompt_length=None, chat=False)
    assert found.prompt + found.responses[0] == TRL["texts"][0]["chat"]["chosen_ids"]


def test_prompts_are_cut_and_responses_never() -> None:
    pair = Pair(1, "one two three four " * 20, "five " * 50, "six")
    found = compare(oracle().tokenizer, pair, max_prompt_length=3, chat=False)
    whole = compare(oracle().tokenizer, pair, max_prompt_length=None, chat=False)
    assert found.prompt == whole.prompt[-3:]
    assert found.responses == whole.responses


def random_model(seed: int = 0) -> RewardModel:
    return RewardModel(build("llama", seed, spread=0.2), mx.random.normal((1, 32), key=mx.random.key(seed)), None)


def comparisons(count: int) -> list[Comparison]:
    return [Comparison(i + 1, pair, 0.3 * i - 0.5) for i, pair in enumerate(random_pairs(count))]


def naive(model: RewardModel, pair: Tokens) -> list[float]:
    """Each response alone, without padding: the score of the hidden state of its last token."""
    found = []
    for response in pair.responses:
        hidden = model.language_model.model(mx.array([pair.prompt + response]))[0, -1]
        found.append(float(np.array(hidden, np.float64) @ np.array(model.score.weight[0], np.float64)))
    return found


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_a_reward_is_of_its_own_sequence_whatever_the_batch(batch_size: int) -> None:
    model, pairs = random_model(), random_pairs(9)
    found = rewards_of(model, pairs, batch_size)
    assert np.abs(found - np.array([naive(model, pair) for pair in pairs])).max() < 1e-5


def test_the_loss_is_bradley_and_terry_s() -> None:
    model, pairs = random_model(), comparisons(7)
    values = []
    for pair in pairs:
        chosen, rejected = naive(model, pair.tokens)
        values.append(math.log1p(math.exp(-(chosen - rejected - pair.margin))) + 0.05 * (chosen + rejected) ** 2)
    reward = objective(model, pairs, center=0.05, batch_size=3)
    loss, count, _ = reward.loss(*reward.batch([4, 1, 6]))
    assert (loss.item(), count.item()) == (pytest.approx(values[4] + values[1] + values[6], rel=1e-5), 3)
    assert reward.evaluate(0, lambda: False)["eval_loss"] == pytest.approx(np.mean(values), rel=1e-5)
    assert reward.evaluate(0, lambda: True) is None
    assert reward.lengths == [pair.tokens.length for pair in pairs]


def test_huge_differences_give_a_loss() -> None:
    model, pairs = random_model(), [Comparison(1, random_pairs(1)[0], 5000.0), Comparison(2, random_pairs(2)[1], -5000)]
    reward = objective(model, pairs)
    loss, _, _ = reward.loss(*reward.batch([0, 1]))
    assert loss.item() == pytest.approx(5000, rel=1e-2)
    assert reward.evaluate(0, lambda: False)["eval_loss"] == pytest.approx(2500, rel=1e-2)


def test_a_tie_is_half_right() -> None:
    found = summary(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [3.0, 3.0 + TIE / 2]]))
    assert found == {
        "accuracy": 0.5, "margin": pytest.approx(0, abs=TIE), "min_reward": 0.0,
        "mean_reward": pytest.approx(1.5, abs=TIE), "max_reward": pytest.approx(3.0, abs=TIE),
    }  # fmt: skip
    # The same response twice.
    pair = Tokens([1, 2], ([3, 4], [3, 4]))
    reward = objective(random_model(), [Comparison(1, pair)])
    _, _, sums = reward.loss(*reward.batch([0]))
    assert sums["accuracy"].item() == 0.5
    assert reward.evaluate(0, lambda: False)["eval_accuracy"] == 0.5


def test_with_an_adapter_the_score_is_trained_too() -> None:
    model, pairs = random_model(), comparisons(4)
    config = dpo_config(adapter_num_layers=1).adapter
    add_adapters(model.language_model, config)
    names = {name for name, _ in tree_flatten(model.trainable_parameters())}
    assert "score.weight" in names
    assert all(name == "score.weight" or "layers.1." in name for name in names)
    assert len(names) == 15  # 7 linear layers
    reward = objective(model, pairs)
    _, grads = nn.value_and_grad(model, reward.loss)(*reward.batch([0, 1, 2, 3]))
    moved = {name for name, value in tree_flatten(grads) if float(mx.abs(value).max()) > 0}
    # B is zero at first, so A has no gradient yet.
    assert moved == {name for name in names if name == "score.weight" or "lora_b" in name}


def test_a_compiled_step_is_the_eager_one() -> None:
    model, pairs = random_model(), comparisons(6)
    model.unfreeze()
    reward = objective(model, pairs, center=0.01)
    batch = reward.batch([0, 3, 5])
    eager, compiled = (gradient_function(reward, compiled=flag)(*batch) for flag in (False, True))
    assert compiled[0][0].item() == pytest.approx(eager[0][0].item(), rel=1e-6)
    for (name, a), (_, b) in zip(tree_flatten(eager[1]), tree_flatten(compiled[1]), strict=True):
        assert np.allclose(np.array(a), np.array(b), rtol=1e-4, atol=1e-4), name


def test_rows_hold_the_chosen_first() -> None:
    model, pairs = random_model(), random_pairs(3)
    ids, positions = rows(model, pairs)
    flat = np.array(ids)
    assert flat.shape[0] == 6
    for row, (which, index) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]):
        sequence = pairs[index].prompt + pairs[index].responses[which]
        assert flat[row, : len(sequence)].tolist() == sequence
        assert positions[row].item() == row * flat.shape[1] + len(sequence) - 1
