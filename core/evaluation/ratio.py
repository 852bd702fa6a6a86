"""The interval of a mean over tokens, whose independent units are the texts that the tokens stand in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from core.intervals import Z


def mean_per_token(sums: Sequence[float], tokens: Sequence[int]) -> tuple[float, float | None, float | None]:
    """Mean over all tokens, and its 95 % interval by the delta method for a ratio of two sums (Cochran 1977, 6.4).

    Args:
        sums: of each text, over its tokens.
        tokens: how many each has.

    Returns:
        Mean, low, high; no interval from fewer than two texts.
    """
    values, counts = np.array(sums, np.float64), np.array(tokens, np.float64)
    mean = math.fsum(sums) / float(counts.sum())
    n = len(sums)
    if n < 2:
        return mean, None, None
    squares = float(((values - mean * counts) ** 2).sum())
    spread = Z * math.sqrt(squares * n / (n - 1)) / float(counts.sum())
    return mean, mean - spread, mean + spread
