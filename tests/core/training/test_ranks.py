"""Batches dealt to ranks: every example once, shares held on the mean, the same again from the same position."""

from __future__ import annotations

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.experiments.distributed import WHOLE_BATCH
from core.store.ranks import shares_words
from core.training.losses import LOSSES, PairLoss
from core.training.ranks import ALONE, checksum, deal

SHARES = st.lists(st.floats(0.01, 1), min_size=1, max_size=6).map(lambda found: [s / sum(found) for s in found])


@given(st.integers(0, 40), SHARES, st.integers(0, 10**9))
def test_every_example_is_dealt_once_and_shares_are_held(count: int, shares: list[float], position: int) -> None:
    examples = list(range(count))
    dealt = deal(examples, shares, position)
    assert sorted(one for part in dealt for one in part) == examples
    assert dealt == deal(examples, shares, position)
    for part, share in zip(dealt, shares, strict=True):
        assert abs(len(part) - share * count) < 1 + 1e-6


def test_batches_of_four_at_65_35_come_to_that() -> None:
    """The share itself is exact on the mean: a batch of 4 is 3/1 in six of ten, else 2/2."""
    counts = [len(deal(range(4), (0.65, 0.35), position)[0]) for position in range(1000)]
    assert set(counts) == {2, 3}
    assert sum(counts) / 4000 == pytest.approx(0.65, abs=0.001)
    for start in range(0, 1000, 20):  # and soon
        assert sum(counts[start : start + 20]) / 80 == pytest.approx(0.65, abs=0.02)


def test_no_rank_gets_the_short_ones() -> None:
    """A batch is in the order of its lengths."""
    first, second = deal(range(20), (0.5, 0.5), 3)
    assert abs(sum(first) / len(first) - sum(second) / len(second)) <= 1


def test_a_small_share_may_get_nothing() -> None:
    found = [len(deal(range(2), (0.9, 0.1), position)[1]) for position in range(100)]
    assert set(found) == {0, 1}
    assert sum(found) / 200 == pytest.approx(0.1, abs=0.01)


def test_alone_is_one_process() -> None:
    assert ALONE.mine([3, 1], 5) == [3, 1]
    assert ALONE.add_up("x", {"a": 1.0}) == {"a": 1.0}
    assert ALONE.add_up("x", None) is None
    assert ALONE.decide(True) and not ALONE.decide(False)
    assert str(ALONE) == "one machine"


def test_checksums_differ_with_any_bit() -> None:
    tree = {"a": mx.arange(8).astype(mx.float32), "b": mx.ones((3,), mx.bfloat16)}
    other = {**tree, "a": tree["a"] + mx.array([0.0] * 7 + [5e-7])}
    assert checksum(tree) == checksum(dict(tree)) != checksum(other)


def test_losses_that_cannot_be_spread_are_those_of_whole_batches() -> None:
    assert {name for name in LOSSES if not PairLoss(types=(name,)).by_pair} == WHOLE_BATCH


def test_shares_in_words_are_together_100() -> None:
    assert shares_words((0.65, 0.35)) == "65/35"
    assert shares_words((1 / 3,) * 3) == "34/33/33"
    assert shares_words((0.626, 0.374)) == "63/37"
