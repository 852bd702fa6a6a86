"""Batches: every example once an epoch, an order that seed and epoch decide, little padding, right positions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data import batches
from core.data.batches import (
    BatchStream,
    Budget,
    arrays,
    collate,
    epoch_order,
    examples_per_batch,
    in_order,
    padded_count,
    padded_width,
)
from core.data.tokenize import Tokens
from core.errors import UserError

LENGTHS = st.lists(st.integers(2, 300), min_size=1, max_size=400)


@given(lengths=LENGTHS, size=st.integers(1, 9), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 50))
def test_every_index_once_an_epoch(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    order = epoch_order(lengths, size, seed, epoch)
    assert sorted(i for batch in order for i in batch) == list(range(len(lengths)))
    sizes = sorted(len(batch) for batch in order)
    # Full batches but for one, the last of the last window.
    assert sizes[1:] == [size] * (len(order) - 1)
    assert len(order) == -(-len(lengths) // size)
    assert all(type(i) is int for batch in order for i in batch)


BUDGETS = st.builds(Budget, st.integers(304 * 2, 6000), st.integers(1, 2))


@given(lengths=LENGTHS, size=BUDGETS, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 50))
def test_a_budget_is_kept_and_used(lengths: list[int], size: Budget, seed: int, epoch: int) -> None:
    for order in (epoch_order(lengths, size, seed, epoch), in_order(lengths, size)):
        assert sorted(i for batch in order for i in batch) == list(range(len(lengths)))
        for batch in order:
            assert len(batch) * size.rows * padded_width(max(lengths[i] for i in batch)) <= size.tokens
    # In order, nothing of a batch's successor would have fitted in.
    for batch, following in pairwise(order):
        assert (len(batch) + 1) * size.rows * padded_width(lengths[following[0]]) > size.tokens
    assert examples_per_batch(lengths, size) == len(lengths) / len(order)


def test_a_row_that_no_batch_can_hold() -> None:
    with pytest.raises(UserError) as refused:
        BatchStream([10, 301], Budget(600, 2), 0)
    assert str(refused.value) == (
        "training.batch_tokens: 600 has no room for the longest row, 2 x 304 tokens with padding: set it to 608 or "
        "more, or lower data.max_response_length"
    )
    assert len(BatchStream([10, 301], Budget(608, 2), 0).take()) == 1
    # In an evaluation, which takes less memory, it stands alone.
    assert in_order([301, 10, 20], Budget(600, 2)) == [[1, 2], [0]]


@given(lengths=LENGTHS, size=st.integers(1, 9), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 50))
def test_order_is_a_function_of_seed_and_epoch(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    first = epoch_order(lengths, size, seed, epoch)
    np.random.default_rng(7).random(3)  # whatever else draws
    assert epoch_order(lengths, size, seed, epoch) == first


def test_seed_and_epoch_both_change_the_order() -> None:
    lengths = list(range(10, 1610, 2))
    orders = [epoch_order(lengths, 4, seed, epoch) for seed in (1, 2) for epoch in (0, 1, 2)]
    assert len({str(order) for order in orders}) == 6
    # And who meets whom in a batch, where more than one window gives room for it.
    assert len({str(sorted(map(sorted, order))) for order in orders}) == 6


def test_batches_of_an_epoch_are_not_in_order_of_length() -> None:
    lengths = list(range(64))
    longest = [max(lengths[i] for i in batch) for batch in epoch_order(lengths, 4, 0, 0)]
    assert sorted(longest) != longest
    assert sorted(longest, reverse=True) != longest


@given(
    lengths=st.lists(st.integers(2, 99), min_size=1, max_size=40),
    size=st.integers(1, 5),
    position=st.integers(0, 60),
    seed=st.integers(0, 1000),
)
def test_a_stream_goes_on_from_a_position(lengths: list[int], size: int, position: int, seed: int) -> None:
    whole = BatchStream(lengths, size, seed)
    taken = [whole.take() for _ in range(position + 30)]
    resumed = BatchStream(lengths, size, seed, position)
    assert [resumed.take() for _ in range(30)] == taken[position:]
    assert resumed.position == whole.position == position + 30
    assert resumed.epoch == pytest.approx(whole.position / -(-len(lengths) // size))


@given(
    lengths=st.lists(st.integers(2, 300), min_size=1, max_size=60),
    size=BUDGETS,
    position=st.integers(0, 60),
    seed=st.integers(0, 1000),
)
def test_a_position_is_all_that_a_resume_needs_with_a_budget_too(
    lengths: list[int], size: Budget, position: int, seed: int
) -> None:
    whole = BatchStream(lengths, size, seed)
    taken, epochs = [], []
    for _ in range(position + 30):
        epochs.append(whole.epoch)
        taken.append(whole.take())
    resumed = BatchStream(lengths, size, seed, position)
    assert resumed.epoch == (epochs[position] if position < len(epochs) else whole.epoch)
    assert [resumed.take() for _ in range(30)] == taken[position:]
    assert resumed.position == whole.position == position + 30
    assert resumed.epoch == whole.epoch
    assert epochs == sorted(set(epochs))
    # Every epoch shows all, once.
    shown = [i for epoch, batch in zip(epochs, taken, strict=True) if epoch < int(whole.epoch) for i in batch]
    assert sorted(shown) == sorted(list(range(len(lengths))) * int(whole.epoch))


def test_epochs_with_a_budget_have_different_numbers_of_batches() -> None:
    # Else the test above would show nothing.
    lengths = [int(x) for x in np.random.default_rng(0).lognormal(4.5, 0.8, 3000).clip(8, 1000)]
    assert len({len(epoch_order(lengths, Budget(2000), 0, epoch)) for epoch in range(4)}) > 1


def test_a_stream_shows_all_in_every_epoch() -> None:
    stream = BatchStream([5] * 10, 4, 0)
    for epoch in range(1, 4):
        assert sorted(i for _ in range(3) for i in stream.take()) == list(range(10))
        assert stream.epoch == epoch


def waste(order: list[list[int]], lengths: list[int]) -> float:
    """The share of a batch's rectangle that is padding."""
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in order)
    return 1 - sum(lengths) / padded


