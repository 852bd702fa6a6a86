"""The length-controlled win rate: what the rate would be if both answers were of one length.

AlpacaEval 2 (Dubois, Galambosi, Liang and Hashimoto 2024, "Length-Controlled AlpacaEval: A Simple Way to Debias
Automatic Evaluators", arXiv:2404.04475) explains each outcome by a logistic regression and then predicts it with the
term of length set to zero. Its third term, the difficulty of each instruction, is estimated over many models and cannot
be had of one pair of models. What is left is the formula that its code calls `length_controlled_minimal`:

    P(policy wins) = σ(θ + φ · tanh(Δ / s)),   Δ = characters of the policy's answer - those of the baseline's,
                                               s = standard deviation of Δ (n - 1)
    length-controlled win rate = σ(θ)

A tie is an outcome of one half. Unlike theirs, the fit here is not penalized: it is the maximum of the (quasi-)
likelihood, by Newton's method in float64. The interval is σ(θ ± 1.96 · se); se is from the sandwich covariance
A⁻¹BA⁻¹ · n / (n - 2) (Huber 1967, White 1982), which holds for outcomes of one half too (Papke and Wooldridge 1996).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.intervals import Z

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# A regression with two coefficients says nothing of fewer.
FEWEST = 10
_STEPS = 50
_TOLERANCE = 1e-12
# Beyond this the win rate is 0 or 1 to four digits: the likelihood has no maximum, or none that data could show.
_MOST = 10.0


@dataclass(frozen=True, slots=True)
class Controlled:
    """The rate with its interval, 0 to 1, and φ with its own; None where they cannot be had, and `reason` says why.

    `effect` above 0: the judge likes the longer answer.
    """

    share: float | None
    low: float | None
    high: float | None
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    n: int
    reason: str = ""


def length_controlled(outcomes: Sequence[float], lengths: Sequence[tuple[int, int]]) -> Controlled:
    """
    Args:
        outcomes: from 0 (the baseline's answer is better) to 1 (the policy's is).
        lengths: characters of the policy's and of the baseline's answer.
    """
    import numpy as np

    n = len(outcomes)
    if n < FEWEST:
        return _none(n, f"it takes {FEWEST} comparisons, and there are {n}")
    y = np.array(outcomes, np.float64)
    delta = np.array([ours - theirs for ours, theirs in lengths], np.float64)
    spread = float(delta.std(ddof=1))
    if spread == 0:
        return _none(n, "the lengths differ by the same everywhere: their part cannot be told from the rest")
    if delta.min() > 0 or delta.max() < 0:
        return _none(
            n, f"{'the policy' if delta.min() > 0 else 'the baseline'}'s answer is always the longer one: {_UNSEEN}"
        )
    x = np.stack([np.ones(n), np.tanh(delta / spread)], axis=1)
    beta = np.zeros(2)
    for _ in range(_STEPS):
        p = _sigmoid(x @ beta)
        information = (x * (p * (1 - p))[:, None]).T @ x
        try:
            step = np.linalg.solve(information, x.T @ (y - p))
        except np.linalg.LinAlgError:
            return _none(n, _SEPARATED)
        # Newton's step may lead too far where the curve is flat: it is halved until the likelihood grows.
        now = _loglikelihood(x, y, beta)
        while _loglikelihood(x, y, beta + step) < now - 1e-12 * abs(now) and abs(step).max() > _TOLERANCE:
            step = step / 2
        beta = beta + step
        if not np.isfinite(beta).all() or abs(beta).max() > _MOST:
            return _none(n, _SEPARATED)
        if abs(step).max() < _TOLERANCE:
            break
    p = _sigmoid(x @ beta)
    inverse = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)
    scores = x * (y - p)[:, None]
    covariance = inverse @ (scores.T @ scores) @ inverse * n / (n - 2)
    half = Z * np.sqrt(np.diag(covariance))
    low, middle, high = (float(_sigmoid(beta[0] + by * half[0])) for by in (-1, 0, 1))
    effect = float(beta[1])
    return Controlled(middle, low, high, effect, effect - float(half[1]), effect + float(half[1]), n)


_UNSEEN = "what equal length would bring was not seen"
_SEPARATED = "one side wins (almost) always, or lengths alone decide: the regression has no finite answer"


def _none(n: int, reason: str) -> Controlled:
    return Controlled(None, None, None, None, None, None, n, reason)


def _sigmoid(x: Any) -> Any:
    import numpy as np

    return np.exp(-np.logaddexp(0, -x))


def _loglikelihood(x: Floats, y: Floats, beta: Floats) -> float:
    import numpy as np

    score = x @ beta
    return -math.fsum(y * np.logaddexp(0, -score) + (1 - y) * np.logaddexp(0, score))
