"""Which metrics of a run are drawn together, in what order, and the limits that its configuration sets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.store.runs import Run
from dpotui.live import Watched
from dpotui.series import Series
from dpotui.widgets.canvas import LINE_ROLES
from dpotui.widgets.field import DASHES
from dpotui.widgets.plot import Limit, Line, Plot
from dpotui.widgets.scale import axis_end

# What lines of other runs end in, and their labels begin with.
TAGS = "abcdefgh"


@dataclass(frozen=True, slots=True)
class _Drawn:
    metric: str
    label: str = ""
    smooth: bool = True
    mark: str = ""


def _train(metric: str, label: str = "") -> _Drawn:
    return _Drawn(metric, label)


def _eval(metric: str, label: str = "eval") -> _Drawn:
    """Evaluations are few and exact: their points are marked and never smoothed."""
    return _Drawn(metric, label, smooth=False, mark="o")


@dataclass(frozen=True, slots=True)
class _Chart:
    title: str
    drawn: tuple[_Drawn, ...]
    limit: tuple[str, str] | None = None  # comparison, key of the configuration
    log: bool = False


# In the order in which they deserve room.
_CHARTS = (
    _Chart("score", (_eval("score", "score"), _eval("score_low", "low"), _eval("score_high", "high"))),
    _Chart("trials", (_eval("trial_value", "trial"), _eval("best_value", "best"))),
    _Chart("loss", (_train("loss"), _eval("eval_loss"))),
    _Chart("margin", (_train("rewards/margins"), _eval("eval_rewards/margins")), ("≥", "preference_gap_target")),
    _Chart("margin", (_train("margin"), _eval("eval_margin"))),
    _Chart("kl", (_eval("kl_divergence", "exact"), _eval("eval_kl_divergence")), ("≤", "kl_target")),
    _Chart("kl from the start", (_eval("kl_from_start", "exact"),)),
    _Chart("accuracy", (_train("rewards/accuracies"), _eval("eval_rewards/accuracies"))),
    _Chart("accuracy", (_train("accuracy"), _eval("eval_accuracy"))),
    _Chart("preference accuracy", (_eval("eval_preference_accuracy"),)),
    _Chart("perplexity", (_eval("eval_perplexity"),), log=True),
    _Chart("rewards", (_train("rewards/chosen", "chosen"), _train("rewards/rejected", "rejected"))),
    _Chart("rewards", (_train("max_reward", "max"), _train("mean_reward", "mean"), _train("min_reward", "min"))),
    _Chart("examples/s", (_train("examples_per_second"),)),
    _Chart("grad norm", (_train("grad_norm"),)),
    _Chart("learning rate", (_Drawn("learning_rate", smooth=False),)),
    _Chart("beta", (_Drawn("beta", smooth=False),)),
    _Chart("kl guard actions", (_Drawn("kl_guard_actions", smooth=False, mark="o"),)),
    _Chart("tokens/s", (_train("tokens_per_second"),)),
    _Chart("peak memory GB", (_Drawn("peak_memory_gb", smooth=False),)),
    _Chart("epoch", (_Drawn("epoch", smooth=False),)),
    _Chart("log-probs", (_train("logps/chosen", "chosen"), _train("logps/rejected", "rejected"))),
    _Chart("eval rewards", (_eval("eval_rewards/chosen", "chosen"), _eval("eval_rewards/rejected", "rejected"))),
    _Chart(
        "eval rewards",
        (_eval("eval_max_reward", "max"), _eval("eval_mean_reward", "mean"), _eval("eval_min_reward", "min")),
    ),
    _Chart("eval log-probs", (_eval("eval_logps/chosen", "chosen"), _eval("eval_logps/rejected", "rejected"))),
)
_KNOWN = {drawn.metric for chart in _CHARTS for drawn in chart.drawn}

# What one looks at first in a run of a kind, before the order above: a reward model is judged by what it gets right,
# and what a model is tuned on by its perplexity and the size of its steps.
_FIRST: Mapping[str, tuple[str, ...]] = {
    "sft": ("loss", "perplexity", "grad norm", "learning rate"),
    "reward": ("accuracy", "loss", "margin"),
}


def plots(watched: Watched, seen: tuple[float, float] | None = None) -> list[Plot]:
    """The plots of all that the run has written; metrics that nobody foresaw come last, each by itself.

    Other runs that are looked at beside it have their line in each plot, of its first metric.

    Args:
        seen: the part of it that is seen, which is drawn in detail where that was read.
    """
    run, series = watched.run, watched.series
    steps = [(run.steps, series), *((other.steps, its) for other, its in watched.beside)]
    closer: Mapping[str, Mapping[str, Series]] = {}
    if seen is not None and (detail := watched.detail) is not None:
        begin, end = detail.window
        closer = detail.series if begin <= seen[0] and (end is None or end >= seen[1]) else {}

    def points(of: Run, its: Mapping[str, Series], metric: str) -> Series:
        return closer.get(of.id, {}).get(metric) or its[metric]

    found = []
    for chart in _ordered(series, run.kind):
        there = [drawn for drawn in chart.drawn if drawn.metric in series]
        if not there:
            continue
        lines = [Line(each.label, points(run, series, each.metric), each.smooth, each.mark) for each in there]
        first = there[0]
        for index, (other, its) in enumerate(watched.beside[: len(LINE_ROLES) - len(lines)]):
            if first.metric in its:
                lines.append(_of_other(first, other, points(other, its, first.metric), index))
        found.append(Plot(chart.title, tuple(lines), _limits(chart, run.config), _end(steps), chart.log))
    return found


def overlay(runs: Sequence[tuple[Run, Mapping[str, Series]]]) -> list[Plot]:
    """Every metric of several runs in a plot of its own, one line a run, labelled by its id.

    Lines differ by how they are broken and by the letter in which they end, too. The first run is drawn over the
    others; a plot has no more lines than there are roles for lines (`LINE_ROLES`).
    """
    there = dict.fromkeys(name for _, series in runs for name, points in series.items() if points)
    kinds = {run.kind for run, _ in runs}
    found = []
    for chart in _ordered(there, kinds.pop() if len(kinds) == 1 else ""):
        for drawn in chart.drawn:
            lines = tuple(
                _of_other(drawn, run, series[drawn.metric], index)
                for index, (run, series) in enumerate(runs[: len(LINE_ROLES)])
                if drawn.metric in series
            )
            if lines:
                title = " ".join(word for word in (chart.title, drawn.label) if word)
                limits = dict.fromkeys(limit for run, _ in runs for limit in _limits(chart, run.config))
                end = _end([(run.steps, series) for run, series in runs])
                found.append(Plot(title, lines, tuple(limits), end, chart.log))
    return found


def _ordered(names: Mapping[str, Any], kind: str) -> list[_Chart]:
    charts = [*_CHARTS, *(_unforeseen(name) for name in names if name not in _KNOWN)]
    first = _FIRST.get(kind, ())
    return sorted(charts, key=lambda chart: first.index(chart.title) if chart.title in first else len(first))


def _unforeseen(name: str) -> _Chart:
    """What evaluations wrote is exact, whatever it is called."""
    return _Chart(name, (_eval(name, "") if name.startswith("eval_") else _train(name),))


def _of_other(drawn: _Drawn, run: Run, points: Series, index: int) -> Line:
    return Line(run.id, points, drawn.smooth, drawn.mark, tag=TAGS[index], dash=1 + index % (DASHES - 1), raw=False)


def _end(runs: Sequence[tuple[int, Mapping[str, Series]]]) -> float:
    """One end for the x axes of all plots, so that they stand one below the other."""
    ends = [0.0]
    for steps, series in runs:
        last = max((points[-1].x for points in series.values() if points), default=0.0)
        ends.append(axis_end(last, steps))
    return max(ends)


def _limits(chart: _Chart, config: Mapping[str, Any]) -> tuple[Limit, ...]:
    constraints = config.get("constraints")
    if chart.limit is None or not isinstance(constraints, dict):
        return ()
    op, key = chart.limit
    values = [constraints.get(key)]
    guard = config.get("kl_guard")
    if key == "kl_target" and isinstance(guard, dict) and guard.get("action") != "none":
        values.append(guard.get("kl_limit"))
    # The same line twice would be labelled twice.
    limits = {float(value): Limit(op, float(value)) for value in values if isinstance(value, int | float)}
    return tuple(limits.values())
