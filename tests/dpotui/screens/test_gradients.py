"""The gradients of a run: asked for when it trains, waited for in words, laid out for the room that there is."""

from __future__ import annotations

import math
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

from core.store import Database, commands, gradients, runs
from dpotui import theme as themes
from dpotui.app import Workbench
from dpotui.screens.gradients import GradientLines, GradientsScreen
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

KINDS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
         "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip
WIDE, NARROW = (200, 60), (80, 24)


def norms(layers: int = 4, factor: float = 1.0) -> dict[str, float]:
    return {
        f"model.layers.{layer}.{kind}": factor * (1 + layer) * (0.01 + 0.02 * place)
        for layer in range(layers)
        for place, kind in enumerate(KINDS)
    }


def training(found: Scene) -> str:
    return next(run.id for run in runs.listing(found.db, states=("running",)))


async def opened(pilot: Pilot[None], run: str) -> GradientsScreen:
    app = await scene.settled(pilot)
    screen = GradientsScreen(run)
    await app.push_screen(screen)
    await pilot.pause()
    return screen


def measure(found: Scene, run: str, step: int, factor: float = 1.0, **changes: float) -> None:
    gradients.record(found.db, run, step, {**norms(factor=factor), **changes})


def table_of(app: Workbench) -> list[str]:
    lines = app.screen.query_one(GradientLines)
    return [lines.render_line(y).text for y in range(lines.size.height)]


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_it_is_asked_and_shown_when_it_comes(busy: Scene, size: tuple[int, int]) -> None:
    run = training(busy)
    app = scene.bench(busy.workspace)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, run)
        (command,) = commands.pending(busy.db, run)
        assert (command.verb, command.who) == ("gradients", "ana")
        assert "the next step is measured; now: training" in scene.prose(app)
        assert "none of its steps was measured yet" in scene.prose(app)
        measure(busy, run, 413)
        commands.answer(busy.db, command.id, "gradient norms of step 413 measured: 28 modules")
        await scene.until(pilot, lambda: "step 413, 1 of 1: " in scene.prose(app))
        assert "gradient norms of step 413 measured: 28 modules" in scene.prose(app)
        assert "q_proj" in scene.words(app)
        assert app.screen.query_one(GradientLines).has_focus


async def test_layers_by_kinds_where_there_is_room(busy: Scene) -> None:
    run = training(busy)
    measure(busy, run, 400)
    app = scene.bench(busy.workspace)
    async with app.run_test(size=WIDE) as pilot:
        await opened(pilot, run)
        lines = table_of(app)
        head = next(line for line in lines if "q_proj" in line and "down_proj" in line)
        assert head.split()[:2] == ["layer", "q_proj"]
        assert head.split()[-4:] == ["norm", "share", "×", "before"]
        rows = [line.split() for line in lines if line.split()[:1] in (["0"], ["1"], ["2"], ["3"])]
        assert [row[0] for row in rows] == ["0", "1", "2", "3"]
        assert rows[0][1:3] == ["0.0100", "0.0300"]
        await pilot.press("s")
        lines = table_of(app)
        assert [line.split()[0] for line in lines if line.split()[:1] in (["0"], ["1"], ["2"], ["3"])] == list("3210")
        assert "largest first" in scene.prose(app)


async def test_a_list_where_there_is_not(busy: Scene) -> None:
    run = training(busy)
    measure(busy, run, 400)
    app = scene.bench(busy.workspace)
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot, run)
        found = scene.words(app)
        assert "0 self_attn.q_proj" in found
        assert "━" in found
        await pilot.press("s")
        first = next(line for line in scene.words(app).splitlines() if "_proj" in line)
        assert "3 mlp.down_proj" in first


async def test_earlier_steps_and_what_became_of_them(busy: Scene) -> None:
    run = training(busy)
    measure(busy, run, 300)
    measure(busy, run, 400, 2.0)
    app = scene.bench(busy.workspace)
    async with app.run_test(size=WIDE) as pilot:
        await opened(pilot, run)
        assert "step 400, 2 of 2: " in scene.prose(app)
        assert "×2" in scene.words(app)
        await pilot.press("<")
        assert "step 300, 1 of 2: " in scene.prose(app)
        assert "×2" not in scene.words(app)
        await pilot.press("<", ">")
        assert "step 400, 2 of 2: " in scene.prose(app)


@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_what_is_no_number_is_seen_at_once(busy: Scene, size: tuple[int, int]) -> None:
    run = training(busy)
    measure(busy, run, 400, **{"model.layers.2.self_attn.v_proj": math.nan})
    app = scene.bench(busy.workspace)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, run)
        assert "NO NUMBER in 1 of 28 modules: 2 self_attn.v_proj" in scene.prose(app)
        await pilot.press("s")
        rows = [line for line in scene.words(app).splitlines() if "!! NaN" in line]
        assert rows
        lines = scene.words(app).splitlines()
        assert lines.index(rows[0]) < 12  # above all others


async def test_a_run_that_is_over_is_not_asked(busy: Scene) -> None:
    run = training(busy)
    measure(busy, run, 400)
    runs.update(busy.db, run, state="finished")
    app = scene.bench(busy.workspace)
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot, run)
        assert commands.pending(busy.db, run) == []
        assert f"{run} is finished: no step follows to be measured" in scene.prose(app)
        assert "step 400, 1 of 1: " in scene.prose(app)
        await pilot.press("G")
        assert f"{run} is finished: there is no step whose gradients could be measured" in scene.prose(app)


async def test_a_paused_run_says_what_it_waits_for(busy: Scene) -> None:
    run = training(busy)
    runs.update(busy.db, run, state="paused")
    app = scene.bench(busy.workspace)
    async with app.run_test(size=NARROW) as pilot:
        await opened(pilot, run)
        assert "measured once dpo-002, which is paused, goes on (r)" in scene.prose(app)
        # What was asked is not asked twice.
        await pilot.press("G", "G")
        assert len(commands.pending(busy.db, run)) == 1


class Alone(App[None]):
    """The program as far as this screen needs it, with nothing behind it that looks otherwise tomorrow."""

    who = "ana"

    def __init__(self, db: Database, run: str) -> None:
        super().__init__()
        self.db, self.run_shown = db, run
        for own in themes.THEMES:
            self.register_theme(own)
        self.theme = themes.DARK.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.DEFAULTS

    def on_mount(self) -> None:
        self.push_screen(GradientsScreen(self.run_shown))


@pytest.mark.parametrize("size", ["narrow", "wide"])
def test_how_it_looks(busy: Scene, snap_compare: Any, size: str) -> None:
    run = training(busy)
    measure(busy, run, 300)
    measure(busy, run, 400, 1.3, **{"model.embed_tokens": 0.2})
    runs.update(busy.db, run, state="stopped")
    assert snap_compare(Alone(busy.db, run), terminal_size=NARROW if size == "narrow" else WIDE)
