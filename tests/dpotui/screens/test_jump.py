"""Jump, the first look, and where the workbench begins."""

from __future__ import annotations

import pytest

from core.checklist import load_tree, tick
from core.errors import UserError
from core.settings import Settings
from dpotui.app import Workbench
from dpotui.screens.jump import MODE_LETTERS, Jump, targets
from dpotui.screens.mode import WIDE
from dpotui.screens.plan import PlanScreen
from dpotui.screens.tour import LINES, Tour
from dpotui.widgets.checklist import ChecklistTree
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_a_letter_stands_where_it_leads(busy: Scene, size: tuple[int, int]) -> None:
    async with scene.bench(busy.workspace).run_test(size=size) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("2")
        await scene.settled(pilot)
        screen = app.mode_screen
        found = targets(screen)
        assert {target.name for target in found if target.kind == "mode"} == set(MODE_LETTERS)
        there = [id_ for _, id_ in screen.panes_here if size[0] < WIDE or screen.query_one(f"#{id_}").display]
        assert [target.name for target in found if target.kind == "pane"] == there
        assert len({target.letter for target in found}) == len(found)
        await pilot.press("ctrl+o")
        await scene.until(pilot, lambda: isinstance(app.screen, Jump))
        await pilot.pause()
        rows = scene.words(app).splitlines()
        for target in found:
            assert rows[target.at.y][target.at.x] == target.letter, target
        await pilot.press(next(target.letter for target in found if target.name == "stage-gates"))
        await scene.until(pilot, lambda: app.screen is screen)
        assert screen.pane == "stage-gates"


async def test_modes_and_stages_are_jumped_to(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("ctrl+o", "3")
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Stage")
        assert app.mode_screen.stage_shown() == 3
        await pilot.press("ctrl+o", MODE_LETTERS["Gates"])
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Gates")
        await pilot.press("ctrl+o", "escape", "ctrl+o", "9")
        await pilot.pause()
        assert app.screen is app.mode_screen
        assert app.mode_screen.MODE == "Gates"


async def test_a_first_look_is_had_once_and_costs_no_key(empty: Scene) -> None:
    app = Workbench(empty.workspace, clock=lambda: scene.NOW, probe=lambda workspace, db: False, who="ana", tour=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.until(pilot, lambda: isinstance(app.screen, Tour))
        await pilot.pause()
        shown = scene.prose(app)
        assert len(LINES) <= 5
        for line in LINES:
            assert line in shown
        await pilot.press("3")
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Gates")
        assert app.screen is app.mode_screen


async def test_a_burst_of_keys_closes_it_once(empty: Scene) -> None:
    app = Workbench(empty.workspace, clock=lambda: scene.NOW, probe=lambda workspace, db: False, who="ana", tour=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.until(pilot, lambda: isinstance(app.screen, Tour))
        for key in ("o", "o", "4"):
            app.simulate_key(key)
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Runs")
        assert app.screen is app.mode_screen


async def test_who_has_done_something_is_not_told_how(empty: Scene) -> None:
    (root, *_) = load_tree(empty.workspace)
    tick(empty.db, root.children[0], "ana")
    app = Workbench(empty.workspace, clock=lambda: scene.NOW, probe=lambda workspace, db: False, who="ana", tour=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.settled(pilot)
        await pilot.pause()
        assert isinstance(app.screen, PlanScreen)
        assert app.screen.query_one(ChecklistTree).item is not None


async def test_it_begins_with_the_run_that_is_on(busy: Scene) -> None:
    app = Workbench(busy.workspace, clock=lambda: scene.NOW, probe=lambda workspace, db: True, who="ana", watching=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.settled(pilot)
        assert (app.mode_screen.MODE, app.mode_screen.stage_shown()) == ("Stage", 5)
        assert app.mode_screen.pane == "charts"
        await pilot.press("1")
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Plan")


def test_a_theme_that_there_is_not_is_said(empty: Scene) -> None:
    with pytest.raises(UserError, match=r"there is no theme 'neon': .*dpotui-dark"):
        Workbench(empty.workspace, settings=Settings(theme="neon"))
    assert Workbench(empty.workspace, settings=Settings(theme="dpotui-light")).theme == "dpotui-light"
