"""Intervals against their textbook values."""

from __future__ import annotations

import math

import pytest

from core.intervals import difference, mean_interval, wilson


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


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    # Newcombe 1998 (interval estimation for the difference), table II, method 10.
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_difference_of_shares_as_published(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    shares = [(hits / n, wilson(hits, n)) for hits, n in (first, second)]
    assert difference(*shares[0], *shares[1]) == pytest.approx((low, high), abs=6e-5)