def mixed(epochs: int, size: int, lengths: list[int]) -> float:
    """The share of companions in a batch that are the same in the next epoch."""
    orders = [epoch_order(lengths, size, 1, epoch) for epoch in range(epochs)]
    met = [{i: set(batch) - {i} for batch in order for i in batch} for order in orders]
    return float(np.mean([len(a[i] & b[i]) / max(1, len(a[i])) for a, b in pairwise(met) for i in range(len(lengths))]))


def test_an_example_meets_others_in_every_epoch() -> None:
    # Fewer than a window, so that all are sorted together.
    lengths = [int(min(1024, 8 + x)) for x in np.random.default_rng(0).lognormal(4.5, 0.8, 350)]
    assert mixed(3, 4, lengths) < 0.35


def test_padding_is_far_below_a_random_order() -> None:
    rng = np.random.default_rng(0)
    # Prompts and answers as people write them: many short ones, a long tail.
    lengths = [int(min(1024, 8 + x)) for x in rng.lognormal(4.5, 0.8, 2000)]
    shuffled = [int(i) for i in rng.permutation(len(lengths))]
    random_order = [shuffled[i : i + 4] for i in range(0, len(shuffled), 4)]
    assert waste(random_order, lengths) > 0.35
    for epoch in range(3):
        assert waste(epoch_order(lengths, 4, 1, epoch), lengths) < 0.1
    assert waste(in_order(lengths, 4), lengths) < 0.02


