"""The queue on the screen: what waits and why, moved, put off, started, taken out; and a start at a time."""

from __future__ import annotations

import time
from typing import Any

import pytest
from textual.widgets import Input

from core.engine import client
from core.runs import queue
from core.store import runs
from dpotui.screens.queue import QueueScreen
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

# A time that no test lives to see.
FAR = 4_102_444_800.0


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ensure_engine", lambda workspace: None)


@pytest.fixture
def waiting(busy: Scene) -> list[str]:
    """Four runs behind the one that is on."""
    made = [scene.add_run(busy.db, kind, state="queued", started=None) for kind in ("sft", "dpo", "evaluate")]
    held = scene.add_run(busy.db, "reward", state="queued", started=None)
    for place, run in enumerate([*made, held]):
        runs.update(busy.db, run, created=scene.NOW + place)
    runs.update(busy.db, made[1], not_before=FAR, name="overnight")
    words = "takes about 30.1 GB, 12.4 GB are free beside ollama (812) 30.1 GB"
    runs.update(busy.db, held, phase=f"{queue.HELD}{words}")
    return [*made, held]


def ids(busy: Scene) -> list[str]:
    return [each.run.id for each in queue.listing(busy.db)]


async def test_runs_are_moved_taken_out_and_started(busy: Scene, waiting: list[str]) -> None:
    sft, dpo, evaluate, reward = waiting
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("2", "Q")
        await scene.until(pilot, lambda: isinstance(app.screen, QueueScreen))
        words = scene.prose(app)
        assert "waits for dpo-002 to end" in words
        assert "not before 2100-01-01 00:00" in words
        await pilot.press("J")
        assert ids(busy) == [dpo, sft, evaluate, reward]
        await pilot.press("L")
        assert ids(busy) == [dpo, evaluate, reward, sft]
        await pilot.press("F", "down", "x")  # the cursor stays with its run; below it is dpo
        assert ids(busy) == [sft, evaluate, reward]
        assert runs.get(busy.db, dpo).state == "stopped"
        await pilot.press("end", "S")
        assert ids(busy) == [reward, sft, evaluate]
        assert runs.get(busy.db, reward).forced == 1
        await pilot.press("escape")
        await scene.until(pilot, lambda: not isinstance(app.screen, QueueScreen))


async def test_a_run_is_put_off_and_a_time_that_is_none_is_told_in_place(busy: Scene, waiting: list[str]) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("2", "Q")
        await scene.until(pilot, lambda: isinstance(app.screen, QueueScreen))
        await pilot.press("t")
        await scene.until(pilot, lambda: "When does" in scene.words(app))
        await pilot.press(*"soon", "enter")
        await scene.until(pilot, lambda: "'soon' is no time to come" in scene.prose(app))
        app.screen.query_one(Input).value = "+2h"
        await pilot.press("enter")
        await scene.until(pilot, lambda: isinstance(app.screen, QueueScreen))
    assert runs.get(busy.db, waiting[0]).not_before == pytest.approx(time.time() + 7200, abs=60)


async def test_nothing_waits(empty: Scene) -> None:
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("2", "Q")
        await scene.until(pilot, lambda: "nothing waits" in scene.words(app))
        await pilot.press("J", "t", "x", "S", "q")
        await scene.until(pilot, lambda: not isinstance(app.screen, QueueScreen))


async def test_a_run_is_started_at_a_time(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await pilot.press("g")
        await scene.until(pilot, lambda: app.screen.is_modal)
        app.screen.query_one("#overrides", Input).value = "training.max_steps=40 training.warmup_steps=4"
        app.screen.query_one("#at", Input).value = "midnight"
        await scene.until(pilot, lambda: "'midnight' is no time to come" in scene.prose(app))
        app.screen.query_one("#at", Input).value = "+3h"
        await scene.until(pilot, lambda: "40 steps of" in scene.prose(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: not app.screen.is_modal)
    assert runs.get(busy.db, "dpo-003").not_before == pytest.approx(time.time() + 3 * 3600, abs=60)


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["narrow", "wide"])
def test_how_it_looks(busy: Scene, waiting: list[str], snap_compare: Any, size: tuple[int, int]) -> None:
    async def open_queue(pilot: Any) -> None:
        app = await scene.settled(pilot)
        await pilot.press("2", "Q")
        await scene.until(pilot, lambda: isinstance(app.screen, QueueScreen))
        await scene.settled(pilot)

    assert snap_compare(scene.bench(busy.workspace), terminal_size=size, run_before=open_queue)
