"""Runs sent to trackers from the list, and how that is seen."""

from __future__ import annotations

import pytest

from core.config import trackers
from core.store import tracked
from core.store.tracked import Position, Tracked
from dpotui.app import Workbench
from dpotui.screens.pick import Pick
from dpotui.screens.runs import RunsScreen
from tests.core.tracking import packages
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene


async def test_whom_to_is_asked_and_a_process_does_it(
    busy: Scene, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = packages.put(tmp_path_factory.mktemp("packages") / "here", monkeypatch)
    monkeypatch.setitem(trackers._MODULES, "mlflow", ("there_is_no_such_module",))
    started: list[tuple[str, tuple[str, ...]]] = []
    monkeypatch.setattr("core.tracking.start.spawn", lambda space, run, names: started.append((run, names)))
    async with scene.bench(busy.workspace).run_test(size=(100, 30)) as pilot:
        app = pilot.app
        assert isinstance(app, Workbench)
        await pilot.press("4")
        await scene.until(pilot, lambda: isinstance(app.screen, RunsScreen) and app.screen.listed.key is not None)
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        run = screen.listed.key
        assert run is not None
        await pilot.press("w")
        await scene.until(pilot, lambda: isinstance(app.screen, Pick))
        said = scene.words(app)
        assert f"Send {run} to" in said
        assert "MLflow: pip install 'dpotui[mlflow]'" in said
        assert "W&B offline: a folder in this workspace" in said
        await pilot.press("down", "enter")  # what is not there is not started
        await scene.until(pilot, lambda: any("MLflow is not installed" in each for each in scene.told(app)))
        await pilot.press("w", "down", "down", "enter")
        await scene.until(pilot, lambda: any("being sent to W&B" in each for each in scene.told(app)))
        assert started == [(run, ("wandb",))]
        found = tracked.get(busy.db, run, "wandb")
        assert found is not None
        assert (found.state, found.options["mode"]) == ("starting", "offline")
    assert package.told() == []


async def test_details_say_how_trackers_stand(busy: Scene) -> None:
    for tracker, state in (("tensorboard", "sending"), ("wandb", "failed")):
        tracked.put(
            busy.db,
            Tracked("dpo-002", tracker, state, place="outputs/x", position=Position(12), error="[red]no\x1b[31m net"),  # type: ignore[arg-type]
        )
    async with scene.bench(busy.workspace).run_test(size=(200, 60)) as pilot:
        app = pilot.app
        assert isinstance(app, Workbench)
        await pilot.press("4")
        await scene.until(pilot, lambda: "TensorBoard in outputs/x (sending, 12 rows sent)" in scene.words(app))
        words = scene.words(app)
        assert "W&B in outputs/x (failed, 12 rows sent): [red]no" in words
        assert "\x1b" not in words
