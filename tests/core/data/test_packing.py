"""Packing: every example once, rows that are full, an order that seed and epoch decide, right positions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.data.batches import BatchStream, epoch_order
from core.data.packing import Packed, collate_rows, fill_rows, rows_of
from core.data.tokenize import Tokens

LENGTHS = st.lists(st.integers(2, 100), min_size=1, max_size=300)
SIZES = st.builds(Packed, st.integers(1, 5), st.integers(100, 400))


def best_fit(order: list[int], lengths: list[int], width: int) -> list[list[int]]:
    """Best-fit decreasing as it is told: the fullest bin that has room, else a new one."""
    rows: list[list[int]] = []
    for index in sorted(order, key=lambda i: -(lengths[i] // 32)):
        used = [sum(lengths[i] for i in row) for row in rows]
        fits = [number for number in range(len(rows)) if used[number] + lengths[index] <= width]
        if fits:
            rows[max(fits, key=lambda number: (used[number], -number))].append(index)
        else:
            rows.append([index])
    return rows


@given(lengths=LENGTHS, width=st.integers(100, 400), seed=st.integers(0, 100))
def test_best_fit_decreasing(lengths: list[int], width: int, seed: int) -> None:
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(lengths))]
    assert fill_rows(order, lengths, width) == best_fit(order, lengths, width)


@given(lengths=LENGTHS, size=SIZES, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 9))
def test_every_example_once_in_rows_that_hold_it(lengths: list[int], size: Packed, seed: int, epoch: int) -> None:
    order = epoch_order(lengths, size, seed, epoch)
    assert order == epoch_order(lengths, size, seed, epoch)
    assert sorted(i for batch in order for i in batch) == list(range(len(lengths)))
    for batch in order:
        rows = rows_of(batch, lengths, size.width)
        assert 1 <= len(rows) <= size.rows
        assert [i for row in rows for i in row] == batch
        assert all(sum(lengths[i] for i in row) <= size.width for row in rows)


@given(
    lengths=st.lists(st.integers(2, 100), min_size=1, max_size=60),
    size=SIZES,
    position=st.integers(0, 40),
    seed=st.integers(0, 1000),
)
def test_a_position_is_all_that_a_resume_needs(lengths: list[int], size: Packed, position: int, seed: int) -> None:
    whole = BatchStream(lengths, size, seed)
    taken = [whole.take() for _ in range(position + 20)]
    resumed = BatchStream(lengths, size, seed, position)
    assert [resumed.take() for _ in range(20)] == taken[position:]


def test_rows_of_realistic_lengths_are_full_and_new_in_every_epoch() -> None:
    lengths = [int(min(1024, 8 + x)) for x in np.random.default_rng(0).lognormal(4.5, 0.8, 2000)]
    together = []
    for epoch in range(3):
        order = epoch_order(lengths, Packed(4, 1024), 7, epoch)
        rows = [row for batch in order for row in rows_of(batch, lengths, 1024)]
        assert sum(lengths) / (1024 * len(rows)) > 0.98
        together.append({frozenset(row) for row in rows})
        # Rows of long examples are not batched by themselves: the order is random.
        longest = [max(lengths[i] for i in batch) for batch in order]
        assert sorted(longest) != longest
    assert all(len(a & b) < 0.1 * len(a) for a, b in pairwise(together))


IDS = st.lists(st.integers(1, 50), min_size=1, max_size=9)


@given(
    examples=st.lists(st.builds(lambda p, r: Tokens(p, (r,)), IDS, IDS), min_size=1, max_size=8),
    seed=st.integers(0, 9),
)
def test_collate_against_a_naive_one(examples: list[Tokens], seed: int) -> None:
    lengths = [example.length for example in examples]
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(examples))]
    rows = fill_rows(order, lengths, 24)
    batch, segments = collate_rows(examples, rows, 24)
    expected = []
    for number, row in enumerate(rows):
        whole: list[int] = []
        for segment, index in enumerate(row, 1):
            prompt, (response,) = examples[index].prompt, examples[index].responses
            assert set(segments[number, len(whole) : len(whole) + lengths[index]].tolist()) == {segment}
            expected += [(number, len(whole) + len(prompt) + at - 1, token) for at, token in enumerate(response)]
            whole += prompt + response
        assert batch.ids[number, : len(whole)].tolist() == whole
        assert not batch.ids[number, len(whole) :].any()
        assert not segments[number, len(whole) :].any()
    assert batch.ids.shape == segments.shape == (len(rows), 24)
    real = batch.weights == 1
    found = zip(
        batch.rows[real].tolist(), (batch.positions[real] % 24).tolist(), batch.targets[real].tolist(), strict=True
    )
    assert list(found) == expected
    assert (batch.positions[real] // 24 == batch.rows[real]).all()
    assert set(batch.weights[len(expected) :].tolist()) <= {0.0}
    assert len(batch.weights) % 8 == 0
    assert sorted(batch.indices) == list(range(len(examples)))
    assert batch.tokens == sum(lengths)
