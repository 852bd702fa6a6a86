"""Intervals against their textbook values."""

from __future__ import annotations

import math

import pytest

from core.evaluation.intervals import mean_interval, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(successes: float, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_takes_halves_and_stays_a_share() -> None:
    low, high = wilson(9.5, 20)
    assert wilson(9, 20)[0] < low < 0.475 < high < wilson(10, 20)[1]
    assert wilson(20, 20)[1] == 1.0
    assert all(wilson(n, n)[1] == 1.0 and wilson(0, n)[0] == 0.0 for n in range(1, 500))
    assert all(math.isnan(bound) for bound in wilson(0, 0))


def test_interval_of_a_mean() -> None:
    assert mean_interval(1.0, 2.0, 16) == pytest.approx((1 - 0.97998, 1 + 0.97998), abs=1e-5)
    assert mean_interval(1.0, 0.0, 1) == (None, None)
