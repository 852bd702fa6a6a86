"""95 % intervals of shares and means."""

from __future__ import annotations

import math

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
