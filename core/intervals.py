"""95 % intervals of shares and means."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z = 1.959963984540054  # the 97.5th percentile of the normal distribution


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Wilson's score interval of a share; successes may be halves, for ties."""
    if n == 0:
        return math.nan, math.nan
    p = successes / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    # Rounding must not leave the share outside of its own interval.
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def mean_interval(mean: float, deviation: float, n: int) -> tuple[float | None, float | None]:
    """Normal interval of a mean from the sample's standard deviation; none from fewer than two values."""
    if n < 2:
        return None, None
    half = Z * deviation / math.sqrt(n)
    return mean - half, mean + half


def difference(
    first: float, first_interval: tuple[float, float], second: float, second_interval: tuple[float, float]
) -> tuple[float, float]:
    """Interval of first - second, two independent shares, from their Wilson intervals (Newcombe 1998, method 10)."""
    below = math.hypot(first - first_interval[0], second_interval[1] - second)
    above = math.hypot(first_interval[1] - first, second - second_interval[0])
    return first - second - below, first - second + above


def paired_ratios(before: Sequence[float], after: Sequence[float], seed: int, draws: int = 10_000) -> list[float]:
    """Bootstrap of mean(after) / mean(before) over items that were measured twice (Efron and Tibshirani 1993, ch. 6).

    Items are drawn with what both measurements gave, so that what makes an item easy is not taken for a difference.

    Args:
        before, after: what each item got, in the same order.

    Returns:
        A ratio for each draw; NaN where nothing of `before` was drawn that is not 0.
    """
    import numpy as np

    # Items are right or wrong: a draw of n items is a draw of how often each of the few pairs comes.
    pairs, counts = np.unique(np.array([before, after], np.float64), axis=1, return_counts=True)
    n = len(before)
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=draws)
    below, above = drawn @ pairs[0], drawn @ pairs[1]
    ratios = np.full(draws, np.nan)
    np.divide(above, below, out=ratios, where=below > 0)
    return [float(ratio) for ratio in ratios]


def percentiles(draws: Sequence[float]) -> tuple[float | None, float | None]:
    """The middle 95 % of bootstrap draws; none where more than a hundredth of them gave no number."""
    import numpy as np

    found = np.array(draws, np.float64)
    finite = found[np.isfinite(found)]
    if len(found) == 0 or len(finite) < 0.99 * len(found):
        return None, None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
