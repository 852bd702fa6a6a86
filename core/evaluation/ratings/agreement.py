"""How far raters agree on marks: Krippendorff's alpha with the interval metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.intervals import Z


@dataclass(frozen=True, slots=True)
class Alpha:
    """Of raters on answers.

    Attributes:
        value: 1 - observed / expected disagreement: 1 is perfect, 0 is chance, below 0 worse. None where it is
            undefined; `reason` says why.
        low, high: 95 % interval by the jackknife over answers (Efron and Tibshirani 1993, eq. 11.5); None where it
            cannot be had.
        answers: with marks of at least two raters.
        exact: share of the pairs of marks on one answer that are the same; None without any.
    """

    value: float | None
    answers: int
    reason: str = ""
    low: float | None = None
    high: float | None = None
    exact: float | None = None


@dataclass(frozen=True, slots=True)
class _Sums:
    """What alpha is made of: over marks that can be paired their number, sum and sum of squares, and the observed
    disagreement before it is divided."""

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    apart: float = 0.0

    def plus(self, other: _Sums, sign: int = 1) -> _Sums:
        return _Sums(
            self.n + sign * other.n,
            self.total + sign * other.total,
            self.squares + sign * other.squares,
            self.apart + sign * other.apart,
        )

    @property
    def alpha(self) -> float | None:
        if self.n < 2:
            return None
        expected = 2 * (self.n * self.squares - self.total**2) / (self.n * (self.n - 1))
        return 1 - self.apart / self.n / expected if expected > 1e-12 else None


def _sums(marks: Sequence[float]) -> _Sums:
    """Of one answer: sum over ordered pairs (x - y)^2 = 2 (m sum x^2 - (sum x)^2), each mark weighted 1 / (m - 1)."""
    m, total, squares = len(marks), math.fsum(marks), math.fsum(mark * mark for mark in marks)
    return _Sums(m, total, squares, 2 * (m * squares - total**2) / (m - 1))


def alpha(units: Iterable[Sequence[float]]) -> Alpha:
    """Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section D, with the interval metric
    (x - y)^2: means are taken of these marks, so their distances are taken at face value here too.

    Args:
        units: the marks of one answer each; those with a single mark say nothing and are passed over.
    """
    return mean_alpha({"": {str(number): marks for number, marks in enumerate(units)}})


def _whole(rows: Iterable[_Sums]) -> _Sums:
    whole = _Sums()
    for row in rows:
        whole = whole.plus(row)
    return whole


def _jackknife(value: float, without: Sequence[float | None]) -> tuple[float | None, float | None]:
    n = len(without)
    found = [one for one in without if one is not None]
    if n < 3 or len(found) < n:
        return None, None
    mean = math.fsum(found) / n
    half = Z * math.sqrt((n - 1) / n * math.fsum((one - mean) ** 2 for one in found))
    return (max(-1.0, value - half), min(1.0, value + half)) if half > 1e-12 else (None, None)


def mean_alpha(by_criterion: Mapping[str, Mapping[str, Sequence[float]]]) -> Alpha:
    """The mean of alpha over criteria, with the jackknife over answers, each left out of all criteria at once.

    Marks of several criteria in one alpha would count the difference between criteria as agreement.

    Args:
        by_criterion: of each criterion the marks of each answer.
    """
    rows = {
        criterion: {key: _sums(list(marks)) for key, marks in of.items() if len(marks) > 1}
        for criterion, of in by_criterion.items()
    }
    wholes = {criterion: _whole(of.values()) for criterion, of in rows.items()}
    keys = sorted({key for of in rows.values() for key in of})
    if not keys:
        return Alpha(None, 0, "no answer was marked by two raters")
    if len(keys) == 1:
        return Alpha(None, 1, "only one answer was marked by two raters")
    used = [criterion for criterion, whole in wholes.items() if whole.alpha is not None]
    if not used:
        return Alpha(None, len(keys), "every mark is the same one, so chance alone would agree as well")
    value = _mean(wholes[criterion].alpha for criterion in used)
    assert value is not None
    without = []
    for key in keys:
        rest = (
            wholes[criterion].plus(rows[criterion][key], -1) if key in rows[criterion] else wholes[criterion]
            for criterion in used
        )
        without.append(_mean(sums.alpha for sums in rest))
    low, high = _jackknife(value, without)
    left = [criterion for criterion in by_criterion if criterion not in used]
    reason = f"without {', '.join(left)}, where every mark is the same one or no answer has two" if left else ""
    return Alpha(value, len(keys), reason, low, high, _exact(by_criterion))


def _mean(values: Iterable[float | None]) -> float | None:
    found = list(values)
    if not found or None in found:
        return None
    return math.fsum(value for value in found if value is not None) / len(found)


def _exact(by_criterion: Mapping[str, Mapping[str, Sequence[float]]]) -> float | None:
    same = every = 0
    for of in by_criterion.values():
        for marks in of.values():
            same += sum(a == b for index, a in enumerate(marks) for b in marks[index + 1 :])
            every += len(marks) * (len(marks) - 1) // 2
    return same / every if every else None
