"""Decoding: token for token what mlx-lm writes for one prompt alone, whatever shares the batch."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.generate import stream_generate
from mlx_lm.models.cache import make_prompt_cache

from core.generation import decode
from core.generation.decode import Decoder, Job, Row, Way, bytes_per_row, choose, expanded, prefill
from core.generation.draw import NotNumbers, Settings, stream
from tests.core.models.architectures import MISTRAL_WINDOW, VOCABULARY, build

# Many, so that some responses end early.
END = set(range(0, VOCABULARY, 4))
RNG = np.random.default_rng(0)
PROMPTS = [RNG.integers(6, VOCABULARY, length).tolist() for length in (3, 11, 1, 7, 2, 9)]
# Longer than every window, so that rotating caches rotate.
TOKENS = 11

ARCHITECTURES: list[tuple[str, dict[str, Any], Way]] = [
    ("llama", {}, "together"),
    ("mistral", MISTRAL_WINDOW, "together"),
    ("qwen2", {}, "together"),
    ("gemma2", {}, "prompt"),
    ("gemma3_text", {}, "together"),
    ("mamba2", {}, "together"),
    ("qwen3_moe", {}, "together"),
]


class Tokenizer:
    """As much of one as mlx-lm's stream_generate asks of it."""

    eos_token_ids = END

    class detokenizer:
        last_segment = ""

        @staticmethod
        def reset() -> None: ...

        @staticmethod
        def add_token(token: int) -> None: ...

        @staticmethod
        def finalize() -> None: ...


