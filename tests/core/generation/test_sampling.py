"""Samples: from the model's own distribution, decided by the seed, and no trace in anybody's random state."""

from __future__ import annotations

from types import SimpleNamespace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from core.generation.sampling import sample
from tests.core.models.architectures import VOCABULARY, build

END = 5
TOKENIZER = SimpleNamespace(eos_token_ids={END})
RNG = np.random.default_rng(0)
PROMPTS = [RNG.integers(6, VOCABULARY, length).tolist() for length in (3, 11, 1, 7, 2, 9, 5, 8, 4, 6)]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build("llama", spread=0.15)


def next_logits(model: nn.Module, ids: list[int]) -> np.ndarray:
    return np.array(model(mx.array([ids]))[0, -1], np.float64)


def test_greedy_is_what_one_prompt_alone_gives(model: nn.Module) -> None:
    # Prompts of many lengths, padded together inside.
    found = sample(model, TOKENIZER, PROMPTS, max_tokens=8, temperature=0, seed=0)
    for prompt, tokens in zip(PROMPTS, found, strict=True):
        expected: list[int] = []
        while len(expected) < 8 and END not in expected:
            expected.append(int(next_logits(model, prompt + expected).argmax()))
        assert tokens.prompt == prompt
        assert tokens.responses == (expected,)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_model_that_mlx_lm_cannot_batch(temperature: float) -> None:
    gemma = build("gemma2", spread=0.15)
    found = sample(gemma, TOKENIZER, PROMPTS, max_tokens=8, temperature=temperature, seed=0)
    assert found == sample(gemma, TOKENIZER, PROMPTS, max_tokens=8, temperature=temperature, seed=0)
    assert [tokens.prompt for tokens in found] == PROMPTS
    if temperature == 0:
        for tokens in found:
            response = tokens.responses[0]
            for i, token in enumerate(response):
                assert token == next_logits(gemma, tokens.prompt + response[:i]).argmax()
    else:
        assert len({tuple(tokens.responses[0]) for tokens in found}) == len(PROMPTS)
    for tokens in found:
        response = tokens.responses[0]
        assert response.index(END) == len(response) - 1 if END in response else len(response) == 8


def test_decided_by_the_seed(model: nn.Module) -> None:
    def draw(seed: int) -> list:
        return sample(model, TOKENIZER, PROMPTS, max_tokens=6, temperature=1.0, seed=seed)

    first = draw(1)
    mx.random.normal((3,))  # whatever else draws
    assert draw(1) == first
    assert draw(2) != first


def test_the_random_state_of_a_training_is_not_touched(model: nn.Module) -> None:
    mx.random.seed(7)
    expected = mx.random.normal((4,)).tolist()
    mx.random.seed(7)
    sample(model, TOKENIZER, PROMPTS[:3], max_tokens=4, temperature=1.0, seed=0)
    assert mx.random.normal((4,)).tolist() == expected


def test_the_end_token_is_the_last_and_included(model: nn.Module) -> None:
    found = sample(model, TOKENIZER, PROMPTS * 8, max_tokens=40, temperature=1.0, seed=3)
    responses = [tokens.responses[0] for tokens in found]
    ended = [response for response in responses if END in response]
    assert ended and len(ended) < len(responses)
    assert all(response.index(END) == len(response) - 1 for response in ended)
    assert all(len(response) == 40 for response in responses if END not in response)


def test_any_end_token_ends(model: nn.Module) -> None:
    found = sample(model, SimpleNamespace(eos_token_ids={5, 6, 7}), PROMPTS * 4, max_tokens=30, temperature=1.0, seed=3)
    last = {tokens.responses[0][-1] for tokens in found if len(tokens.responses[0]) < 30}
    assert last == {5, 6, 7}


@pytest.mark.parametrize(("temperature", "seed"), [(1.0, 0), (0.5, 1)])
def test_frequencies_are_the_probabilities(model: nn.Module, temperature: float, seed: int) -> None:
    draws = 1500
    prompt = PROMPTS[3]
    found = sample(model, TOKENIZER, [prompt] * draws, max_tokens=1, temperature=temperature, seed=seed)
    logits = next_logits(model, prompt) / temperature
    expected = draws * np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    counts = np.bincount([tokens.responses[0][0] for tokens in found], minlength=VOCABULARY)
    # Rare tokens together, as Pearson's test wants it.
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    assert freedom > 10
    # Five standard deviations above what chance gives.
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)
    # The test could tell: a uniform draw fails it by far.
    uniform = np.full(VOCABULARY, draws / VOCABULARY)
    uniform = np.append(uniform[~rare], uniform[rare].sum())
    assert ((uniform - expected) ** 2 / expected).sum() > 3 * (freedom + 5 * np.sqrt(2 * freedom))


def test_draws_of_one_step_are_independent(model: nn.Module) -> None:
    # Many copies of a prompt in one batch must not all draw the same.
    found = sample(model, TOKENIZER, [PROMPTS[0]] * 32, max_tokens=3, temperature=1.0, seed=0)
    assert len({tuple(tokens.responses[0]) for tokens in found}) > 20
