"""Hyperband as W&B does it: at certain evaluations a trial that is not among the best so far ends.

Formulas: W&B's `sweeps` package, `hyperband_stopping`, after Li et al. 2018 (arXiv 1603.06560).
"""

from __future__ import annotations

from collections.abc import Sequence

from core.config.sweep_file import Goal, Hyperband

# More bands than any trial has evaluations.
_MOST = 100


def bands(of: Hyperband) -> list[int]:
    """The evaluations, counted from 1, at which trials are compared.

    With min_iter: min_iter · eta^k for k = 0, 1, ...; with max_iter: max_iter / eta^k for k = s, ..., 1, those below 1
    left out. Each is cut to a whole number.
    """
    if of.min_iter is not None:
        return sorted({int(of.min_iter * of.eta**k) for k in range(_MOST) if of.min_iter * of.eta**k < 1e9})
    assert of.max_iter is not None and of.s is not None
    found = [of.max_iter / of.eta**k for k in range(1, of.s + 1)]
    return sorted({int(band) for band in found if band >= 1})


def judge(of: Hyperband, goal: Goal, own: Sequence[float], others: Sequence[Sequence[float]]) -> str:
    """Why a trial ends now, in words; empty where it goes on.

    At a band the values of all trials there, its own among them, are put in order. It goes on if it is among the best
    1 / eta: no worse than the value at place floor(n / eta), counted from 0. What is compared is its best value so far,
    or with `strict` the one at the band.

    Args:
        own: the metric at its evaluations, the last one now.
        others: the same of every trial that had any.
    """
    band = len(own)
    if band not in bands(of):
        return ""
    sign = 1.0 if goal == "minimize" else -1.0
    there = sorted(sign * values[band - 1] for values in (*others, own) if len(values) >= band)
    threshold = there[int(len(there) / of.eta)]
    value = sign * own[-1] if of.strict else min(sign * each for each in own)
    if value <= threshold:
        return ""
    return (
        f"at evaluation {band} it is at {sign * value:.4g}, and only the best {1 / of.eta:.0%} of {len(there)} trials"
        f" go on, from {sign * threshold:.4g}"
    )
