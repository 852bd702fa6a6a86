"""W&B's sweep file, read as it is: method, metric, parameters, early termination; every error at once, a line each."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from core.config.document import Document, KeyPath, read
from core.config.section import number
from core.config.sweep_distributions import NEEDED, OPTIONAL, QUANTILES, Distribution
from core.errors import UserError
from core.text import one_line

Method = Literal["bayes", "random", "grid"]
Goal = Literal["minimize", "maximize"]

# Keys of W&B's schema that have no meaning here, and why.
_IGNORED = {
    "program": "trials are DPO runs of this program",
    "command": "trials are DPO runs of this program",
    "project": "a label of W&B",
    "entity": "a label of W&B",
    "description": "a label of W&B",
    "apiVersion": "a label of W&B",
    "kind": "a label of W&B",
    "controller": "the sweep is conducted here",
    "job": "a job of W&B Launch",
    "image_uri": "a job of W&B Launch",
    "scheduler": "a job of W&B Launch",
}
_KEYS = (*_IGNORED, "name", "method", "metric", "metrics", "parameters", "early_terminate", "run_cap")
_METRIC = ("name", "goal", "target", "impute", "impute_while_running")
_HYPERBAND = ("type", "min_iter", "max_iter", "s", "eta", "strict")
_PARAMETER = (
    "value", "values", "probabilities", "distribution", "min", "max", "q", "mu", "sigma", "a", "b", "parameters",
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# More than this is no sweep, and more than Optuna could take apart.
_MOST_PARAMETERS = 100


@dataclass(frozen=True, slots=True)
class Metric:
    """What is to become small or large; a sweep ends where a trial reaches `target`."""

    name: str
    goal: Goal = "minimize"
    target: float | None = None
    given: bool = True  # the goal stands in the file

    def better(self, one: float, other: float) -> bool:
        return one < other if self.goal == "minimize" else one > other


@dataclass(frozen=True, slots=True)
class Parameter:
    """`path` are the names from the outermost section in, `at` where it stands in the file."""

    path: tuple[str, ...]
    distribution: Distribution
    at: KeyPath

    @property
    def name(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Hyperband:
    """Bands at min_iter · eta^k, or at max_iter / eta^k for k from 1 to s; W&B's `early_terminate`."""

    min_iter: int | None
    max_iter: int | None
    s: int | None
    eta: float
    strict: bool


@dataclass(frozen=True, slots=True)
class SweepFile:
    """A sweep as its file has it. `ignored` are sentences on keys without a meaning here."""

    document: Document
    method: Method
    metric: Metric | None
    parameters: tuple[Parameter, ...]
    hyperband: Hyperband | None
    name: str
    run_cap: int | None
    ignored: tuple[str, ...]

    def where(self, at: KeyPath) -> str:
        return self.document.where(at)


# What is wrong with a parameter's names, or with the name of a metric; empty where nothing is.
WrongParameter = Callable[[tuple[str, ...]], str]
WrongMetric = Callable[[str], str]


def read_sweep(
    path: Path, wrong_parameter: WrongParameter | None = None, wrong_metric: WrongMetric | None = None
) -> SweepFile:
    """
    Args:
        wrong_parameter, wrong_metric: say whether names mean something, so that it is told with all other errors.

    Raises:
        UserError: one line for each error: `file:line: key: what is wrong and what would be right`.
    """
    return sweep_of(read(path), wrong_parameter, wrong_metric)


def sweep_of(
    document: Document, wrong_parameter: WrongParameter | None = None, wrong_metric: WrongMetric | None = None
) -> SweepFile:
    """The same of a document that was read."""
    reader = _Reader(document, wrong_parameter, wrong_metric)
    found = reader.sweep()
    if reader.problems or found is None:
        reader.problems.sort(key=lambda problem: document.line(problem[0]))
        lines = [f"{document.where(at)}: {'.'.join(map(str, at)) or 'sweep'}: {why}" for at, why in reader.problems]
        raise UserError("\n".join(one_line(line, 600) for line in lines))
    return found


