"""The distributions of W&B's sweep files: each as its quantile function, from which a value is drawn.

Formulas: W&B, "Sweep configuration options", table "Distribution options for random and Bayesian search"
(https://docs.wandb.ai/models/sweeps/sweep-config-keys), and the schema of its `sweeps` package, which has beta and
q_beta beside them. The quantile function Q of a distribution gives the value below which a share u of all draws lies:
a uniform u in (0, 1) gives draws Q(u).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist
from typing import Any

# Numbers of a configuration are for people to read: so many digits are drawn.
DIGITS = 6
# The tails of a normal distribution have no end: this far out they are cut (4.75 standard deviations).
_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Distribution:
    """One parameter's distribution; which fields mean something depends on its kind (`NEEDED`, `OPTIONAL`)."""

    kind: str
    min: float = 0.0
    max: float = 0.0
    q: float = 1.0
    mu: float = 0.0
    sigma: float = 1.0
    a: float = 1.0
    b: float = 1.0
    values: tuple[Any, ...] = ()
    probabilities: tuple[float, ...] = ()

    def at(self, u: float) -> Any:
        """The value below which a share `u` of all draws lies, in as many digits as are drawn."""
        return self.settled(QUANTILES[self.kind](self, min(max(u, _EDGE), 1 - _EDGE)))

    def settled(self, value: Any) -> Any:
        """A value of the distribution as a configuration gets it: whole numbers whole, others in few digits."""
        if self.kind.startswith("q_"):
            # round(X / q) * q; a whole q gives whole numbers, as in W&B.
            steps = round(value / self.q)
            return int(steps * self.q) if float(self.q).is_integer() else _short(steps * self.q)
        if self.kind == "int_uniform":
            return int(value)
        if self.kind in ("constant", "categorical", "categorical_w_probabilities"):
            return value
        bounds = self.bounds
        short = _short(value)
        return short if bounds is None or bounds[0] <= short <= bounds[1] else float(value)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Smallest and largest X, before it is rounded to a multiple of q; None where there is none."""
        match self.kind:
            case "int_uniform" | "uniform" | "q_uniform":
                return self.min, self.max
            case "log_uniform" | "q_log_uniform":
                return math.exp(self.min), math.exp(self.max)
            case "inv_log_uniform":
                return math.exp(-self.max), math.exp(-self.min)
            case "log_uniform_values" | "q_log_uniform_values" | "inv_log_uniform_values":
                return self.min, self.max
        return None

    @property
    def logarithmic(self) -> bool:
        """Whether log(X) is uniform between the logarithms of its bounds."""
        return "log_uniform" in self.kind

    def finite(self, most: int) -> tuple[Any, ...] | None:
        """All values that can be drawn, where they are at most so many; None where they are more."""
        if self.kind in ("constant", "categorical", "categorical_w_probabilities"):
            return self.values if len(self.values) <= most else None
        if self.bounds is None or (self.kind != "int_uniform" and not self.kind.startswith("q_")):
            return None
        low, high = self.bounds
        step = 1.0 if self.kind == "int_uniform" else self.q
        first, last = round(low / step), round(high / step)
        if last - first >= most:
            return None
        return tuple(self.settled(number * step) for number in range(first, last + 1))

    def words(self) -> str:
        """As a person reads it: '1e-07 to 1e-05 (log_uniform_values)'."""
        if self.kind == "constant":
            return f"always {said(self.values[0])}"
        if self.kind == "categorical":
            return f"one of {', '.join(map(said, self.values))}"
        if self.kind == "categorical_w_probabilities":
            pairs = zip(self.values, self.probabilities, strict=True)
            return "one of " + ", ".join(f"{said(value)} ({100 * share:.3g} %)" for value, share in pairs)
        step = f" in steps of {self.q:g}" if self.kind.startswith("q_") else ""
        if self.bounds is not None:
            return f"{self.bounds[0]:g} to {self.bounds[1]:g}{step} ({self.kind})"
        if "normal" in self.kind:
            return f"μ {self.mu:g}, σ {self.sigma:g}{step} ({self.kind})"
        return f"a {self.a:g}, b {self.b:g}{step} ({self.kind})"


def said(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _constant(of: Distribution, u: float) -> Any:
    """Q(u) = value."""
    return of.values[0]


def _categorical(of: Distribution, u: float) -> Any:
    """Q(u) = values[floor(u n)]: each of the n values is as likely."""
    return of.values[min(len(of.values) - 1, int(u * len(of.values)))]


def _weighted(of: Distribution, u: float) -> Any:
    """Q(u) = the first value at which the running sum of probabilities reaches u."""
    reached = accumulate(of.probabilities)
    return next((value for value, sum_ in zip(of.values, reached, strict=True) if sum_ >= u), of.values[-1])


def _int_uniform(of: Distribution, u: float) -> float:
    """Whole numbers from min to max, both included: Q(u) = min + floor(u (max - min + 1))."""
    return min(of.max, of.min + math.floor(u * (of.max - of.min + 1)))


def _uniform(of: Distribution, u: float) -> float:
    """X uniform between min and max: Q(u) = min + u (max - min). q_uniform is round(X / q) q."""
    return of.min + u * (of.max - of.min)


def _log_uniform(of: Distribution, u: float) -> float:
    """log(X) uniform, with natural logarithms, between the logarithms of the bounds l and h: Q(u) = l (h / l)^u.

    The bounds are exp(min) and exp(max) for log_uniform, and min and max for log_uniform_values; with q_ before it,
    round(X / q) q.
    """
    assert of.bounds is not None
    low, high = of.bounds
    return math.exp(math.log(low) + u * (math.log(high) - math.log(low)))


def _inv_log_uniform(of: Distribution, u: float) -> float:
    """log(1 / X) uniform between min and max (inv_log_uniform), or between log(1 / max) and log(1 / min)
    (inv_log_uniform_values): X lies between exp(-max) and exp(-min), or min and max, and log(X) = -log(1 / X) is
    uniform too."""
    return _log_uniform(of, u)


def _normal(of: Distribution, u: float) -> float:
    """X normal with mean mu and standard deviation sigma: Q(u) = mu + sigma Φ⁻¹(u). q_normal is round(X / q) q."""
    return of.mu + of.sigma * NormalDist().inv_cdf(u)


def _log_normal(of: Distribution, u: float) -> float:
    """log(X) normal with mean mu and standard deviation sigma: Q(u) = exp(mu + sigma Φ⁻¹(u)). q_log_normal is
    round(X / q) q."""
    return math.exp(_normal(of, u))


def _beta(of: Distribution, u: float) -> float:
    """X with density x^(a-1) (1-x)^(b-1) / B(a, b) on [0, 1]: Q(u) is where its distribution function, the
    regularized incomplete beta function I_x(a, b), is u. q_beta is round(X / q) q."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if incomplete_beta(middle, of.a, of.b) < u else (low, middle)
    return (low + high) / 2


def incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b) by its continued fraction (Abramowitz and Stegun 26.5.8), evaluated from its beginning (Lentz)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly the other one does fast
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    tiny = 1e-300
    c, d = 1.0, 1.0 / ((1 - (a + b) * x / (a + 1)) or tiny)
    result = d
    for m in range(1, 300):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + factor * d) or tiny)
            c = (1 + factor / c) or tiny
            result *= c * d
        if abs(c * d - 1) < 1e-13:
            break
    return front * result


QUANTILES: dict[str, Callable[[Distribution, float], Any]] = {
    "constant": _constant,
    "categorical": _categorical,
    "categorical_w_probabilities": _weighted,
    "int_uniform": _int_uniform,
    "uniform": _uniform,
    "q_uniform": _uniform,
    "log_uniform": _log_uniform,
    "q_log_uniform": _log_uniform,
    "log_uniform_values": _log_uniform,
    "q_log_uniform_values": _log_uniform,
    "inv_log_uniform": _inv_log_uniform,
    "inv_log_uniform_values": _inv_log_uniform,
    "normal": _normal,
    "q_normal": _normal,
    "log_normal": _log_normal,
    "q_log_normal": _log_normal,
    "beta": _beta,
    "q_beta": _beta,
}

# Keys that a distribution must have, and may have, beside `distribution`.
_RANGE = ("min", "max")
NEEDED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(QUANTILES, _RANGE),
    "constant": ("value",),
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
    **dict.fromkeys(("normal", "q_normal", "log_normal", "q_log_normal", "beta", "q_beta"), ()),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    kind: (
        *(("q",) if kind.startswith("q_") else ()),
        *(("mu", "sigma") if "normal" in kind else ()),
        *(("a", "b") if "beta" in kind else ()),
    )
    for kind in QUANTILES
}
