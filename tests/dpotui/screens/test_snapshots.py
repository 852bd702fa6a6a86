"""How the modes look at both sizes. After a change on purpose: pytest tests/dpotui/screens --snapshot-update."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

KEYS = {"plan": "1", "stage": "2", "gates": "3", "runs": "4", "hardware": "7"}
SIZES = {"narrow": (80, 24), "wide": (200, 60)}


def _after(*keys: str) -> Any:
    async def run_before(pilot: Pilot[None]) -> None:
        await scene.settled(pilot)
        for key in keys:
            await pilot.press(key)
            await scene.settled(pilot)

    return run_before


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", KEYS)
def test_modes(busy: Scene, snap_compare: Any, mode: str, size: str) -> None:
    key = KEYS[mode]
    scene.add_calibration(busy.db)
    assert snap_compare(scene.bench(busy.workspace), terminal_size=SIZES[size], run_before=_after(key))


@pytest.mark.parametrize("pane", ["charts", "gates", "log"])
def test_panes_of_a_stage_on_a_narrow_screen(busy: Scene, snap_compare: Any, pane: str) -> None:
    tabs = ["tab"] * (["charts", "gates", "log"].index(pane) + 1)
    assert snap_compare(scene.bench(busy.workspace), terminal_size=SIZES["narrow"], run_before=_after("2", *tabs))


def test_empty_runs_say_what_to_do(empty: Scene, snap_compare: Any) -> None:
    assert snap_compare(scene.bench(empty.workspace, alive=False), terminal_size=(80, 24), run_before=_after("4"))