def near(name: str, known: Sequence[str]) -> str:
    """'did you mean ...?', or what there is."""
    found = difflib.get_close_matches(name, known, 1)
    return f"did you mean {found[0]}?" if found else f"there are {', '.join(known)}"


def given(value: object) -> str:
    """A wrong value in a few words."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    return str(value).lower() if isinstance(value, bool) else f"'{one_line(str(value), 60)}'"


@dataclass
class _Reader:
    document: Document
    wrong_parameter: WrongParameter | None
    wrong_metric: WrongMetric | None
    problems: list[tuple[KeyPath, str]] = field(default_factory=list)

    def wrong(self, at: KeyPath, why: str) -> None:
        self.problems.append((at, why))

    def sweep(self) -> SweepFile | None:
        value = self.document.value
        for key in value:
            if key not in _KEYS:
                self.wrong((key,), f"is no key of a sweep file: {near(key, _KEYS)}")
        if "metrics" in value:
            self.wrong(("metrics",), "several metrics at once are not optimized here: name one under metric")
        method = value.get("method")
        if method not in ("bayes", "random", "grid"):
            self.wrong(("method",), f"must be bayes, random or grid, not {given(method)}")
        metric = self._metric(value.get("metric"))
        parameters = self._parameters(value.get("parameters"), ("parameters",), ())
        if not parameters and not self.problems:
            self.wrong(("parameters",), "names no parameter: there is nothing to try")
        if len(parameters) > _MOST_PARAMETERS:
            self.wrong(("parameters",), f"are {len(parameters)}: at most {_MOST_PARAMETERS} are drawn")
        if metric is None and method == "bayes" and "metric" not in value:
            self.wrong(("metric",), "is missing: bayes learns from it; give metric: {name: ..., goal: ...}")
        hyperband = self._hyperband(value.get("early_terminate"))
        if hyperband is not None and "metric" not in value:
            self.wrong(("early_terminate",), "has no metric to stop trials by: give metric: {name: ..., goal: ...}")
        name = value.get("name")
        if name is not None and (not isinstance(name, str) or not name.strip()):
            self.wrong(("name",), f"must be text, not {given(name)}")
        run_cap = self._whole(value, "run_cap", (), 1) if "run_cap" in value else None
        if method == "grid":
            for parameter in parameters:
                if parameter.distribution.finite(10_000) is None:
                    self.wrong(
                        parameter.at,
                        f"has no end of values ({parameter.distribution.kind}), and grid tries every one: give values,"
                        " or set method: random",
                    )
        if self.problems:
            return None
        ignored = tuple(f"{key} is ignored: {why}" for key, why in _IGNORED.items() if key in value)
        metric_value = value.get("metric") or {}
        ignored += tuple(
            f"metric.{key} is ignored: a trial without a value is told as a failed one"
            for key in ("impute", "impute_while_running")
            if key in metric_value
        )
        return SweepFile(
            self.document, cast("Method", method), metric, tuple(parameters), hyperband,
            one_line(name, 80) if name else "", run_cap, ignored,
        )  # fmt: skip

    def _section(self, value: Any, at: KeyPath, keys: Sequence[str]) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            self.wrong(at, f"must be a section with keys ({', '.join(keys)}), not {given(value)}")
            return None
        for key in value:
            if key not in keys:
                self.wrong((*at, key), f"is unknown here: {near(key, keys)}")
        return value

    def _metric(self, value: Any) -> Metric | None:
        if value is None or (section := self._section(value, ("metric",), _METRIC)) is None:
            return None
        name, goal = section.get("name"), section.get("goal", "minimize")
        if not isinstance(name, str) or not name.strip():
            self.wrong(("metric", "name"), f"must be the name of a metric, not {given(name)}")
        elif self.wrong_metric is not None and (why := self.wrong_metric(name.strip())):
            self.wrong(("metric", "name"), why)
        if goal not in ("minimize", "maximize"):
            self.wrong(("metric", "goal"), f"must be minimize or maximize, not {given(goal)}")
        target = self._number(section, "target", ("metric",)) if "target" in section else None
        return Metric(str(name).strip(), cast("Goal", goal), target, "goal" in section)

    def _hyperband(self, value: Any) -> Hyperband | None:
        at: KeyPath = ("early_terminate",)
        if value is None or (section := self._section(value, at, _HYPERBAND)) is None:
            return None
        if section.get("type") != "hyperband":
            self.wrong((*at, "type"), f"must be hyperband, the only one there is, not {given(section.get('type'))}")
        least, most, brackets = (
            self._whole(section, key, at, 1) if key in section else None for key in ("min_iter", "max_iter", "s")
        )
        if ("min_iter" in section) == ("max_iter" in section):
            self.wrong(at, "give either min_iter, the evaluation of the first band, or max_iter with s")
        if "max_iter" in section and "s" not in section:
            self.wrong((*at, "s"), "is missing: max_iter needs the number of bands")
        eta = self._number(section, "eta", at) if "eta" in section else 3.0
        if eta is not None and eta <= 1:
            self.wrong((*at, "eta"), f"must be a number > 1, not {eta:g}")
        strict = section.get("strict", False)
        if not isinstance(strict, bool):
            self.wrong((*at, "strict"), f"must be true or false, not {given(strict)}")
        if most is not None and eta is not None and eta > 1 and most / eta < 1:
            self.wrong((*at, "max_iter"), f"{most} / eta {eta:g} is below 1: there would be no band; raise max_iter")
        return Hyperband(least, most, brackets, eta or 3.0, bool(strict))

    def _parameters(self, value: Any, at: KeyPath, path: tuple[str, ...]) -> list[Parameter]:
        if not isinstance(value, dict) or not value:
            self.wrong(at, f"must be a section with a name for each parameter, not {given(value)}")
            return []
        found: list[Parameter] = []
        for name, one in value.items():
            here, names = (*at, name), (*path, name)
            if not _NAME.fullmatch(name):
                self.wrong(here, "is no name: letters, digits, '_', '.' and '-', and no digit first")
                continue
            section = self._section(one, here, _PARAMETER)
            if section is None:
                continue
            if "parameters" in section:
                if len(section) > 1:
                    self.wrong(here, "has parameters of its own, and then nothing beside them")
                found += self._parameters(section["parameters"], (*here, "parameters"), names)
                continue
            if self.wrong_parameter is not None and (why := self.wrong_parameter(names)):
                self.wrong(here, why)
            distribution = self._distribution(section, here)
            if distribution is not None:
                found.append(Parameter(names, distribution, here))
        return found

    def _distribution(self, section: dict[str, Any], at: KeyPath) -> Distribution | None:
        kind = section.get("distribution", _default_kind(section))
        if kind not in QUANTILES:
            if kind is None:
                self.wrong(at, "says nothing to draw from: give value, values, or min and max")
            else:
                self.wrong((*at, "distribution"), f"{given(kind)} is none: {near(str(kind), list(QUANTILES))}")
            return None
        before = len(self.problems)
        for key in NEEDED[kind]:
            if key not in section:
                self.wrong(at, f"lacks {key}, which {kind} needs")
        for key in section:
            if key in _PARAMETER and key not in ("distribution", *NEEDED[kind], *OPTIONAL[kind]):
                self.wrong((*at, key), f"has no meaning for {kind}, which takes {_taken(kind)}")
        numbers = {
            key: self._number(section, key, at)
            for key in ("min", "max", "q", "mu", "sigma", "a", "b")
            if key in section and key in (*NEEDED[kind], *OPTIONAL[kind])
        }
        values, probabilities = self._values(section, kind, at)
        if len(self.problems) > before:
            return None
        self._bounds(kind, {key: value for key, value in numbers.items() if value is not None}, at)
        if len(self.problems) > before:
            return None
        return Distribution(kind, **cast("dict[str, Any]", numbers), values=values, probabilities=probabilities)

    def _values(self, section: dict[str, Any], kind: str, at: KeyPath) -> tuple[tuple[Any, ...], tuple[float, ...]]:
        if kind == "constant":
            return (section.get("value"),), ()
        if "values" not in NEEDED[kind] or "values" not in section:
            return (), ()
        values = section["values"]
        if not isinstance(values, list) or not values:
            self.wrong((*at, "values"), f"must be a list of values, not {given(values)}")
            return (), ()
        for place, value in enumerate(values):
            if any(type(value) is type(other) and value == other for other in values[:place]):
                self.wrong((*at, "values", place), f"{given(value)} stands there twice")
        shares = section.get("probabilities", [])
        if kind == "categorical_w_probabilities" and "probabilities" in section:
            shares = [number(share) for share in shares] if isinstance(shares, list) else []
            good = all(
                isinstance(share, int | float) and not isinstance(share, bool) and share >= 0 for share in shares
            )
            if not shares or not good:
                self.wrong((*at, "probabilities"), "must be a list of numbers ≥ 0")
            elif len(shares) != len(values):
                self.wrong((*at, "probabilities"), f"are {len(shares)} for {len(values)} values: give one for each")
            elif not math.isclose(math.fsum(shares), 1, abs_tol=1e-6):
                self.wrong((*at, "probabilities"), f"add up to {math.fsum(shares):.6g}, not to 1")
        return tuple(values), tuple(float(share) for share in shares if isinstance(share, int | float))

    def _bounds(self, kind: str, numbers: dict[str, float], at: KeyPath) -> None:
        low, high = numbers.get("min"), numbers.get("max")
        if low is not None and high is not None:
            if low > high:
                self.wrong((*at, "min"), f"{low:g} is above max {high:g}: swap them")
            if kind.endswith("_values") and low <= 0:
                self.wrong((*at, "min"), f"must be > 0, because {kind} takes its logarithm, not {low:g}")
            if kind.endswith("log_uniform") and max(abs(low), abs(high)) > 700:
                self.wrong(at, f"{kind} draws between exp(min) and exp(max): {kind}_values takes the values themselves")
            if kind == "int_uniform":
                for key, value in (("min", low), ("max", high)):
                    if not float(value).is_integer():
                        self.wrong((*at, key), f"must be a whole number for int_uniform, not {value:g}")
        for key, least, strictly in (("q", 0, True), ("sigma", 0, False), ("a", 0, True), ("b", 0, True)):
            given_ = numbers.get(key, 1.0)
            if given_ < least or (strictly and given_ == least):
                self.wrong((*at, key), f"must be {'>' if strictly else '≥'} {least}, not {given_:g}")

    def _number(self, section: dict[str, Any], key: str, at: KeyPath) -> float | None:
        value = number(section[key])
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.wrong((*at, key), f"must be a number, not {given(section[key])}")
            return None
        return value

    def _whole(self, section: dict[str, Any], key: str, at: KeyPath, least: int) -> int | None:
        value = number(section[key])
        whole = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
        if whole and value >= least:  # type: ignore[operator]
            return int(value)  # type: ignore[call-overload, no-any-return]
        self.wrong((*at, key), f"must be a whole number ≥ {least}, not {given(section[key])}")
        return None


def _default_kind(section: dict[str, Any]) -> str | None:
    """What W&B takes where no distribution is named."""
    if "value" in section:
        return "constant"
    if "values" in section:
        return "categorical_w_probabilities" if "probabilities" in section else "categorical"
    if "min" in section or "max" in section:
        bounds = [number(section[key]) for key in ("min", "max") if key in section]
        whole = all(isinstance(bound, int) and not isinstance(bound, bool) for bound in bounds)
        return "int_uniform" if whole else "uniform"
    return None


def _taken(kind: str) -> str:
    return ", ".join((*NEEDED[kind], *OPTIONAL[kind]))
