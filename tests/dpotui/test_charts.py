"""Which charts a run has, and their limit lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.store import metrics, runs, transaction
from core.store.runs import Run
from dpotui.charts import overlay, plots
from dpotui.live import Reader, Watched
from dpotui.widgets.plot import Plot, Point, point
from tests.dpotui import scene


def drawn(tmp_path: Path, kl_guard: dict[str, Any] | None, *names: str) -> dict[str, Plot]:
    workspace, db = scene.workspace(tmp_path)
    config = scene.CONFIG if kl_guard is None else {**scene.CONFIG, "kl_guard": kl_guard}
    run = runs.create(db, "dpo", config=config)
    with transaction(db):
        metrics.write(db, [(run.id, step, name, 0.1 * step, scene.NOW) for name in names for step in (1, 2)])
    reader = Reader(workspace, lambda: scene.NOW, lambda *_: True)
    picture = reader.look(run.id)
    reader.close()
    db.close()
    assert picture is not None
    assert picture.watched is not None
    return {plot.title: plot for plot in plots(picture.watched)}


def test_beta_and_the_guard_stand_by_the_learning_rate(tmp_path: Path) -> None:
    found = drawn(tmp_path, None, "made_up", "kl_guard_actions", "beta", "learning_rate", "peak_memory_gb", "loss")
    titles = ["loss", "learning rate", "beta", "kl guard actions", "peak memory GB", "made_up"]
    assert list(found) == titles
    assert not any(line.smooth for line in found["beta"].lines)


@pytest.mark.parametrize(
    ("kl_guard", "limits"),
    [
        (None, [0.1]),
        ({"action": "none", "kl_limit": 0.3}, [0.1]),
        ({"action": "stop", "kl_limit": None}, [0.1]),
        ({"action": "stop", "kl_limit": 0.1}, [0.1]),
        ({"action": "stop", "kl_limit": 0.3}, [0.1, 0.3]),
    ],
)
def test_the_kl_chart_shows_the_limits_of_gate_and_guard(
    tmp_path: Path, kl_guard: dict[str, Any] | None, limits: list[float]
) -> None:
    found = drawn(tmp_path, kl_guard, "kl_divergence", "rewards/margins")
    assert [limit.value for limit in found["kl"].limits] == limits
    assert [limit.value for limit in found["margin"].limits] == [0.15]


def _made(run_id: str, steps: int, config: dict[str, Any], *names: str) -> tuple[Run, dict[str, list[Point]]]:
    run = Run(
        run_id, "dpo", run_id, "finished", None, config, None, 0, {}, None, steps, steps, "", None, 0.0, None, None,
        None, None,
    )  # fmt: skip
    return run, {name: [point(x, 0.1 * x) for x in range(1, steps + 1)] for name in names}


def test_runs_that_are_compared_have_a_plot_a_metric() -> None:
    runs = [
        _made("dpo-001", 40, {"constraints": {"kl_target": 0.1}}, "loss", "kl_divergence"),
        _made("dpo-002", 100, {"constraints": {"kl_target": 0.2}}, "loss", "eval_loss", "rewards/chosen"),
        _made("dpo-003", 7, {}),
    ]
    found = {plot.title: plot for plot in overlay(runs)}
    assert list(found) == ["loss", "loss eval", "kl exact", "rewards chosen"]
    assert [(line.label, line.tag) for line in found["loss"].lines] == [("dpo-001", "a"), ("dpo-002", "b")]
    # A run keeps its letter and its way of being broken in every plot.
    assert [(line.label, line.tag) for line in found["loss eval"].lines] == [("dpo-002", "b")]
    assert found["loss"].lines[1].dash == found["loss eval"].lines[0].dash != found["loss"].lines[0].dash
    assert [limit.value for limit in found["kl exact"].limits] == [0.1, 0.2]
    assert {plot.end for plot in found.values()} == {100}
    assert overlay([]) == []


def test_past_runs_lie_beside_the_first_metric_of_a_plot(tmp_path: Path) -> None:
    run, series = _made("dpo-004", 50, scene.CONFIG, "loss", "eval_loss", "rewards/margins")
    others = [_made(f"dpo-{index:03d}", 20 * index, scene.CONFIG, "loss") for index in (3, 2, 1)]
    found = {plot.title: plot for plot in plots(Watched(run, series, tuple(others)))}
    assert [line.label for line in found["loss"].lines] == ["", "eval", "dpo-003", "dpo-002", "dpo-001"]
    assert [line.label for line in found["margin"].lines] == [""]
    assert len({line.dash for line in found["loss"].lines if line.tag}) == 3
    assert found["margin"].end == found["loss"].end == 60


def test_charts_come_in_the_order_that_matters_for_the_kind_of_run() -> None:
    run, series = _made("reward-001", 5, {}, "loss", "margin", "accuracy", "learning_rate")
    assert [plot.title for plot in plots(Watched(replace(run, kind="reward"), series))][:3] == [
        "accuracy",
        "loss",
        "margin",
    ]
