"""Draws: what mlx-lm's filters leave, at the probabilities that they leave it; the same on a CPU and in MLX."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm import sample_utils

from core.generation.draw import Settings, draw, draw_on_gpu, stream

VOCABULARY = 97
LOGITS = np.random.default_rng(0).normal(0, 2.5, VOCABULARY).astype(np.float32)
LOGPROBS = LOGITS - np.log(np.exp(LOGITS).sum())

CASES = [
    Settings(1.0),
    Settings(0.6),
    Settings(1.0, top_p=0.8),
    Settings(1.4, top_p=0.95),
    Settings(0.7, min_p=0.1),
    Settings(1.2, top_k=7),
    Settings(1.5, top_p=0.9, min_p=0.02, top_k=12),
    Settings(1.0, top_p=0.01),
    Settings(2.0, top_k=500),
]


def by_mlx_lm(s: Settings) -> np.ndarray:
    """The distribution that mlx-lm's sampler draws from, by its own filters."""
    logprobs = mx.array(LOGPROBS)[None]
    if s.top_p < 1:
        logprobs = sample_utils.apply_top_p(logprobs, s.top_p)
    if s.min_p:
        logprobs = sample_utils.apply_min_p(logprobs, s.min_p)
    if 0 < s.top_k < VOCABULARY:
        logprobs = sample_utils.apply_top_k(logprobs, s.top_k)
    weights = np.exp(np.array(logprobs[0], np.float64) / s.temperature)
    return weights / weights.sum()


def drawn(how: Any, s: Settings, uniform: np.ndarray, chunk: int = 500) -> np.ndarray:
    found = []
    for start in range(0, len(uniform), chunk):
        part = uniform[start : start + chunk].astype(np.float32)
        logits = mx.broadcast_to(mx.array(LOGITS)[None], (len(part), VOCABULARY))
        found.append(np.array(how(logits, [s] * len(part), part, None)))
    return np.concatenate(found)


@pytest.mark.parametrize("how", [draw, draw_on_gpu])
@pytest.mark.parametrize("s", CASES, ids=str)
def test_the_distribution_is_mlx_lm_s(s: Settings, how: Any) -> None:
    # Numbers that lie evenly: the share of each token is its probability up to the width between two of them.
    count = 2000
    shares = np.bincount(drawn(how, s, (np.arange(count) + 0.5) / count), minlength=VOCABULARY) / count
    expected = by_mlx_lm(s)
    assert np.abs(shares - expected).max() < 1.5 / count
    assert not shares[expected == 0].any()


@given(
    st.lists(
        st.builds(
            Settings,
            temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
            top_p=st.sampled_from([1.0, 0.9, 0.5]),
            min_p=st.sampled_from([0.0, 0.05]),
            top_k=st.sampled_from([0, 1, 5]),
            repetition_penalty=st.sampled_from([1.0, 1.3]),
            repetition_context=st.sampled_from([2, 4]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 10_000),
)
@settings(max_examples=30, deadline=None)
def test_a_batch_of_several_settings_draws_what_each_alone_draws(batch: list[Settings], seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (len(batch), 50)).astype(np.float32)
    uniform = rng.random(len(batch), dtype=np.float32)
    recent = rng.integers(0, 50, (len(batch), 4))
    on_cpu, in_mlx = (np.array(how(mx.array(logits), batch, uniform, recent)).tolist() for how in (draw, draw_on_gpu))
    alone = [
        int(draw(mx.array(logits[i : i + 1]), [s], uniform[i : i + 1], recent[i : i + 1])[0])
        for i, s in enumerate(batch)
    ]
    assert on_cpu == in_mlx == alone


@pytest.mark.parametrize("how", [draw, draw_on_gpu])
def test_the_largest_and_smallest_numbers_stay_within_what_is_left(how: Any) -> None:
    s = Settings(1.0, top_p=0.7)
    allowed = set(np.flatnonzero(by_mlx_lm(s)))
    found = drawn(how, s, np.array([0.0, np.nextafter(np.float32(1), np.float32(0))]))
    assert set(found.tolist()) <= allowed
    assert len(set(found.tolist())) == 2


@pytest.mark.parametrize("how", [draw, draw_on_gpu])
def test_repetition_penalty_is_mlx_lm_s(how: Any) -> None:
    s = Settings(0.0, repetition_penalty=50.0, repetition_context=3)
    order = np.argsort(-LOGITS)
    recent = np.array([[order[1], order[0], order[0], order[3]]])
    penalize = sample_utils.make_repetition_penalty(50.0, 3)
    expected = int(mx.argmax(penalize(mx.array(recent[0]), mx.array(LOGITS)[None])[0]))
    assert expected == order[1] != order[0]
    assert int(how(mx.array(LOGITS)[None], [s], np.zeros(1, np.float32), recent)[0]) == expected
    # It looks no further back than it says.
    wide = Settings(0.0, repetition_penalty=50.0, repetition_context=4)
    assert int(how(mx.array(LOGITS)[None], [wide], np.zeros(1, np.float32), recent)[0]) == order[2]


@pytest.mark.parametrize("how", [draw, draw_on_gpu])
@pytest.mark.parametrize("s", [Settings(0.0), Settings(1.0), Settings(1.0, top_p=0.5)], ids=str)
def test_logits_that_are_no_numbers(how: Any, s: Settings) -> None:
    logits = np.stack([LOGITS, np.full_like(LOGITS, math.nan)])
    found = np.array(how(mx.array(logits), [s, s], np.array([0.5, 0.5], np.float32), None)).tolist()
    assert found[1] == -1
    assert found[0] >= 0


def test_streams_differ_by_every_word() -> None:
    first = stream(1, 2, 3).random(4).tolist()
    assert stream(1, 2, 3).random(4).tolist() == first
    for other in (stream(1, 2, 4), stream(1, 23), stream(12, 3), stream(1, 2, 3, 0)):
        assert other.random(4).tolist() != first
