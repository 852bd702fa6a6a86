"""Means of marks with intervals: answers are the sample, and what is said of one answer belongs together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.intervals import Z

# Of Student's t the 97.5th percentile, for 1 to 30 degrees of freedom; beyond them an expansion is exact to 1e-4.
_T = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip


def t_quantile(freedom: float) -> float:
    """The 97.5th percentile of Student's t; between whole degrees of freedom the larger one of the two beside it."""
    whole = max(1, math.floor(freedom))
    if whole <= len(_T):
        return _T[whole - 1]
    return Z + (Z**3 + Z) / (4 * whole) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * whole**2)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval; none from a single answer. `n` counts what was sampled: answers, or prompts that
    both models answered."""

    value: float
    n: int
    low: float | None = None
    high: float | None = None
    error: float | None = None  # standard error


@dataclass(frozen=True, slots=True)
class Difference:
    """Final - baseline. Paired: over prompts whose two answers were marked by the same person."""

    estimate: Estimate
    paired: bool


# By answer (or prompt) the value for each criterion.
Cells = Mapping[str, Mapping[str, float]]


def clustered(cells: Cells, criteria: Sequence[str], bounds: tuple[float, float] | None = None) -> Estimate | None:
    """The mean over criteria of their means, each over the answers that have a mark by it.

    The interval is Student's t over answers: all that is said of an answer is one cluster, whose share of the mean's
    error is the sum of its deviations over criteria (linearization; with every cell filled it is the plain standard
    error of the answers' own means). It tells what other answers of the model would do to the mean, with these raters.

    Returns:
        None where a criterion has no mark at all.
    """
    counts = {criterion: sum(criterion in of for of in cells.values()) for criterion in criteria}
    if not counts or not all(counts.values()):
        return None
    means = {
        criterion: math.fsum(of[criterion] for of in cells.values() if criterion in of) / counts[criterion]
        for criterion in criteria
    }
    value = math.fsum(means.values()) / len(criteria)
    shares = [
        math.fsum((of[c] - means[c]) / (counts[c] * len(criteria)) for c in criteria if c in of)
        for of in cells.values()
        if any(c in of for c in criteria)
    ]
    n = len(shares)
    if n < 2:
        return Estimate(value, n)
    error = math.sqrt(n / (n - 1) * math.fsum(share**2 for share in shares))
    half = t_quantile(n - 1) * error
    low, high = value - half, value + half
    if bounds is not None:
        # What is beyond the scale is impossible; the value itself never is.
        low, high = min(value, max(bounds[0], low)), max(value, min(bounds[1], high))
    return Estimate(value, n, low, high, error)


def unpaired(first: Estimate, second: Estimate) -> Estimate:
    """The difference of two means that rest on different answers, by Welch's t."""
    value, n = first.value - second.value, min(first.n, second.n)
    if first.error is None or second.error is None:
        return Estimate(value, n)
    a, b = first.error**2, second.error**2
    error = math.sqrt(a + b)
    below = a**2 / (first.n - 1) + b**2 / (second.n - 1)
    half = t_quantile((a + b) ** 2 / below if below else first.n + second.n - 2) * error
    return Estimate(value, n, value - half, value + half, error)
