"""The preference gap of scored pairs: its mean with an interval, its spread, and the scale the scores are on.

Without scores there is no gap; a length, a rank or a word count is never taken for one.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from statistics import NormalDist

from core.errors import UserError
from core.text import one_line

BINS = 20

Scale = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Gap:
    """The preference gap: score(chosen) - score(rejected) of each scored pair, on scores from 0 to 1.

    Attributes:
        mean: what the gate judges.
        low, high: 95 % interval of the mean; None with fewer than 3 prompts. Pairs of one prompt count as one cluster,
            because their scores are not independent.
        median: half of the pairs have less.
        n: scored pairs.
        inverted: pairs whose rejected response has the higher score.
        histogram: (from, to, pairs) in steps of 0.1 from -1 to 1.
        source: which fields, which scale, how many of the pairs.
        values: all gaps, sorted.
    """

    mean: float
    low: float | None
    high: float | None
    median: float
    n: int
    inverted: int
    histogram: tuple[tuple[float, float, int], ...]
    source: str
    values: array[float] = field(repr=False)

    def share(self, target: float) -> float:
        """Share of the scored pairs whose gap is at least `target`."""
        return sum(1 for value in self.values if value >= target) / self.n


# Scores are decimal numbers. Subtracted as such, 0.95 - 0.8 is 0.15 and meets a target of 0.15; in binary it
# falls short.
_DECIMAL = Context(prec=60)


@dataclass(slots=True)
class Scores:
    """Scores of one pair of fields, as the files have them. The scale is only known at the end."""

    gaps: array[float] = field(default_factory=lambda: array("d"))
    prompts: array[int] = field(default_factory=lambda: array("L"))
    total: Decimal = Decimal(0)
    low: float = math.inf
    high: float = -math.inf

    def add(self, chosen: float, rejected: float, prompt: int) -> None:
        gap = _DECIMAL.subtract(Decimal(repr(chosen)), Decimal(repr(rejected)))
        self.total = _DECIMAL.add(self.total, gap)
        self.gaps.append(float(gap))
        self.prompts.append(prompt)
        self.low = min(self.low, chosen, rejected)
        self.high = max(self.high, chosen, rejected)


def gap_of(scores: dict[str, Scores], valid: int, declared: Scale | None) -> tuple[Gap | None, str]:
    """The gap of a set of `valid` pairs, or why there is none. `scores` holds those that have any, by field names.

    Raises:
        UserError: scores lie outside the declared scale.
    """
    if not valid:
        return None, "there are no valid pairs"
    if not scores:
        return None, "the pairs have no scores, such as chosen_score and rejected_score"
    values, prompts, total, sources = array("d"), array("L"), Decimal(0), []
    for names, found in scores.items():
        low, high = found.low, found.high
        if declared is not None and not declared[0] <= low <= high <= declared[1]:
            raise UserError(
                f"{names}: scores run from {low:g} to {high:g}, outside the declared scale {_span(declared)}"
            )
        scale = declared or find_scale(low, high)
        if scale is None:
            return None, f"{names} run from {low:g} to {high:g}, which is no known scale: declare it (--scale LOW:HIGH)"
        width = Decimal(repr(scale[1])) - Decimal(repr(scale[0]))
        values.extend(float(Decimal(repr(value)) / width) for value in found.gaps)
        total = _DECIMAL.add(total, _DECIMAL.divide(found.total, width))
        prompts.extend(found.prompts)
        sources.append(f"{one_line(names, 60)} {_scale_words(scale, found, declared is not None)}")
    mean = float(_DECIMAL.divide(total, Decimal(len(values))))
    margin = _margin(values, prompts, mean)
    ordered = array("d", sorted(values))
    middle = len(ordered) // 2
    part = f", {len(values)} of {valid} pairs" if len(values) < valid else f", all {valid} pairs"
    gap = Gap(
        mean=mean,
        low=None if margin is None else mean - margin,
        high=None if margin is None else mean + margin,
        median=ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2,
        n=len(values),
        inverted=sum(1 for value in values if value < 0),
        histogram=_histogram(values),
        source="; ".join(sources) + part,
        values=ordered,
    )
    return gap, ""


def find_scale(low: float, high: float) -> Scale | None:
    """The scale that scores from `low` to `high` are on: 0-1, else the smallest of 1-5, 1-10, 0-10 and 0-100.

    A guess, if a common one: the source of the gap says which, and a declared scale takes its place.
    """
    for scale in ((0.0, 1.0), (1.0, 5.0), (1.0, 10.0), (0.0, 10.0), (0.0, 100.0)):
        if scale[0] <= low and high <= scale[1]:
            return scale
    return None


def _span(scale: Scale) -> str:
    return f"{scale[0]:g} to {scale[1]:g}"


def _scale_words(scale: Scale, found: Scores, declared: bool) -> str:
    if declared:
        return f"on the declared scale {_span(scale)}"
    if scale == (0.0, 1.0):
        return "on 0 to 1"
    return f"on the scale {_span(scale)}, found from scores between {found.low:g} and {found.high:g}"


def _margin(values: array[float], prompts: array[int], mean: float) -> float | None:
    """Half the width of the 95 % interval of the mean, by the cluster-robust variance with prompts as clusters."""
    residuals = _residuals(values, prompts, mean)
    clusters = len(residuals)
    if clusters < 3:
        return None
    variance = clusters / (clusters - 1) * math.fsum(r * r for r in residuals) / len(values) ** 2
    return _student(clusters - 1) * math.sqrt(variance)


def _residuals(values: array[float], prompts: array[int], mean: float) -> Sequence[float]:
    """Of each prompt, the sum of its values' distances from the mean."""
    if all(one <= other for one, other in itertools.pairwise(prompts)):
        # Pairs of a prompt stand together: a million prompts need no table.
        found = array("d")
        for place, value in enumerate(values):
            if place and prompts[place] == prompts[place - 1]:
                found[-1] += value - mean
            else:
                found.append(value - mean)
        return found
    by_prompt: dict[int, float] = {}
    for value, prompt in zip(values, prompts, strict=True):
        by_prompt[prompt] = by_prompt.get(prompt, 0.0) + value - mean
    return list(by_prompt.values())


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, by Cornish and Fisher's expansion (3 % short at 2 degrees, 0.3 % at 4)."""
    z = NormalDist().inv_cdf(0.975)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _histogram(values: array[float]) -> tuple[tuple[float, float, int], ...]:
    counts = [0] * BINS
    for value in values:
        # 0.7 belongs to the bin that begins there, although (0.7 + 1) * 10 may fall a hair short.
        counts[min(int(round((value + 1) * BINS / 2, 9)), BINS - 1)] += 1
    edges = [index * 2 / BINS - 1 for index in range(BINS + 1)]
    return tuple((round(edges[i], 6), round(edges[i + 1], 6), count) for i, count in enumerate(counts))
