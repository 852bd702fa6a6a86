"""Which charts a run has, and their limit lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.store import metrics, runs, transaction
from dpotui.charts import plots
from dpotui.live import Reader
from dpotui.widgets.plot import Plot
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
