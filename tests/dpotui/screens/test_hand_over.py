"""A model is handed over from the run in hand: what it would come to is said before it starts, its end after."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from core.engine import client
from core.store import runs
from core.workspace import Workspace
from dpotui.screens.hand_over import HandOver
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

SIZES = {"80x24": (80, 24), "200x60": (200, 60)}


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[Workspace]:
    """No engine is started by these tests; where one would have been, it is noted."""
    asked: list[Workspace] = []
    monkeypatch.setattr(client, "ensure_engine", asked.append)
    return asked


@pytest.fixture
def trained(empty: Scene) -> Scene:
    """A finished DPO run with the files that say what its model is, and an evaluation of it."""
    space, db = empty
    config = {"model_type": "qwen2", "hidden_size": 8}
    for name, file, text in (
        ("models/base", "config.json", json.dumps(config)),
        ("outputs/calm", "adapter_config.json", json.dumps({"model": "models/base"})),
        ("data", "val.jsonl", '{"prompt": "a", "chosen": "b", "rejected": "c"}\n'),
    ):
        space.path(name).mkdir(parents=True, exist_ok=True)
        (space.path(name) / file).write_text(text)
    run = scene.add_run(db, "dpo", state="finished", output_dir="outputs/calm", ended=scene.NOW - 60)
    runs.update(db, run, config={"adapter": {"type": "lora"}, "data": {"validation_file": "data/val.jsonl"}})
    evaluation = scene.add_run(db, "evaluate", state="finished", ended=scene.NOW - 30, created=scene.NOW - 50)
    runs.update(db, evaluation, config={"model": {"final": "outputs/calm"}})
    return empty


def shown(*keys: str, wait: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    async def run_before(pilot: Pilot[None]) -> None:
        app = await scene.settled(pilot)
        await pilot.press("4")
        await scene.settled(pilot)
        await pilot.press("down", "E")
        await scene.until(pilot, lambda: "into outputs/dpo-001-export" in scene.prose(app))
        await pilot.press(*keys)
        await scene.until(pilot, lambda: wait in scene.prose(app))

    return run_before


@pytest.mark.parametrize("size", SIZES)
def test_how_it_looks(trained: Scene, snap_compare: Any, size: str) -> None:
    look = shown("q", "q", "p", wait="4 bits")
    assert snap_compare(scene.bench(trained.workspace), terminal_size=SIZES[size], run_before=look)


async def test_what_was_chosen_is_queued(trained: Scene, started: list[Workspace]) -> None:
    async with scene.bench(trained.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await shown("q", "w", "w", "p", wait="bfloat16")(pilot)
        await pilot.press("enter")
        await scene.until(pilot, lambda: not isinstance(app.screen, HandOver))
        (run,) = runs.listing(trained.db, kind="export")
        assert started == [trained.workspace]
        wanted = {"run": "dpo-001", "quantize": 8, "dtype": "bfloat16", "gguf": False, "peft": True}
        assert {key: run.config[key] for key in wanted} == wanted
        await scene.until(pilot, lambda: any("export-001 hands dpo-001 over" in words for words in scene.told(app)))
        # Its end is told with the folder.
        runs.update(trained.db, run.id, state="running")
        await scene.until(pilot, lambda: app.snapshot and app.snapshot.live and app.snapshot.live.id == run.id)
        runs.update(trained.db, run.id, state="finished", output_dir="outputs/dpo-001-export")
        await scene.until(pilot, lambda: "export-001 finished: outputs/dpo-001-export" in scene.told(app))


async def test_what_cannot_be_is_said_and_not_started(trained: Scene, started: list[Workspace]) -> None:
    async with scene.bench(trained.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        wait = "GGUF file (g): mlx-lm writes GGUF of llama, mistral, not of 'qwen2': leave it out"
        await shown("g", wait=wait)(pilot)
        await pilot.press("enter")
        await scene.settled(pilot)
        assert wait in scene.prose(app)
        assert runs.listing(trained.db, kind="export") == []
        await pilot.press("g")
        await scene.until(pilot, lambda: "into outputs/dpo-001-export" in scene.prose(app))
        await pilot.press("escape")
        await scene.until(pilot, lambda: not isinstance(app.screen, HandOver))
    assert (runs.listing(trained.db, kind="export"), started) == ([], [])


async def test_stage_7_hands_over_what_was_evaluated(trained: Scene) -> None:
    async with scene.bench(trained.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_run("evaluate-001")
        await scene.settled(pilot)
        await pilot.press("E")
        await scene.until(pilot, lambda: "Hand over outputs/calm" in scene.prose(app))


async def test_a_run_without_a_model(empty: Scene) -> None:
    run = scene.add_run(empty.db, "data_check", state="finished", ended=scene.NOW)
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_run(run)
        await scene.settled(pilot)
        await pilot.press("E")
        await scene.until(pilot, lambda: any("no run here has a model" in words for words in scene.told(app)))


async def test_an_unfinished_run_says_why_not(trained: Scene) -> None:
    scene.add_run(trained.db, "dpo", state="failed", created=scene.NOW - 20, output_dir="outputs/failed")
    async with scene.bench(trained.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("4")
        await scene.settled(pilot)
        await pilot.press("E")
        await scene.until(pilot, lambda: "dpo-002 is failed: --checkpoint STEP takes a checkpoint" in scene.prose(app))
