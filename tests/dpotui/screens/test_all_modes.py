"""How every mode looks, empty, busy, failed and huge, at both sizes.

After a change on purpose: pytest tests/dpotui/screens --snapshot-update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.strip import Strip

from dpotui.app import Workbench
from dpotui.widgets.lines import Lines
from tests.dpotui import scene, states
from tests.dpotui.screens.conftest import Scene
from tests.dpotui.screens.pictures import Pictures

SIZES = {"narrow": (80, 24), "wide": (200, 60)}


def _empty(made: Scene) -> Workbench:
    return scene.bench(made.workspace, alive=False)


def _busy(made: Scene) -> Workbench:
    scene.busy(made.db)
    scene.add_calibration(made.db)
    states.add_pairs(made.workspace, 40)
    return scene.bench(made.workspace)


def _failed(made: Scene) -> Workbench:
    states.failed(made.workspace, made.db)
    return scene.bench(made.workspace, alive=False)


def _huge(made: Scene) -> Workbench:
    states.huge(made.workspace, made.db)
    return scene.bench(made.workspace)


STATES: dict[str, Callable[[Scene], Workbench]] = {"empty": _empty, "busy": _busy, "failed": _failed, "huge": _huge}


async def _still(pilot: Pilot[None]) -> Workbench:
    """Wait until the screen has been the same for a while: charts draw what came once a second."""
    last, since, drawn = "", 0, list[Strip]()
    for _ in range(400):
        app = await scene.settled(pilot)
        now, seen = scene.words(app), app.screen._compositor.render_strips()  # the strips have colours, too
        reading = "reading …" in now or "looking …" in now
        since = since + 1 if now == last and seen == drawn and not reading else 0
        last, drawn = now, seen
        if since >= 4:
            return app
    raise AssertionError(f"it never stands still:\n{last}")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("state", STATES)
async def test_all_modes(empty: Scene, snapshot: Any, state: str, size: str) -> None:
    pictures = snapshot.use_extension(Pictures)
    async with STATES[state](empty).run_test(size=SIZES[size]) as pilot:
        app = await _still(pilot)
        for key in "12345678":
            await pilot.press(key)
            await _still(pilot)
            assert app.export_screenshot() == pictures(name=app.mode_screen.MODE)


async def _pane(pilot: Pilot[None], number: int) -> None:
    await pilot.press("2", *["tab"] * number)
    await _still(pilot)


@pytest.mark.parametrize("pane", ["charts", "samples", "gates", "log"])
async def test_panes_of_a_stage_on_a_narrow_screen(empty: Scene, snapshot: Any, pane: str) -> None:
    pictures = snapshot.use_extension(Pictures)
    async with _busy(empty).run_test(size=SIZES["narrow"]) as pilot:
        app = await _still(pilot)
        await _pane(pilot, ["charts", "samples", "gates", "log"].index(pane) + 1)
        assert app.export_screenshot() == pictures


@pytest.mark.parametrize("key", list("12345678"))
async def test_a_cursor_looks_as_the_focus_is(empty: Scene, key: str) -> None:
    async with _busy(empty).run_test(size=SIZES["wide"]) as pilot:
        app = await scene.settled(pilot)
        await pilot.press(key)
        await scene.settled(pilot)
        for _ in app.mode_screen.PANES:
            await pilot.press("tab")
            await pilot.pause()
            assert app.focused is not None
            for lines in app.mode_screen.query(Lines):
                shown = lines._strips
                lines._make()
                assert lines._strips == shown, lines
