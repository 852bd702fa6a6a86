"""Runs are commanded from the terminal, and what the engine answers is shown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from core.config import RUN_CONFIGS, load_config
from core.engine import client
from core.errors import UserError
from core.store import commands, runs
from core.workspace import Workspace
from dpotui.screens.start import _HINTS
from dpotui.stages import EVERY_ACTION, Action
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

RUN = "dpo-002"


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[Workspace]:
    """No engine is started by these tests; where one would have been, it is noted."""
    asked: list[Workspace] = []
    monkeypatch.setattr(client, "ensure_engine", asked.append)
    return asked


def verbs(busy: Scene) -> list[str]:
    return [command.verb for command in commands.of_run(busy.db, RUN)]


async def test_pause_checkpoint_and_the_answer(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("2", "p", "c")
        await scene.settled(pilot)
        assert verbs(busy) == ["checkpoint", "pause"]
        await scene.until(pilot, lambda: f"checkpoint asked of {RUN}: answered at the next step" in scene.told(app))
        (pause,) = [c for c in commands.pending(busy.db, RUN) if c.verb == "pause"]
        commands.answer(busy.db, pause.id, "paused at step 413")
        runs.update(busy.db, RUN, state="paused")
        await scene.until(pilot, lambda: f"{RUN} pause: paused at step 413" in scene.told(app))
        await scene.until(pilot, lambda: f"{RUN} paused" in scene.words(app))
        await pilot.press("r")
        assert verbs(busy)[0] == "resume"


async def test_stop_asks_first(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("2", "s")
        assert "Stop the run?" in scene.words(app)
        await pilot.press("enter")
        assert verbs(busy) == []
        await pilot.press("s", "y")
        await pilot.pause()
        assert verbs(busy) == ["stop"]


async def test_resume_puts_a_failed_run_back_and_starts_an_engine(busy: Scene, started: list[Workspace]) -> None:
    async with scene.bench(busy.workspace, alive=False).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_run("dpo-001")
        await scene.until(pilot, lambda: "loss is NaN at step 31" in scene.prose(app))
        await scene.until(pilot, lambda: "lower training.learning_rate" in scene.prose(app))
        await pilot.press("r")
        await scene.until(pilot, lambda: bool(started))
    assert runs.get(busy.db, "dpo-001").state == "queued"
    assert started == [busy.workspace]


async def test_keys_that_would_do_nothing_are_not_offered(busy: Scene) -> None:
    runs.update(busy.db, RUN, state="finished")
    async with scene.bench(busy.workspace).run_test(size=(200, 60)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("4")
        await scene.settled(pilot)
        footer = scene.words(app).splitlines()[-1]
        assert "Start" in footer
        assert "Pause" not in footer
        assert "Resume" not in footer
        await pilot.press("down")
        await scene.settled(pilot)
        await scene.until(pilot, lambda: "Resume" in scene.words(app).splitlines()[-1])


async def test_starting_a_run_shows_errors_in_place(busy: Scene, started: list[Workspace]) -> None:
    path = busy.workspace.configs / "dpo_config.yaml"
    path.write_text(path.read_text().replace("  learning_rate:", "  lerning_rate:"))
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await pilot.press("g")
        await scene.until(pilot, lambda: "did you mean" in scene.prose(app))
        assert "configs/dpo_config.yaml:" in scene.words(app)
        await pilot.press("enter")
        await scene.settled(pilot)
        assert app.screen.is_modal
        path.write_text(path.read_text().replace("  lerning_rate:", "  learning_rate:"))
        app.screen.query_one(
            "#overrides", Input
        ).value = "training.beta=0.2 training.max_steps=40 training.warmup_steps=4"
        await scene.until(pilot, lambda: "40 steps of" in scene.prose(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: not app.screen.is_modal)
    run = runs.get(busy.db, "dpo-003")
    assert (run.state, run.config["training"]["beta"], run.steps) == ("queued", 0.2, 40)
    assert run.config_path == "configs/dpo_config.yaml"
    assert started == [busy.workspace]


def _held(monkeypatch: pytest.MonkeyPatch, submit: Callable[..., Any]) -> tuple[threading.Event, threading.Event]:
    """Hold what submits a run; gives back what tells that it was called, and what lets it go on."""
    entered, go = threading.Event(), threading.Event()

    def slowly(*args: Any, **named: Any) -> Any:
        entered.set()
        assert go.wait(10)
        return submit(*args, **named)

    monkeypatch.setattr(client, "submit", slowly)
    return entered, go


async def test_a_run_that_is_being_queued_is_the_one_that_was_asked_for(
    busy: Scene, started: list[Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = _held(monkeypatch, client.submit)
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await pilot.press("g", "enter")
        await scene.until(pilot, entered.is_set)
        await pilot.press("ctrl+t", "enter", "escape")
        assert app.screen.query_one(".box").border_title == "Start: DPO training"
        app.screen.query_one("#overrides", Input).value = "training.beta=0.2"
        go.set()
        await scene.until(pilot, lambda: not app.screen.is_modal)
    assert [run.id for run in runs.listing(busy.db, states=("queued",))] == ["dpo-003"]
    assert runs.get(busy.db, "dpo-003").config["training"]["beta"] == 0.1
    assert started == [busy.workspace]


async def test_a_refusal_of_what_was_mended_since_is_not_shown(
    busy: Scene, started: list[Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise UserError("too much")

    entered, go = _held(monkeypatch, refuse)
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await pilot.press("g", "enter")
        await scene.until(pilot, entered.is_set)
        app.screen.query_one("#overrides", Input).value = "training.max_steps=40 training.warmup_steps=4"
        await scene.until(pilot, lambda: "40 steps of" in scene.prose(app))
        go.set()
        await scene.settled(pilot)
        assert "40 steps of" in scene.prose(app) and "too much" not in scene.prose(app)
        await pilot.press("enter")
        await scene.until(pilot, lambda: "too much" in scene.prose(app))


async def test_another_kind_brings_its_configuration(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await pilot.press("g", *["ctrl+t"] * 5)  # past sweep, iterations, evaluation and measuring
        field = app.screen.query_one("#config", Input)
        assert (app.screen.query_one(".box").border_title, field.value) == (
            "Start: SFT training",
            "configs/sft_config.yaml",
        )
        await pilot.press("ctrl+t")
        changed = app.screen.query_one("#overrides", Input)
        assert (field.value, changed.value) == ("configs/eval_config.yaml", "evaluation.subject=baseline")
        await pilot.press("ctrl+t")
        assert changed.value == ""


async def test_a_run_that_ends_is_told(busy: Scene) -> None:
    told: list[Any] = []
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        app.bell = lambda: told.append("bell")  # type: ignore[method-assign]
        runs.update(busy.db, RUN, state="failed", error="out of memory", ended=scene.NOW)
        await scene.until(pilot, lambda: f"{RUN} failed: out of memory" in scene.told(app))
    assert told == ["bell"]


@pytest.mark.parametrize("action", EVERY_ACTION, ids=lambda action: f"{action.kind} {action.overrides}".strip())
def test_keys_that_are_proposed_are_keys_of_that_configuration(action: Action, tmp_path: Path) -> None:
    workspace, db = scene.workspace(tmp_path)
    db.close()
    proposed = _HINTS[action.model].removeprefix("such as ").split()
    assert proposed
    overrides = [*action.overrides.split(), *proposed]
    # Those of a sweep are of its trials.
    kind, config = ("dpo", "configs/dpo_config.yaml") if action.kind == "sweep" else (action.model, action.config)
    load_config(workspace.path(config), RUN_CONFIGS[kind], overrides)
