"""The Hardware mode: the machine, sizes as they are measured, a calibration started from it; memory before a run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from core.engine import client
from core.hardware import MemoryLimit
from core.store import calibrations, engines, environments, metrics, open_store, runs, transaction
from core.store.calibrations import Size
from core.store.environments import Setting
from core.training import forecast
from core.workspace import Workspace
from dpotui.machine import Machine, read_machine
from dpotui.screens import hardware as hardware_screen
from dpotui.screens.hardware import new_monitor
from tests.core.training import tiny
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene
from tests.dpotui.test_hardware_cli import CONFIG

# Before a test puts another machine in their place.
_REAL, _REAL_MONITOR = read_machine, new_monitor


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
    machine = _REAL(tmp_path, os.getpid())
    entries = machine.entries
    words = " ".join(f"{entry.label} {entry.text}" for entry in entries)
    for what in ("cores", "for a run", "MLX_METAL_PREALLOCATE", "has no effect in MLX", "mlx-lm", "start with"):
        assert what in words
    assert machine.limits["memory"] == psutil.virtual_memory().total
    assert machine.known["Apple M3 Ultra"] == 4
    # Its own environment is the engine's here.
    assert "in your shell" not in words
    assert ("BLAS" in words) == (sys.platform == "linux")


def test_the_environment_that_counts_is_the_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLX_METAL_FAST_SYNCH", raising=False)
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    command = (sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)")
    environment = {"PATH": os.environ["PATH"], "MLX_METAL_FAST_SYNCH": "1", "TOKENIZERS_PARALLELISM": "false"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None and engine.stdout.readline()
        words = " ".join(entry.text for entry in _REAL(tmp_path, engine.pid).entries)
        engine.kill()
    assert "MLX_METAL_FAST_SYNCH  1 (shell) in your shell: not set; the engine's is what counts" in words
    assert "TOKENIZERS_PARALLELISM  false (shell) in your shell: not set" in words
    assert "effective: tokenizers reads it at every call" in words


def test_what_the_configuration_wants_and_the_last_run_had_are_told(trainable: Workspace) -> None:
    config = CONFIG + "compute: {environment: {cache_limit_gb: 2, metal_preallocate: true}}\n"
    (trainable.configs / "dpo_config.yaml").write_text(config)
    db = open_store(trainable.database)
    run = runs.create(db, "dpo", config={})
    runs.update(db, run.id, started=1.0)
    had = [
        Setting("cache limit", "", "1 GB", "configuration", "effective", "read back"),
        Setting("MLX_METAL_FAST_SYNCH", "", "1", "configuration", "not yet", "MLX began in the engine with none"),
    ]
    environments.record(db, run.id, had)
    db.close()
    words = " ".join(entry.text for entry in _REAL(trainable.root).entries)
    assert "cache limit  2 GB (configuration)" in words
    assert "in dpo-001: 1 GB (configuration), effective" in words
    assert "in dpo-001: 1 (configuration), not yet" in words
    assert "without effect: has no effect in MLX" in words


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_sizes_appear_as_they_are_measured(busy: Scene, size: tuple[int, int]) -> None:
    run = scene.add_run(busy.db, "calibrate", state="running", phase="measuring batch size 2")
    made = calibrations.begin(
        busy.db, run=run, kind="dpo", chip="Apple M4 Max", subject={}, limit=48 * 10**9, limit_source="Metal"
    )
    async with scene.bench(busy.workspace).run_test(size=size) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7", "tab")
        await scene.until(pilot, lambda: "measuring batch size 2" in scene.words(app))
        calibrations.add(busy.db, made, Size(1, "FITS", 4.21, 7 * 10**9, 3.0))
        await scene.until(pilot, lambda: "7.00 GB" in scene.words(app))
        assert "chosen" not in scene.words(app)
        calibrations.finish(busy.db, made, 1, "4.21 pairs/s")
        await scene.until(pilot, lambda: "◂ chosen" in scene.words(app))
        assert "batch size 1: 4.21 pairs/s" in scene.words(app)
        assert ("68.7 GB, 51.2 free" in scene.words(app)) == (size[0] > 120)
        await pilot.press("tab")
        await scene.until(pilot, lambda: "68.7 GB, 51.2 free" in scene.words(app))


async def test_what_a_calibration_holds_for_is_shown(busy: Scene) -> None:
    scene.add_calibration(busy.db)
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7", "tab")
        await scene.until(pilot, lambda: "14.80" in scene.words(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: "It holds for" in scene.words(app))
        assert "lengths: [128, 256, 368, 208]" in scene.prose(app)
        await pilot.press("escape", "slash", *"nothing such", "enter")
        await scene.until(pilot, lambda: "no calibration with 'nothing such' in it" in scene.words(app))


async def test_without_one_it_says_what_to_do(empty: Scene) -> None:
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7", "tab")
        await scene.until(pilot, lambda: "nothing measured here yet: g measures" in scene.words(app))
        await scene.until(pilot, lambda: "32 known" in scene.prose(app))
        assert "Apple M4 Max ◂ this chip" in scene.prose(app)
        await pilot.press("down", "enter")
        await scene.until(pilot, lambda: "the workflow's checklist of stage 5" in scene.prose(app))
        assert "4 pairs" in scene.prose(app)


async def test_g_starts_one_and_stays(trainable: Workspace, started: list[Workspace]) -> None:
    async with scene.bench(trainable).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7", "tab", "g")
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
        await pilot.press("7", "tab")
        await scene.until(pilot, lambda: "TOO LARGE" in scene.words(app))
        for keys in ([], ["enter"]):
            await pilot.press(*keys)
            await pilot.pause(0.1)
            shown = scene.words(app)
            assert not [c for c in shown if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e")]
            assert "[bold]x" in shown
    assert hardware_screen.HardwareScreen.MODE == "Hardware"


# What the machine does now


async def _before(pilot: Pilot[None]) -> None:
    await scene.settled(pilot)
    await pilot.press("7")
    await scene.settled(pilot)


def _tabbed(*keys: str) -> Any:
    async def run_before(pilot: Pilot[None]) -> None:
        await _before(pilot)
        await pilot.press(*keys)
        await pilot.pause()

    return run_before


@pytest.mark.parametrize(
    ("size", "keys"),
    [
        ((80, 24), ()),
        ((80, 24), ("down",) * 3),
        ((80, 24), ("enter",)),
        ((80, 24), ("tab",)),
        ((200, 60), ()),
    ],
    ids=["now", "memory", "zoomed", "sizes", "wide"],
)
def test_how_it_looks(busy: Scene, snap_compare: Any, size: tuple[int, int], keys: tuple[str, ...]) -> None:
    scene.add_calibration(busy.db)
    assert snap_compare(scene.bench(busy.workspace), terminal_size=size, run_before=_tabbed(*keys))


async def test_every_value_has_its_source_or_its_reason(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(200, 60)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7")
        await scene.settled(pilot)
        said = scene.prose(app)
        assert "GPU 88%" in said and "macmon" in said and "ioreg" in said and "pmset" in said
        assert "CPU temp — no sensor answered macmon" in said
        assert "use %" in said and "GPU memory GB" in said and "≤51.5" in said and "≤68.7" in said
        assert "power W" in said and " min" in said


async def test_limits_that_come_after_the_samples_are_drawn(busy: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    read, known = hardware_screen.read_machine, threading.Event()

    def slowly(root: Path, engine: int | None) -> Machine:
        known.wait(10)
        return read(root, engine)

    monkeypatch.setattr(hardware_screen, "read_machine", slowly)
    async with scene.bench(busy.workspace).run_test(size=(200, 60)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7")
        await scene.until(pilot, lambda: "GPU memory GB" in scene.words(app))
        assert "≤51.5" not in scene.words(app)
        known.set()
        await scene.until(pilot, lambda: "≤51.5" in scene.words(app) and "≤68.7" in scene.words(app))


async def test_the_machine_is_looked_at_only_while_this_is_in_front(
    busy: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware_screen, "new_monitor", _REAL_MONITOR)
    scene.add_metrics(busy.db, "dpo-002", 3)
    peak = [("dpo-002", step, "peak_memory_gb", 3.25, scene.NOW) for step in (1, 2)]
    with transaction(busy.db):
        metrics.write(busy.db, peak)
    engines.register(busy.db, "detached", "1")  # this process
    async with scene.bench(busy.workspace).run_test(size=(200, 60)) as pilot:
        app = await scene.settled(pilot)
        assert not [one for one in threading.enumerate() if one.name == "monitor"]
        await pilot.press("7")
        await scene.until(pilot, lambda: "psutil" in scene.words(app))
        screen = app.mode_screen
        assert isinstance(screen, hardware_screen.HardwareScreen) and screen._monitor is not None
        screen._monitor._interval = 0.05
        await scene.until(
            pilot, lambda: "3.2 GB" in scene.prose(app) and f"RSS of process {os.getpid()}" in scene.prose(app)
        )
        await pilot.press("1")
        await scene.until(pilot, lambda: not [one for one in threading.enumerate() if one.name == "monitor"])
        kept = len(screen._monitor.samples)
        assert kept > 0
        await pilot.press("7")
        await scene.until(pilot, lambda: len(screen._monitor.samples) > kept)
    assert not [one for one in threading.enumerate() if one.name == "monitor"]


@pytest.mark.parametrize("size", [(20, 6), (60, 9), (121, 14), (300, 80)])
async def test_any_room_will_do(busy: Scene, size: tuple[int, int]) -> None:
    async with scene.bench(busy.workspace).run_test(size=size) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7", "down", "down", "up", "enter", "enter", "up", "tab", "tab", "tab")
        assert app.mode_screen.MODE == "Hardware"