@given(lengths=LENGTHS, size=st.integers(1, 9))
def test_evaluation_looks_at_all_by_length(lengths: list[int], size: int) -> None:
    order = in_order(lengths, size)
    flat = [i for batch in order for i in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert all(lengths[a] <= lengths[b] for a, b in pairwise(flat))
    assert [len(batch) for batch in order[:-1]] == [size] * (len(order) - 1)


IDS = st.lists(st.integers(1, 50), min_size=1, max_size=20)


@st.composite
def example_lists(draw: st.DrawFn) -> tuple[list[Tokens], list[int]]:
    responses = draw(st.integers(1, 2))
    examples = draw(
        st.lists(
            st.builds(lambda p, r: Tokens(p, tuple(r)), IDS, st.lists(IDS, min_size=responses, max_size=responses)),
            min_size=1,
            max_size=6,
        )
    )
    indices = draw(st.lists(st.sampled_from(range(len(examples))), min_size=1, max_size=6, unique=True))
    return examples, indices


@given(given_examples=example_lists(), pad=st.integers(0, 3))
def test_collate_against_a_naive_one(given_examples: tuple[list[Tokens], list[int]], pad: int) -> None:
    examples, indices = given_examples
    batch = collate(examples, indices, pad)
    expected = []  # (row, position in the row, target)
    row = 0
    for which in range(len(examples[0].responses)):
        for index in indices:
            prompt, response = examples[index].prompt, examples[index].responses[which]
            whole = prompt + response
            assert batch.ids[row, : len(whole)].tolist() == whole
            assert set(batch.ids[row, len(whole) :].tolist()) <= {pad}
            # The logits at position t speak of token t + 1.
            expected += [(row, t, whole[t + 1]) for t in range(len(whole) - 1) if t + 1 >= len(prompt)]
            row += 1
    rows, width = batch.ids.shape
    assert rows == row
    assert width % 8 == 0
    assert width - max(len(e.prompt) + len(r) for i in indices for e in [examples[i]] for r in e.responses) < 8
    real = batch.weights == 1
    found = zip(
        batch.rows[real].tolist(), (batch.positions[real] % width).tolist(), batch.targets[real].tolist(), strict=True
    )
    assert list(found) == expected
    assert (batch.positions[real] // width == batch.rows[real]).all()
    # Padding of positions weighs nothing, stands at the end, and points inside the batch.
    assert real[: len(expected)].all()
    assert set(batch.weights[len(expected) :].tolist()) <= {0.0}
    assert len(real) % 8 == 0
    assert (batch.positions >= 0).all() and (batch.positions < rows * width).all()
    assert batch.indices == indices
    assert batch.tokens == sum(len(examples[i].prompt) + len(r) for i in indices for r in examples[i].responses)


def test_arrays_are_the_batch() -> None:
    batch = collate([Tokens([1, 2], ([3], [4, 5]))], [0])
    for ours, theirs in zip(
        (batch.ids, batch.positions, batch.targets, batch.rows, batch.weights), arrays(batch), strict=True
    ):
        assert np.array_equal(ours, np.array(theirs))
        assert str(ours.dtype) == str(np.array(theirs).dtype)


def test_few_shapes_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_pad_to", lambda: 32)
    batch = collate([Tokens([1] * 20, ([2] * 30, [3] * 5))], [0])
    assert batch.ids.shape == (2, 64)
    assert batch.positions.shape == (64,)
    assert batch.weights.sum() == 35
    assert [padded_width(n) for n in (1, 32, 33, 257, 512, 513, 1024, 1025, 5000)] == [
        32, 32, 64, 288, 512, 576, 1024, 1152, 5120,
    ]  # fmt: skip
    assert [padded_count(n) for n in (1, 33, 128, 129, 256, 257, 512, 513, 1025)] == [
        32, 64, 128, 160, 256, 320, 512, 640, 1280,
    ]  # fmt: skip
    # Eight an octave: what is padded is an eighth at most, and shapes grow with the logarithm.
    assert len({padded_width(n) for n in range(1, 32769)}) == 16 + 8 * 6
    assert all(padded_width(n) - n < max(32, n / 8) for n in range(1, 5000))
    assert all(padded_count(n) - n < max(32, n / 4) for n in range(1, 5000))


def test_shapes_and_padding_of_a_realistic_epoch_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_pad_to", lambda: 32)
    lengths = [int(min(1024, 8 + x)) for x in np.random.default_rng(0).lognormal(4.5, 0.8, 2000)]
    order = epoch_order(lengths, 4, 0, 0)
    widths = [padded_width(max(lengths[i] for i in batch)) for batch in order]
    assert len(set(widths)) <= 24
    assert 1 - sum(lengths) / (4 * sum(widths)) < 0.18
