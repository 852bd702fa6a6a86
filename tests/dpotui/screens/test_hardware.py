"""The Hardware mode: the machine, sizes as they are measured, a calibration started from it; memory before a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from core.engine import client
from core.hardware import MemoryLimit
from core.store import calibrations, open_store, runs
from core.store.calibrations import Size
from core.training import forecast
from core.workspace import Workspace
from dpotui.screens import hardware as hardware_screen
from dpotui.screens.hardware import read_machine
from tests.core.training import tiny
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene
from tests.dpotui.test_hardware_cli import CONFIG

_REAL = read_machine  # before a test puts another machine in its place


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[Workspace]:
    """No engine is started by these tests; where one would have been, it is noted."""
    asked: list[Workspace] = []
    monkeypatch.setattr(client, "ensure_engine", asked.append)
    return asked


@pytest.fixture
def trainable(tmp_path: Path) -> Workspace:
    space, db = tiny.workspace(tmp_path / "w")
    db.close()
    (space.configs / "dpo_config.yaml").write_text(CONFIG.replace("batch_size: auto", "batch_size: 16"))
    return space


def test_the_machine_is_this_one(tmp_path: Path) -> None:
    entries = _REAL(tmp_path)
    words = " ".join(f"{entry.label} {entry.text}" for entry in entries)
    for what in ("cores", "for a run", "MLX_METAL_PREALLOCATE", "has no effect in MLX", "mlx-lm", "start with"):
        assert what in words


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_sizes_appear_as_they_are_measured(busy: Scene, size: tuple[int, int]) -> None:
    run = scene.add_run(busy.db, "calibrate", state="running", phase="measuring batch size 2")
    made = calibrations.begin(
        busy.db, run=run, kind="dpo", chip="Apple M4 Max", subject={}, limit=48 * 10**9, limit_source="Metal"
    )
    async with scene.bench(busy.workspace).run_test(size=size) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7")
        await scene.until(pilot, lambda: "measuring batch size 2" in scene.words(app))
        calibrations.add(busy.db, made, Size(1, "FITS", 4.21, 7 * 10**9, 3.0))
        await scene.until(pilot, lambda: "7.00 GB" in scene.words(app))
        assert "chosen" not in scene.words(app)
        calibrations.finish(busy.db, made, 1, "4.21 pairs/s")
        await scene.until(pilot, lambda: "◂ chosen" in scene.words(app))
        assert "batch size 1: 4.21 pairs/s" in scene.words(app)
        assert ("Apple M4 Max" in scene.words(app)) == (size[0] > 120)
        await pilot.press("tab")
        await scene.until(pilot, lambda: "68.7 GB, 51.2 free" in scene.words(app))


async def test_what_a_calibration_holds_for_is_shown(busy: Scene) -> None:
    scene.add_calibration(busy.db)
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7")
        await scene.until(pilot, lambda: "14.80" in scene.words(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: "It holds for" in scene.words(app))
        assert "lengths: [128, 256, 368, 208]" in scene.prose(app)
        await pilot.press("escape", "slash", *"nothing such", "enter")
        await scene.until(pilot, lambda: "no calibration with 'nothing such' in it" in scene.words(app))


async def test_without_one_it_says_what_to_do(empty: Scene) -> None:
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7")
        await scene.until(pilot, lambda: "no batch size was measured yet" in scene.words(app))
        assert "g measures" in scene.words(app)


async def test_g_starts_one_and_stays(trainable: Workspace, started: list[Workspace]) -> None:
    async with scene.bench(trainable).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7", "g")
        await scene.until(pilot, lambda: "Start: measuring of batch sizes" in scene.words(app))
        await scene.until(pilot, lambda: "models/tiny, lora" in scene.prose(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: len(started) == 1)
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Hardware" and not app.screen.is_modal)
        await scene.until(pilot, lambda: "calibrate-001" in scene.words(app))
    db = open_store(trainable.database)
    run = runs.get(db, "calibrate-001")
    assert (run.kind, run.config[calibrations.FOR]) == ("calibrate", "dpo")
    db.close()


async def test_what_a_run_takes_is_told_before_it_starts(trainable: Workspace, started: list[Workspace]) -> None:
    async with scene.bench(trainable).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await pilot.press("g")
        await scene.until(pilot, lambda: "memory SAFE: about" in scene.prose(app))
        field = app.screen.query_one("#overrides", Input)
        field.value = "training.betta=1"
        await scene.until(pilot, lambda: "did you mean training.beta" in scene.prose(app))
        assert "memory SAFE" not in scene.prose(app)
        field.value = "training.batch_size=auto"
        await scene.until(pilot, lambda: "3 steps of 2 x auto" in scene.prose(app))
        await scene.until(pilot, lambda: "memory SAFE: about" in scene.prose(app))
    assert started == []


async def test_what_cannot_be_wants_a_second_enter(
    trainable: Workspace, started: list[Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = forecast.forecast(trainable, tiny.dpo_config(training_batch_size=16, adapter_dropout=0.0)).estimate.bytes
    monkeypatch.setattr(forecast, "memory_limit", lambda device: MemoryLimit(needed // 4, needed // 2, "a test"))
    async with scene.bench(trainable).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await pilot.press("g")
        await scene.until(pilot, lambda: "memory TOO LARGE: about" in scene.prose(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: "enter again starts it all the same" in scene.prose(app))
        assert started == []
        await pilot.press("enter")
        await scene.until(pilot, lambda: len(started) == 1)


async def test_hostile_words_of_a_child_are_text(empty: Scene) -> None:
    hostile = "\x1b[31mred[bold]x\u202e"
    made = calibrations.begin(
        empty.db, run=None, kind="dpo", chip=hostile, subject={"a": hostile}, limit=1, limit_source=hostile
    )
    calibrations.add(empty.db, made, Size(1, "TOO LARGE", None, None, 1.0, hostile))
    calibrations.finish(empty.db, made, None, hostile)
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7")
        await scene.until(pilot, lambda: "TOO LARGE" in scene.words(app))
        for keys in ([], ["enter"]):
            await pilot.press(*keys)
            await pilot.pause(0.1)
            shown = scene.words(app)
            assert not [c for c in shown if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e")]
            assert "[bold]x" in shown
    assert hardware_screen.HardwareScreen.MODE == "Hardware"
