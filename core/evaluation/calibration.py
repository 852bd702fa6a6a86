"""Whether a reward model is as sure as it is right: σ(r_w - r_l) against the share of pairs on which it is right."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from core.evaluation.reward_summary import Bin, Calibration
from core.intervals import wilson

Floats = npt.NDArray[np.float64]

BINS = 10
# Fewer pairs than this in a bin say nothing about it.
LEAST_IN_BIN = 10
RESAMPLES = 1000
# From so many pairs on an interval is narrow, and fewer resamples say the same.
MANY, FEW_RESAMPLES = 20_000, 200

# Beyond these a temperature is none: the likelihood grows without end.
COLDEST, HOTTEST = 1e-3, 1e3


def calibration(margins: Floats, seed: int) -> Calibration:
    """Of the margins r_w - r_l of at least one pair.

    The chosen response of every pair is known, so the question "is the chosen one better?" has only one answer, and a
    model that always says yes would look calibrated. Each pair is therefore shown in an order that `seed` draws: the
    prediction is σ(r_first - r_second), the outcome whether the first is the chosen one. Bins hold equal numbers of
    pairs (Nguyen and O'Connor 2015), because rewards crowd together.

    The bootstrap draws pairs anew, each with the order it was shown in. The error of a resample is too large by about
    as much as the error itself is (bins of chance), so the interval is the basic one, 2·ece - quantile, which takes
    that back; it never leaves out the error itself.
    """
    rng = np.random.default_rng(seed)
    first = rng.random(len(margins)) < 0.5
    shown = np.where(first, margins, -margins)
    predicted, came_true = _sigmoid(shown), first.astype(np.float64)
    order = np.argsort(predicted, kind="stable")
    predicted, came_true = predicted[order], came_true[order]
    starts = _starts(len(margins))
    ece = _error(predicted, came_true, starts)
    resamples = RESAMPLES if len(margins) < MANY else FEW_RESAMPLES

    def resampled() -> float:
        # The pairs are sorted by prediction: sorted places are sorted predictions.
        places = np.sort(rng.integers(len(predicted), size=len(predicted)))
        return _error(predicted[places], came_true[places], starts)

    def calibrated() -> float:
        return _error(predicted, (rng.random(len(predicted)) < predicted).astype(np.float64), starts)

    low, high = _basic(ece, [resampled() for _ in range(resamples)])
    by_chance = [calibrated() for _ in range(resamples)]
    if ece <= float(np.quantile(by_chance, 0.975)):
        low = 0.0
    temperature, why = best_temperature(margins)
    spread = _spread_of_temperature(margins, rng, resamples) if temperature is not None else (None, None)
    cooled = None if temperature is None else _sigmoid(shown[order] / temperature)
    return Calibration(
        n=len(margins),
        ece=ece,
        low=low,
        high=high,
        chance=float(np.mean(by_chance)),
        brier=float(np.mean((predicted - came_true) ** 2)),
        loss=float(np.mean(np.logaddexp(0, -margins))),
        temperature=temperature,
        temperature_low=spread[0],
        temperature_high=spread[1],
        cooled_ece=None if cooled is None else _error(cooled, came_true, starts),
        cooled_loss=None if temperature is None else float(np.mean(np.logaddexp(0, -margins / temperature))),
        why=why,
        curve=_curve(predicted, came_true, starts),
    )


def best_temperature(margins: Floats) -> tuple[float | None, str]:
    """The T under which σ(margin / T) is likeliest, which does not depend on the order of responses; or why none is.

    The likelihood is concave in 1/T: its slope falls from mean(margin) / 2, so one zero is the answer.
    """

    def slope(inverse: float) -> float:
        return float(np.mean(margins * _sigmoid(-inverse * margins)))

    if slope(0.0) <= 0:
        return None, "its margins point the wrong way as often as the right one: no temperature mends that"
    if slope(1 / COLDEST) > 0:
        return None, "it is right on all pairs: the surer the better"
    return 1 / _zero(slope, 1 / HOTTEST, 1 / COLDEST), ""


def _zero(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function is 0, by halving on a logarithmic scale; an end where it is beyond."""
    a, b = math.log(low), math.log(high)
    for _ in range(60):
        middle = (a + b) / 2
        if falling(math.exp(middle)) > 0:
            a = middle
        else:
            b = middle
    return math.exp((a + b) / 2)


def _spread_of_temperature(
    margins: Floats, rng: np.random.Generator, resamples: int
) -> tuple[float | None, float | None]:
    """Percentile interval of the temperature; None at an end that has none."""
    found = []
    for _ in range(min(resamples, FEW_RESAMPLES)):
        sample = margins[rng.integers(len(margins), size=len(margins))]
        temperature, _ = best_temperature(sample)
        # No slope upward is endless heat, all pairs right is endless cold.
        found.append(temperature if temperature is not None else (math.inf if sample.mean() <= 0 else 0.0))
    low, high = (float(value) for value in np.quantile(found, (0.025, 0.975), method="nearest"))
    return low or None, high if math.isfinite(high) else None


def _starts(n: int) -> npt.NDArray[np.intp]:
    """Where each bin of as nearly equal numbers begins."""
    bins = max(1, min(BINS, n // LEAST_IN_BIN))
    return np.array([part[0] for part in np.array_split(np.arange(n), bins)])


def _error(predicted: Floats, came_true: Floats, starts: npt.NDArray[np.intp]) -> float:
    return float(np.abs(np.add.reduceat(predicted - came_true, starts)).sum() / len(predicted))


def _basic(value: float, resampled: list[float]) -> tuple[float, float]:
    below, above = np.quantile(resampled, (0.025, 0.975))
    return max(0.0, min(value, 2 * value - float(above))), max(value, 2 * value - float(below))


def _curve(predicted: Floats, came_true: Floats, starts: npt.NDArray[np.intp]) -> tuple[Bin, ...]:
    found = []
    for p, y in zip(np.split(predicted, starts[1:]), np.split(came_true, starts[1:]), strict=True):
        low, high = wilson(float(y.sum()), len(y))
        found.append(Bin(predicted=float(p.mean()), observed=float(y.mean()), low=low, high=high, n=len(y)))
    return tuple(found)


def _sigmoid(values: Floats) -> Floats:
    # exp of what is not positive never overflows.
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small))
