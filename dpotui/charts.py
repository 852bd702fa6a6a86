"""Which metrics of a run are drawn together, and the limits that its configuration sets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpotui.live import Watched
from dpotui.widgets.plot import Limit, Line, Plot, axis_end


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
    _Chart("loss", (_train("loss"), _eval("eval_loss"))),
    _Chart("margin", (_train("rewards/margins"), _eval("eval_rewards/margins")), ("≥", "preference_gap_target")),
    _Chart("margin", (_train("margin"), _eval("eval_margin"))),
    _Chart("kl", (_eval("kl_divergence", "exact"), _eval("eval_kl_divergence")), ("≤", "kl_target")),
    _Chart("accuracy", (_train("rewards/accuracies"), _eval("eval_rewards/accuracies"))),
    _Chart("accuracy", (_train("accuracy"), _eval("eval_accuracy"))),
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


def plots(watched: Watched) -> list[Plot]:
    """The plots of all that the run has written; metrics that nobody foresaw come last, each by itself."""
    series = watched.series
    last = max((points[-1].x for points in series.values() if points), default=0.0)
    end = axis_end(last, watched.run.steps)
    charts = [*_CHARTS, *(_Chart(name, (_train(name),)) for name in series if name not in _KNOWN)]
    found = []
    for chart in charts:
        lines = tuple(
            Line(drawn.label, series[drawn.metric], drawn.smooth, drawn.mark)
            for drawn in chart.drawn
            if drawn.metric in series
        )
        if lines:
            found.append(Plot(chart.title, lines, _limits(chart, watched.run.config), end, chart.log))
    return found


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
