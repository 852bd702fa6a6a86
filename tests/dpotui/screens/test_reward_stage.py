"""Stage 4: a reward model is started with `g`, drawn as it learns, and judged when it is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from core.engine import client
from core.store import facts, metrics, runs, transaction
from core.store.facts import Fact
from core.workspace import Workspace, templates
from dpotui.stages import ACTIONS, STAGES
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

GATE = """
  - {stage: 4, name: accuracy, title: "Validation Accuracy", fact: reward.validation_accuracy, op: ">=", threshold: 70,
     unit: "%"}
"""


@pytest.mark.parametrize("action", ACTIONS.values(), ids=lambda action: action.kind)
def test_what_can_be_started_has_a_job_and_a_template(action) -> None:
    from core.config import RUN_CONFIGS
    from core.engine.jobs import JOBS

    assert action.kind in JOBS
    assert action.model in RUN_CONFIGS or action.model == "sweep"  # whose file is W&B's
    assert (templates() / Path(action.config).name).is_file()
    assert all(action.kind in stage.kinds for stage in STAGES if stage.action is action)


async def test_a_reward_model_is_started_from_its_stage(busy: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Workspace] = []
    monkeypatch.setattr(client, "ensure_engine", started.append)
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(4)
        await scene.until(pilot, lambda: "start reward model training" in scene.prose(app))
        await pilot.press("g")
        await scene.until(pilot, lambda: "1000 steps of 16" in scene.prose(app))
        app.screen.query_one("#overrides", Input).value = "training.beta=0.2"
        await scene.until(pilot, lambda: "unknown key" in scene.prose(app))
        app.screen.query_one("#overrides", Input).value = "training.max_steps=40 training.warmup_steps=4"
        await scene.until(pilot, lambda: "40 steps of 16" in scene.prose(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: not app.screen.is_modal)
    run = runs.get(busy.db, "reward-001")
    assert (run.state, run.steps, run.stage) == ("queued", 40, 4)
    assert run.config_path == "configs/reward_config.yaml"
    assert started == [busy.workspace]


async def test_it_is_drawn_and_judged(busy: Scene) -> None:
    gates = busy.workspace.configs / "gates.yaml"
    gates.write_text(gates.read_text().rstrip("\n") + GATE)
    run = scene.add_run(busy.db, "reward", state="finished", step=40, steps=40)
    names = ("loss", "accuracy", "margin", "min_reward", "mean_reward", "max_reward")
    with transaction(busy.db):
        metrics.write(busy.db, [(run, step, name, 0.5, scene.NOW) for step in range(1, 41) for name in names])
        metrics.write(busy.db, [(run, 40, f"eval_{name}", 0.75, scene.NOW) for name in names])
    facts.record(
        busy.db,
        Fact("reward.validation_accuracy", 69.95, "%", run=run, time=scene.NOW, low=64.5, high=74.9, n=300),
    )
    async with scene.bench(busy.workspace).run_test(size=(200, 60)) as pilot:
        app = await scene.settled(pilot)
        await app.open_run(run)
        await scene.until(pilot, lambda: "accuracy 0.500 o eval 0.750" in scene.prose(app))
        said = scene.prose(app)
        for words in ("loss 0.500 o eval 0.750", "margin 0.500 o eval 0.750", "rewards max 0.500 mean 0.500"):
            assert words in said, words
        await scene.until(pilot, lambda: "FAIL Validation Accuracy" in scene.prose(app))
        assert "69.95%" in scene.prose(app)  # it is not rounded up to what would pass
        await pilot.press("4")
        await scene.until(pilot, lambda: "69.95%" in scene.prose(app) and app.mode_screen.MODE == "Runs")
