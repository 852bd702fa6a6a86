"""The stage of a run: charts read by cursor, zoomed, laid over past runs; which run is in hand; why one failed."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from core.store import Database, commands, metrics, runs, samples, transaction
from core.store.samples import Sample
from dpotui.screens.pick_run import PickRun
from dpotui.screens.stage import StageScreen
from dpotui.screens.start import Start
from dpotui.widgets.charts import Charts
from dpotui.widgets.table import Table
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

RUN = "dpo-002"
SIZES = {"narrow": (80, 24), "wide": (200, 60)}


def past_runs(db: Database, count: int = 3) -> None:
    """Runs that finished before the one in training."""
    for index in range(count):
        at = scene.NOW - 5000 + 10 * index
        run = scene.add_run(db, "dpo", state="finished", step=300, steps=300, created=at, started=at, ended=at + 9)
        scene.add_metrics(db, run, 300, seed=10 + index)


async def at_charts(pilot: Pilot[None]) -> Charts:
    app = await scene.settled(pilot)
    await pilot.press("2")
    await scene.settled(pilot)
    screen = app.mode_screen
    assert isinstance(screen, StageScreen)
    screen.pane = "charts"
    await scene.until(pilot, lambda: "loss" in scene.words(app) and screen.query_one(Charts).has_focus)
    return screen.query_one(Charts)


def after(*keys: str) -> Any:
    async def run_before(pilot: Pilot[None]) -> None:
        app = await scene.settled(pilot)
        await at_charts(pilot)
        for key in keys:
            await pilot.press(key)
            await scene.settled(pilot)
        charts = app.mode_screen.query_one(Charts)
        if charts.wanted is not None:
            await scene.until(pilot, lambda: app.snapshot and app.snapshot.watched and app.snapshot.watched.detail)
        app._notifications.clear()
        app._refresh_notifications()
        await pilot.pause(0.05)

    return run_before


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("what", "keys"),
    [
        ("past", ("v", "v")),
        ("cursor", ("left", "shift+left", "left")),
        ("zoomed", ("i", "i", "left", "shift+left", "enter")),
    ],
)
def test_charts(busy: Scene, snap_compare: Any, size: str, what: str, keys: tuple[str, ...]) -> None:
    past_runs(busy.db)
    assert snap_compare(scene.bench(busy.workspace), terminal_size=SIZES[size], run_before=after(*keys))


@pytest.mark.parametrize("size", SIZES)
def test_a_failed_run_says_why_before_all_else(busy: Scene, snap_compare: Any, size: str) -> None:
    scene.add_metrics(busy.db, "dpo-001", 31)
    scene.add_log(busy.db, "dpo-001", "Traceback (most recent call last):\n  File x\nValueError: nan", level="error")
    assert snap_compare(scene.bench(busy.workspace), terminal_size=SIZES[size], run_before=after("left_curly_bracket"))


@pytest.mark.parametrize("size", SIZES)
def test_a_stage_without_a_run(empty: Scene, snap_compare: Any, size: str) -> None:
    async def run_before(pilot: Pilot[None]) -> None:
        app = await scene.settled(pilot)
        (await app.open_stage(5)).pane = "charts"
        await scene.settled(pilot)

    assert snap_compare(scene.bench(empty.workspace), terminal_size=SIZES[size], run_before=run_before)


async def test_arrows_belong_to_the_charts_and_turn_stages_from_the_checklist(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        charts = await at_charts(pilot)
        app = await scene.settled(pilot)
        screen = app.mode_screen
        assert isinstance(screen, StageScreen)
        await pilot.press("left", "left", "left")
        assert screen.stage == 5
        assert "loss at step 4" in scene.prose(app)
        before = scene.words(app)
        await pilot.press("shift+left")
        await pilot.pause()
        assert scene.words(app) != before
        await pilot.press("escape")
        await pilot.pause()
        assert charts.has_focus  # the first escape puts the cursor away
        assert "at step" not in scene.prose(app)
        await pilot.press("escape")
        assert screen.pane == "checklist"
        await pilot.press("left")
        assert screen.stage == 4


async def test_the_cursor_tells_what_was_written(busy: Scene) -> None:
    with transaction(busy.db):
        metrics.write(busy.db, [(RUN, 412, "loss", 0.123456, 0.0)])
    async with scene.bench(busy.workspace).run_test(size=(200, 60)) as pilot:
        await at_charts(pilot)
        app = await scene.settled(pilot)
        await pilot.press("i", "i", "i", "i", "i", "i")  # until a column of dots is less than a step
        await scene.until(pilot, lambda: app.snapshot and app.snapshot.watched and app.snapshot.watched.detail)
        await pilot.press("left")
        await scene.until(pilot, lambda: "loss at step 412" in scene.prose(app))
        assert "0.123456" in scene.prose(app)
        await pilot.press("left")
        await scene.until(pilot, lambda: "loss at step 411" in scene.prose(app))


async def test_what_is_looked_at_is_there_when_one_comes_back(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        charts = await at_charts(pilot)
        app = await scene.settled(pilot)
        await pilot.press("down", "i", "i", "y", "left", "shift+left")
        await pilot.pause(0.1)
        seen, words = charts.seen, scene.words(app)
        assert seen is not None
        await pilot.press("4")
        await scene.settled(pilot)
        await pilot.press("2")
        await scene.settled(pilot)
        await scene.until(pilot, lambda: scene.words(app) == words)
        assert charts.seen == seen
        await pilot.press("0")
        assert charts.seen is None


async def test_panning_stops_at_the_ends_and_follows_again(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        charts = await at_charts(pilot)
        await pilot.press("i", "i", *["less_than_sign"] * 30)
        assert charts.seen is not None and charts.seen[0] == 0
        await pilot.press(*["greater_than_sign"] * 30)
        assert charts.wanted is not None and charts.wanted[1] is None


async def test_older_runs_are_taken_in_hand_one_by_one(busy: Scene) -> None:
    past_runs(busy.db, 2)
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("2")
        for run in ("dpo-004", "dpo-003", "dpo-001"):
            await pilot.press("left_curly_bracket")
            await scene.until(pilot, lambda run=run: f"\n {run} " in scene.words(app))
        await pilot.press("left_curly_bracket")
        assert "dpo-001 is the first run of this stage" in scene.told(app)
        await pilot.press("right_curly_bracket")
        await scene.until(pilot, lambda: "\n dpo-003 " in scene.words(app))


async def test_a_run_is_picked_among_all_of_the_stage(busy: Scene) -> None:
    past_runs(busy.db, 240)
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        await at_charts(pilot)
        app = await scene.settled(pilot)
        await pilot.press("P")
        dialog = app.screen
        assert isinstance(dialog, PickRun)
        await scene.until(pilot, lambda: dialog.query_one(Table).key == RUN)
        await pilot.press("slash", *"dpo-001")
        assert dialog.focused is dialog.query_one(Input)
        await pilot.press("enter", "enter")
        await scene.until(pilot, lambda: "loss is NaN at step 31" in scene.prose(app))  # older than the picture
        await pilot.press("P")
        await scene.until(pilot, lambda: "dpo-100" in scene.words(app) or app.screen.query_one(Table).rows > 200)
        await pilot.press("slash", *"dpo-10")
        await pilot.press("enter", "space", "down", "space")
        assert scene.words(app).count("[x]") == 2
        await pilot.press("enter")
        await scene.until(
            pilot, lambda: app.snapshot and app.snapshot.watched and len(app.snapshot.watched.beside) == 2
        )


async def test_past_runs_lie_beside_and_go_again(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(200, 60)) as pilot:
        await at_charts(pilot)
        app = await scene.settled(pilot)
        runs.update(busy.db, "dpo-001", archived=scene.NOW)
        await pilot.press("v")
        assert "there is no dpo run before dpo-002: P picks among all" in scene.told(app)
        past_runs(busy.db)
        await pilot.press("v")
        await scene.until(pilot, lambda: "dpo-002 beside dpo-005 ─╯" in scene.words(app))
        assert "a dpo-005" in scene.words(app)
        await pilot.press("v")
        await scene.until(pilot, lambda: "dpo-002 beside dpo-005, dpo-004, dpo-003 ─╯" in scene.words(app))
        await pilot.press("v")
        await scene.until(pilot, lambda: "─ dpo-002 ─╯" in scene.words(app))


async def test_samples_have_a_place_where_the_run_has_some(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(200, 60)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("2")
        await scene.settled(pilot)
        assert "─ Samples ─" not in scene.words(app)
        samples.record(busy.db, [Sample(RUN, 50, "policy", 1, "a prompt", "an answer", "stop", 3)])
        await scene.until(pilot, lambda: "─ Samples ─" in scene.words(app))
        for title in ("Checklist", "Charts", "Gates", "Log"):
            assert f"─ {title} ─" in scene.words(app)
        await pilot.press("left_square_bracket")
        await scene.until(pilot, lambda: "─ Samples ─" not in scene.words(app))


@pytest.mark.parametrize("size", SIZES)
async def test_the_head_tells_speed_memory_time_left_and_the_answer(busy: Scene, size: str) -> None:
    with transaction(busy.db):
        metrics.write(busy.db, [(RUN, 412, "peak_memory_gb", 5.125, 0.0)])
    async with scene.bench(busy.workspace).run_test(size=SIZES[size]) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("2")
        await scene.settled(pilot)
        line = scene.words(app).splitlines()[4]
        assert all(words in line for words in ("dpo-002 training", "loss", "kl", "11.7 ex/s", "5.12 GB"))
        assert "eta 14:09" in (line if size == "wide" else scene.words(app))  # the first line has it, too
        number = commands.send(busy.db, RUN, "checkpoint", "ana")
        await scene.until(pilot, lambda: "waits for the next step" in scene.words(app).splitlines()[4])
        commands.answer(busy.db, number, "wrote checkpoint-413")
        await scene.until(pilot, lambda: "checkpoint: wrote checkpoint-413" in scene.words(app).splitlines()[4])


async def test_points_that_come_are_drawn(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        await at_charts(pilot)
        app = await scene.settled(pilot)
        for value in (3.0, 4.0):
            with transaction(busy.db):
                metrics.write(busy.db, [(RUN, 412 + int(value), "loss", value, 0.0)])
            await scene.until(pilot, lambda value=value: f"{value:.0f}┤" in scene.words(app))


async def test_ascii_terminals_get_ascii_charts(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        charts = await at_charts(pilot)
        app = await scene.settled(pilot)
        app.ascii = True
        charts.show()
        await pilot.pause(0.05)
        rows = [line for line in scene.words(app).splitlines()[5:-1] if line]
        assert rows and all(row.isascii() for row in rows)
        assert sum("*" in row for row in rows) > 5


async def test_what_trains_next_takes_the_place_of_what_was_watched(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        await at_charts(pilot)
        app = await scene.settled(pilot)
        screen = app.mode_screen
        assert isinstance(screen, StageScreen)

        def in_hand(id_: str, state: str) -> bool:
            run = screen.run_in_hand()
            return run is not None and (run.id, run.state) == (id_, state)

        screen.show_run(runs.get(busy.db, RUN))  # as when it is started here
        runs.update(busy.db, RUN, state="finished", ended=scene.NOW)
        await scene.until(pilot, lambda: in_hand(RUN, "finished"))  # nothing else trains
        after = scene.add_run(busy.db, "dpo", state="running", created=scene.NOW, started=scene.NOW)
        await scene.until(pilot, lambda: in_hand(after, "running"))
        runs.update(busy.db, after, state="finished", ended=scene.NOW)
        await scene.until(pilot, lambda: in_hand(after, "finished"))
        # One that was picked when it had ended stays, whatever trains.
        screen.show_run(runs.get(busy.db, RUN))
        last = scene.add_run(busy.db, "dpo", state="running", created=scene.NOW, started=scene.NOW)
        await scene.until(pilot, lambda: app.snapshot and app.snapshot.live and app.snapshot.live.id == last)
        assert in_hand(RUN, "finished")


async def test_the_run_in_hand_is_started_once_more(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        await at_charts(pilot)
        app = await scene.settled(pilot)
        await pilot.press("R")
        await scene.until(pilot, lambda: isinstance(app.screen, Start))
        assert "Start: DPO training" in scene.words(app)
