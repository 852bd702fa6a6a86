"""Whole groups dealt as closely as they allow."""

from __future__ import annotations

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.apportion import closest


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=9), st.integers(1, 120), st.randoms(use_true_random=False))
def test_no_other_choice_is_closer(numbers: list[int], target: int, rng: random.Random) -> None:
    sizes = dict(enumerate(numbers))
    order = list(sizes)
    rng.shuffle(order)
    found = closest(sizes, order, target)
    assert 0 < len(found) < len(order) and len(set(found)) == len(found)
    best = min(
        abs(sum(choice) - target)
        for count in range(1, len(numbers))
        for choice in itertools.combinations(numbers, count)
    )
    assert abs(sum(sizes[group] for group in found) - target) == best


def test_a_shuffled_order_gives_a_random_part() -> None:
    sizes = dict.fromkeys(range(1000), 1)
    order = list(range(1000))
    random.Random(1).shuffle(order)
    assert closest(sizes, order, 200) == order[:200]


def test_the_last_ones_are_exchanged_where_that_meets_the_target() -> None:
    # 7 + 7 + 7 misses 20 by 1; 7 + 7 + 6 does not.
    sizes = {0: 7, 1: 7, 2: 7, 3: 6, 4: 6}
    assert sum(sizes[group] for group in closest(sizes, [0, 1, 2, 3, 4], 20)) == 20


def test_many_large_groups_take_no_time() -> None:
    rng = random.Random(3)
    sizes = {group: rng.choice((4, 6, 10, 40, 900)) for group in range(50_000)}
    order = list(sizes)
    rng.shuffle(order)
    target = sum(sizes.values()) // 5 | 1  # odd, and all sizes are even
    assert abs(sum(sizes[group] for group in closest(sizes, order, target)) - target) == 1


def test_some_groups_are_left_for_others() -> None:
    assert len(closest({0: 1, 1: 1, 2: 1}, [0, 1, 2], 2, leave=2)) == 1
