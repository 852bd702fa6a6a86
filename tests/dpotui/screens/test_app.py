"""Where one goes with which key, and that every key that is named works."""

from __future__ import annotations

from typing import Any

import pytest
from textual.binding import Binding
from textual.widgets import Input

from core.store import facts, runs
from core.store.facts import Fact
from dpotui.app import Workbench
from dpotui.screens.data import DataScreen
from dpotui.screens.data_find import FindsRows
from dpotui.screens.data_narrow import NarrowsRows
from dpotui.screens.gates import GatesScreen
from dpotui.screens.hardware import HardwareScreen
from dpotui.screens.plan import PlanScreen
from dpotui.screens.runs import RunsScreen
from dpotui.screens.stage import StageScreen
from dpotui.widgets.card import Card
from dpotui.widgets.charts import Charts
from dpotui.widgets.checklist import ChecklistTree
from dpotui.widgets.log import Log
from dpotui.widgets.rowview import RowView
from dpotui.widgets.table import Table
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene


async def test_modes_keep_their_place(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        for mode, key in {
            "Stage": "2",
            "Gates": "3",
            "Runs": "4",
            "Data": "5",
            "Hardware": "7",
            "Report": "8",
            "Plan": "1",
        }.items():
            await pilot.press(key)
            assert mode == app.mode_screen.MODE
        await pilot.press("2", "tab", "1", "2")
        assert app.mode_screen.pane == "charts"


async def test_stages_are_walked_with_brackets_and_arrows(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("2")
        screen = app.mode_screen
        assert isinstance(screen, StageScreen)
        assert screen.stage == 5  # that of the live run
        await pilot.press("right_square_bracket", "right")
        assert screen.stage == 7
        await pilot.press("right")
        assert screen.stage == 0
        await pilot.press("left", "left_square_bracket", "left")
        assert screen.stage == 5
        await pilot.press("slash", *"kl", "left", "x")
        assert screen.stage == 5
        assert screen.query_one(Input).value == "kxl"


async def test_the_status_line_says_it_all(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        for key in "123457":
            await pilot.press(key)
            await scene.settled(pilot)
            status = scene.words(app).splitlines()[0]
            for word in ("demo", "stage 5", "dpo-002", "training", "412/1000 41%", "eta", "engine ok"):
                assert word in status


async def test_the_palette_goes_to_a_stage_and_an_item(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("ctrl+p", *"stage 1")
        await pilot.pause(0.4)
        await pilot.press("enter")
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Stage")
        assert app.mode_screen.stage_shown() == 1
        await pilot.press("ctrl+p", *"best checkpoint")
        await pilot.pause(0.4)
        await pilot.press("enter")
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Plan")
        tree = app.mode_screen.query_one(ChecklistTree)
        await scene.until(pilot, lambda: tree.item is not None and tree.item.id == "dpo.best")


async def test_gates_are_found_and_opened(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("3", "slash", *"retention", "enter")
        await scene.until(pilot, lambda: "Pair Count" not in scene.words(app))
        await pilot.press("enter")
        assert app.mode_screen.pane == "gate"
        assert "eval.retention has not been measured" in scene.words(app)
        await pilot.press("escape")
        assert app.mode_screen.pane == "gates"


async def test_a_gate_that_turns_is_told(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        facts.record(busy.db, Fact("dpo.kl_divergence", 0.08, run="dpo-002", time=scene.NOW))
        await scene.until(pilot, lambda: "PASS  KL Divergence 0.0800 (≤0.1), was FAIL" in scene.told(app))


async def test_runs_are_filtered_and_opened(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("4", "slash", *"failed", "enter")
        await scene.until(pilot, lambda: "sft-001" not in scene.words(app))
        await scene.settled(pilot)
        await pilot.press("enter")
        await scene.until(pilot, lambda: "loss is NaN at step 31" in scene.words(app))
        await pilot.press("escape", "o")
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Stage")


async def test_charts_zoom_smooth_and_log(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("2", "tab")
        await scene.settled(pilot)
        assert "margin" in scene.words(app)
        smooth = scene.words(app)
        await pilot.press("minus", "minus", "minus", "minus")
        await pilot.pause()
        assert scene.words(app) != smooth
        await pilot.press("down", "enter")
        await scene.until(pilot, lambda: "accuracy" not in scene.words(app))
        assert "margin" in scene.words(app)
        await pilot.press("y")
        await scene.until(pilot, lambda: " log" in scene.words(app))


@pytest.mark.parametrize(
    "owner",
    [
        Workbench,
        PlanScreen,
        StageScreen,
        GatesScreen,
        RunsScreen,
        HardwareScreen,
        NarrowsRows,
        FindsRows,
        DataScreen,
        RowView,
        ChecklistTree,
        Charts,
        Log,
        Table,
        Card,
    ],
)
def test_every_binding_has_an_id_and_an_action(owner: Any) -> None:
    ids = set()
    for binding in owner.BINDINGS:
        assert isinstance(binding, Binding)
        name = binding.action.split("(")[0]
        assert hasattr(owner, f"action_{name}"), binding
        assert binding.id and binding.id not in ids
        ids.add(binding.id)
        # Keys that a shell, screen or tmux takes for itself.
        assert not {"ctrl+b", "ctrl+a", "ctrl+s", "ctrl+z"} & set(binding.key.split(","))


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_the_footer_fits_and_keys_are_all_listed(busy: Scene, size: tuple[int, int]) -> None:
    async with scene.bench(busy.workspace).run_test(size=size) as pilot:
        app = await scene.settled(pilot)
        for key in "123457":
            await pilot.press(key)
            await scene.settled(pilot)
            await pilot.pause()
            footer = scene.words(app).splitlines()[-1]
            assert footer.endswith("tab Pane  ? Keys  q Leave"), footer
            shown = {b.binding.id for b in app.screen.active_bindings.values() if b.binding.id}
            await pilot.press("question_mark")
            card = app.screen.query_one(Card)
            listed = " ".join(entry.text for entry in card._entries)
            for active in app.screen_stack[0].active_bindings.values():
                if active.binding.id in shown and active.binding.description:
                    assert (active.tooltip or active.binding.description) in listed
            await pilot.press("escape")


HOSTILE = "\x1b[31mred\x1b]0;title\x07[bold]x[/bold]\u202eabc\x00漢字 \x9b2J"


async def test_hostile_text_is_shown_as_text(empty: Scene) -> None:
    run = scene.add_run(empty.db, "dpo", state="running", step=3, steps=9, phase=HOSTILE, name=HOSTILE)
    scene.add_metrics(empty.db, run, 5)
    scene.add_log(empty.db, run, HOSTILE, "[link=file:///etc/passwd]click[/link]")
    facts.record(empty.db, Fact("dpo.kl_divergence", 0.2, run=run, source=HOSTILE, text=HOSTILE))
    runs.update(empty.db, run, error=HOSTILE, hint=HOSTILE)
    for size in ((80, 24), (200, 60)):
        async with scene.bench(empty.workspace).run_test(size=size) as pilot:
            app = await scene.settled(pilot)
            for keys in (
                ["1"],
                ["2"],
                ["tab"],
                ["tab"],
                ["tab"],
                ["3"],
                ["tab"],
                ["4"],
                ["tab"],
                ["ctrl+p", *"dpo-001"],
            ):
                await pilot.press(*keys)
                await pilot.pause(0.1)
                shown = scene.words(app)
                assert not [c for c in shown if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e")]
                assert all(strip.cell_length == size[0] for strip in app.screen._compositor.render_strips())


async def test_q_leaves(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running
    assert runs.get(busy.db, "dpo-002").state == "running"


async def test_a_gates_file_that_cannot_be_read_is_said(empty: Scene) -> None:
    (empty.workspace.configs / "gates.yaml").write_text("gates: 3\n")
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("3")
        await scene.until(pilot, lambda: "gates.yaml" in scene.words(app))


async def test_any_size_is_borne(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        for key in "123457":
            await pilot.press(key)
            await scene.settled(pilot)
            for size in ((200, 60), (20, 5), (1, 1), (119, 24), (120, 24), (300, 100), (80, 24)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
                strips = app.screen._compositor.render_strips()
                assert (len(strips), {strip.cell_length for strip in strips}) == (size[1], {size[0]})
        await pilot.press("2", "tab")
        await pilot.resize_terminal(200, 60)
        await scene.settled(pilot)
        for title in ("Checklist", "Charts", "Gates", "Log"):
            assert f"─ {title} ─" in scene.words(app)


async def test_a_workspace_that_goes_away_ends_the_client_in_words(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        busy.db.execute("PRAGMA foreign_keys = OFF")
        busy.db.execute("DROP TABLE facts")
        await scene.until(pilot, lambda: not app.is_running)
    assert app.return_code == 2


@pytest.mark.parametrize(("height", "room"), [(24, 3), (60, 8)])
async def test_notices_leave_room_for_what_one_works_on(empty: Scene, height: int, room: int) -> None:
    app = scene.bench(empty.workspace)
    async with app.run_test(size=(80, height), notifications=True) as pilot:
        await scene.settled(pilot)
        app.say("a gate failed", "warning")
        for number in range(12):
            app.say(f"run {number} finished")
        await scene.until(pilot, lambda: "run 11 finished" in scene.told(app))
        assert len(scene.told(app)) == room
        assert scene.told(app)[0] == "a gate failed"
        await scene.until(pilot, lambda: len(app.screen.query("Toast")) == room)