def by_mlx_lm(model: nn.Module, prompt: list[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    import importlib

    generate = importlib.import_module("mlx_lm.generate")
    monkeypatch.setattr(generate, "TokenizerWrapper", Tokenizer)
    found = []
    for response in stream_generate(model, Tokenizer(), prompt, max_tokens=TOKENS):  # type: ignore[arg-type]
        found.append(int(response.token))
    return found


def run(
    model: nn.Module,
    prompts: list[list[int]],
    copies: list[int],
    settings: Settings,
    *,
    way: Way,
    size: int,
    ahead: bool = False,
    tokens: int = TOKENS,
) -> tuple[list[list[list[int]]], Decoder]:
    decoder = Decoder(model, END, size=size, way=way, ahead=ahead)
    jobs = [
        Job(prompt, [Row(settings, stream(*prompt, index), tokens) for index in range(count)], number)
        for number, (prompt, count) in enumerate(zip(prompts, copies, strict=True))
    ]
    decoder.queue.extend(jobs)
    finished = []
    while decoder.busy:
        finished += [job.name for job in decoder.step()]
        assert decoder.rows <= max(size, 1)
    assert sorted(finished) == list(range(len(jobs)))
    return [[row.tokens for row in job.rows] for job in jobs], decoder


@pytest.mark.parametrize(("name", "changes", "way"), ARCHITECTURES, ids=[name for name, *_ in ARCHITECTURES])
def test_greedy_is_mlx_lm_s(name: str, changes: dict, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(name, spread=0.15, **changes)
    found, why = choose(model)
    assert found == way, why
    assert bool(why) == (way != "together")
    expected = [by_mlx_lm(model, prompt, monkeypatch) for prompt in PROMPTS]
    assert len({len(tokens) for tokens in expected}) > 1  # some end early, and their places are taken
    copies = [1, 3, 2, 1, 4, 2]
    ways: list[Way] = ["alone", "prompt", "together"]
    for each in ways[: ways.index(way) + 1]:
        for ahead in (False, True) if each == way else (False,):
            written, _ = run(model, PROMPTS, copies, Settings(0.0), way=each, size=4, ahead=ahead)
            for of_prompt, alone in zip(written, expected, strict=True):
                assert all(tokens == alone for tokens in of_prompt), (each, ahead)


@pytest.mark.parametrize(("name", "changes"), [(n, c) for n, c, _ in ARCHITECTURES], ids=[n for n, *_ in ARCHITECTURES])
def test_a_shared_prompt_gives_the_logits_of_one_that_is_run_again(name: str, changes: dict) -> None:
    model = build(name, **changes)
    way, _ = choose(model)
    prompt = PROMPTS[1]
    together = expanded(prefill(model, prompt), 3, way)
    tokens = [prompt[-1], 7, 8]
    shared = np.array(model(mx.array(tokens)[:, None], cache=together)[:, -1])
    for row, token in enumerate(tokens):
        cache = make_prompt_cache(model)
        model(mx.array([prompt[:-1]]), cache=cache)
        alone = np.array(model(mx.array([[token]]), cache=cache)[0, -1])
        np.testing.assert_allclose(shared[row], alone, rtol=1e-4, atol=1e-4)


def test_a_response_does_not_depend_on_the_batch() -> None:
    model = build("llama", spread=0.15)
    settings = Settings(1.0, top_p=0.95, repetition_penalty=1.2)
    copies = [2] * len(PROMPTS)
    whole, decoder = run(model, PROMPTS, copies, settings, way="together", size=16)
    assert len({tuple(tokens) for of_prompt in whole for tokens in of_prompt}) > 9
    assert decoder.prefilled == sum(len(prompt) - 1 for prompt in PROMPTS) == decoder.shared
    others: list[tuple[int, Way, bool]] = [(3, "together", False), (5, "together", True), (3, "prompt", True)]
    for size, way, ahead in [*others, (1, "together", False), (1, "alone", True)]:
        assert run(model, PROMPTS, copies, settings, way=way, size=size, ahead=ahead)[0] == whole
    assert run(model, PROMPTS[::-1], copies, settings, way="together", size=4)[0][::-1] == whole


def test_more_responses_than_rows_share_one_prompt() -> None:
    model = build("llama", spread=0.15)
    for way in ("together", "prompt", "alone"):
        found, decoder = run(model, [PROMPTS[1]], [9], Settings(1.0), way=way, size=4)
        assert len({tuple(tokens) for tokens in found[0]}) > 6
        assert decoder.prefilled == len(PROMPTS[1]) - 1


def test_prompts_longer_than_a_part_of_prefill(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("gemma3_text", spread=0.15)
    whole, _ = run(model, PROMPTS, [2] * len(PROMPTS), Settings(0.0), way="together", size=5)
    monkeypatch.setattr(decode, "PREFILL", 3)
    assert run(model, PROMPTS, [2] * len(PROMPTS), Settings(0.0), way="together", size=5)[0] == whole


class Lame(nn.Module):
    """A model whose batches go wrong: rows of one batch see each other."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model
        self.layers = model.layers

    def __call__(self, ids: mx.array, cache: Any = None) -> mx.array:
        logits = self.inner(ids, cache=cache)
        return logits + (logits.mean(axis=0, keepdims=True) if len(ids) > 1 else 0)


def test_a_model_whose_batches_go_wrong_is_found_out() -> None:
    way, why = choose(Lame(build("llama")))
    assert way == "alone"
    assert "logits of a row in a batch are off by" in why


def test_broken_weights_are_an_error() -> None:
    model = build("llama")
    model.update({"model": {"norm": {"weight": mx.full((32,), float("nan"))}}})
    with pytest.raises(NotNumbers):
        run(model, PROMPTS[:1], [1], Settings(1.0), way="together", size=1)


def test_the_size_of_a_cache() -> None:
    # 2 blocks x keys and values x 2 heads x 8 numbers x 4 bytes.
    assert bytes_per_row(build("llama"), 100) == 100 * 2 * 2 * 2 * 8 * 4
    # One of two blocks looks back five tokens.
    assert bytes_per_row(build("gemma3_text"), 100) < 60 * 2 * 2 * 2 * 8 * 4
    model = build("mamba2")
    assert bytes_per_row(model, 10) == bytes_per_row(model, 1000) > 0
