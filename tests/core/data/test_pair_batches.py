"""Pairs as rows of token ids, for themselves and with a shared prompt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.pair_batches import collate_pairs, share_prompts
from core.data.tokenize import Tokens

ids = st.lists(st.integers(1, 99), min_size=1, max_size=9)
prompts = st.lists(st.integers(1, 99), min_size=2, max_size=9)
pairs = st.lists(st.builds(Tokens, prompts, st.tuples(ids, ids)), min_size=1, max_size=5)


@given(pairs, st.booleans(), st.sampled_from([1, 8]), st.sampled_from([1.0, 0.25, 0.0]))
def test_every_response_token_once_with_what_comes_before_it(
    pairs: list[Tokens], shared: bool, multiple: int, tail: float
) -> None:
    indices = list(range(len(pairs)))[::-1]
    batch = collate_pairs(pairs, indices, shared=shared, multiple=multiple, tail_weight=tail)
    assert batch.ids.shape[0] == 2 * len(pairs)
    assert batch.ids.shape[1] % multiple == 0 and len(batch.positions) % multiple == 0
    flat = batch.ids.reshape(-1)
    at = 0
    for row in range(2 * len(pairs)):
        which, number = divmod(row, len(pairs))
        pair = pairs[indices[number]]
        response, other = pair.responses[which], pair.responses[1 - which]
        assert batch.counts[row] == len(response)
        for i, token in enumerate(response):
            position = int(batch.positions[at])
            assert batch.rows[at] == row and position // batch.ids.shape[1] == row
            assert batch.targets[at] == token and batch.real[at] == 1
            assert batch.weights[at] == (1.0 if i < len(other) else tail)
            start = row * batch.ids.shape[1]
            seen = flat[start : position + 1].tolist()
            if batch.prompts is not None and batch.padding is not None:
                seen = batch.prompts[number, batch.padding[number] :].tolist() + seen
            assert seen == pair.prompt + response[:i]
            at += 1
    assert not batch.real[at:].any() and not batch.weights[at:].any()
    assert (batch.prompts is not None) == shared


def test_a_prompt_of_one_token_is_not_shared() -> None:
    long = list(range(1, 50))
    assert share_prompts([Tokens(long, ([1], [2]))], 1)
    assert not share_prompts([Tokens(long, ([1], [2])), Tokens([1], ([1], [2]))], 1)


@pytest.mark.parametrize(
    ("prompt", "responses", "shared"), [(192, (64, 64), True), (64, (192, 192), True), (20, (236, 236), False)]
)
def test_sharing_where_it_is_less_work(prompt: int, responses: tuple[int, int], shared: bool) -> None:
    pair = Tokens([1] * prompt, ([2] * responses[0], [3] * responses[1]))
    assert share_prompts([pair], 1) is shared


def test_not_where_padding_takes_the_gain() -> None:
    # A long prompt with short responses beside a short one with long ones: both widths are the large ones.
    one, other = Tokens([1] * 200, ([2], [3])), Tokens([1] * 2, ([2] * 200, [3] * 200))
    assert share_prompts([one], 1)
    assert not share_prompts([one, other], 1)


def test_a_float_for_every_position() -> None:
    batch = collate_pairs([Tokens([1, 2], ([3], [4, 5]))], [0], shared=False, multiple=1)
    assert batch.weights.dtype == batch.real.dtype == np.float32
