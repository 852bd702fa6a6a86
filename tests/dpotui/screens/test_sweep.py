"""Sweeps in the terminal: stage 5 shows how one stands, T its trials; one is opened, stopped, promoted."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from core.engine import client
from core.experiments.sweep_standing import standing
from core.store import commands, runs, trials
from core.workspace import templates
from dpotui import sweep_lines
from dpotui.app import Workbench
from dpotui.screens.sweep import SweepScreen
from dpotui.widgets.sweep import TrialTable
from tests.dpotui import scene, sweeps
from tests.dpotui.screens.conftest import Scene

WIDE, NARROW = (200, 60), (80, 24)
SIZES = {"80x24": NARROW, "200x60": WIDE}


@pytest.fixture
def swept(empty: Scene) -> Scene:
    sweeps.add_sweep(empty.workspace, empty.db)
    return empty


async def opened(pilot: Pilot[None]) -> SweepScreen:
    app = await scene.settled(pilot)
    await app.open_stage(5)
    await scene.settled(pilot)
    await pilot.press("T")
    await scene.until(pilot, lambda: isinstance(app.screen, SweepScreen))
    await scene.until(pilot, lambda: app.screen.query_one(TrialTable).key is not None)
    assert isinstance(app.screen, SweepScreen)
    return app.screen


def trial_of(app: Workbench) -> str | None:
    return app.screen.query_one(TrialTable).key


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("view", ["trials", "charts"])
def test_the_trials(swept: Scene, snap_compare: Any, size: str, view: str) -> None:
    async def run_before(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await pilot.press("b")
        if view == "charts":
            await pilot.press("v")
        await pilot.pause()

    assert snap_compare(scene.bench(swept.workspace), terminal_size=SIZES[size], run_before=run_before)


def test_stage_5_shows_the_sweep_of_its_run(swept: Scene, snap_compare: Any) -> None:
    async def run_before(pilot: Pilot[None]) -> None:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await scene.until(pilot, lambda: "Sweep sweep-001" in scene.words(app))
        await scene.settled(pilot)

    assert snap_compare(scene.bench(swept.workspace), terminal_size=WIDE, run_before=run_before)


async def test_results_are_of_stage_5_only_where_a_sweep_is_in_hand(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=NARROW) as pilot:
        app = await scene.settled(pilot)
        stage = await app.open_stage(5)
        await scene.settled(pilot)
        assert "results" not in [pane for _, pane in stage.panes_here]
        assert stage.check_action("trials", ()) is False
        runs.update(busy.db, "dpo-003", state="finished")
        sweeps.add_sweep(busy.workspace, busy.db)
        await scene.until(pilot, lambda: stage.check_action("trials", ()) is True)
        assert "results" in [pane for _, pane in stage.panes_here]


async def test_the_status_line_speaks_of_the_sweep_and_its_trial(swept: Scene) -> None:
    async with scene.bench(swept.workspace).run_test(size=NARROW) as pilot:
        app = await scene.settled(pilot)
        assert "sweep-001 7/12 › dpo ●" in scene.words(app).splitlines()[0]
        assert app.snapshot is not None
        assert app.snapshot.stage == 5


async def test_a_trial_is_chosen_looked_at_and_opened(swept: Scene) -> None:
    async with scene.bench(swept.workspace).run_test(size=WIDE) as pilot:
        screen = await opened(pilot)
        app = screen.bench
        # The trial whose run was in hand, which is the live one.
        assert trial_of(app) == "8"
        await pilot.press("b")
        assert trial_of(app) == "5"
        assert "★ best: trial 5, 0.88" in scene.words(app)
        await pilot.press("home", "enter")
        await pilot.pause()
        assert "training.learning_rate" in scene.words(app)
        assert "step 20" in scene.words(app)
        await pilot.press("escape")
        await pilot.press("n")
        await pilot.press("home", "o")
        await scene.until(pilot, lambda: app.mode_screen.run_in_hand().id == "dpo-001")  # type: ignore[attr-defined]


async def test_one_trial_is_stopped_or_all_of_them(swept: Scene) -> None:
    async with scene.bench(swept.workspace).run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        app = screen.bench
        await pilot.press("b", "s")
        await pilot.pause()
        assert "trial 5 is not running" in " ".join(scene.told(app))
        await pilot.press("n", "end", "s", "y")
        await pilot.pause()
        assert [(c.run, c.verb, c.who) for c in commands.pending(swept.db, "dpo-008")] == [("dpo-008", "stop", "ana")]
        assert commands.pending(swept.db, "sweep-001") == []
        await pilot.press("S", "y")
        await pilot.pause()
        assert [c.verb for c in commands.pending(swept.db, "sweep-001")] == ["stop"]


async def test_a_trial_is_promoted_from_here(swept: Scene) -> None:
    file = swept.workspace.configs / "dpo_config.yaml"
    async with scene.bench(swept.workspace).run_test(size=NARROW) as pilot:
        screen = await opened(pilot)
        app = screen.bench
        await pilot.press("n", "home", "down", "w")
        await pilot.pause()
        assert "trial 2 of sweep-001 is failed" in " ".join(" ".join(scene.told(app)).split())
        await pilot.press("b", "w")
        await scene.until(pilot, lambda: "training.beta: 0.1 → 0.18" in scene.words(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: isinstance(app.screen, SweepScreen))
        assert "beta: 0.18\n" in file.read_text()
        assert file.read_text().startswith("# of the team\n")


async def test_resuming_a_lost_trial_resumes_its_sweep(swept: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ensure_engine", lambda workspace: None)
    for run in ("sweep-001", "dpo-008"):
        runs.update(swept.db, run, state="interrupted")
    of = standing(swept.db, runs.get(swept.db, "sweep-001"))
    assert ("○ interrupted  ", "warn") in [span for line in sweep_lines.table(of, 78, 9) for span in line]
    async with scene.bench(swept.workspace, alive=False).run_test(size=NARROW) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await scene.settled(pilot)
        await pilot.press("r")
        await pilot.pause()
    assert (runs.get(swept.db, "sweep-001").state, runs.get(swept.db, "dpo-008").state) == ("queued", "interrupted")


async def test_a_trial_that_ends_is_shown_without_a_key(swept: Scene) -> None:
    async with scene.bench(swept.workspace).run_test(size=WIDE) as pilot:
        screen = await opened(pilot)
        assert "★ best: trial 5" in scene.words(screen.bench)
        trials.end(swept.db, trials.get(swept.db, "sweep-001", 8), "complete", value=0.97, kl=0.05)
        await scene.until(pilot, lambda: "★ best: trial 8, 0.97" in scene.words(screen.bench))


async def test_a_sweep_is_started_from_stage_5(swept: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(client, "ensure_engine", started.append)
    text = (templates() / "sweep_config.yaml").read_text().replace("validation/win_rate", "eval_rewards/margins")
    (swept.workspace.configs / "sweep_config.yaml").write_text(text)
    async with scene.bench(swept.workspace).run_test(size=(100, 30)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await scene.settled(pilot)
        await pilot.press("g", "ctrl+t")
        await scene.until(pilot, lambda: "up to 12 trials, bayes" in scene.prose(app))
        await scene.until(pilot, lambda: "grows with training.beta by itself" in scene.prose(app))
        app.screen.query_one("#overrides", Input).value = "training.max_steps=zero"
        await scene.until(pilot, lambda: "max_steps" in scene.prose(app) and "whole number" in scene.prose(app))
        app.screen.query_one("#overrides", Input).value = "training.max_steps=40"
        await scene.until(pilot, lambda: "whole number" not in scene.prose(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: bool(started))
    made = runs.get(swept.db, "sweep-002")
    assert (made.state, made.steps, made.config["base"]["training"]["max_steps"]) == ("queued", 12, 40)


def test_lines_hold_in_any_room(swept: Scene) -> None:
    from rich.cells import cell_len

    of = standing(swept.db, runs.get(swept.db, "sweep-001"))
    for width in (24, 40, 78, 150):
        for lines in (
            sweep_lines.head(of, width),
            sweep_lines.best_so_far(of, width, 6),
            sweep_lines.importances(of, width),
            sweep_lines.parallel(of, width, 9, 4),
        ):
            assert max(sum(cell_len(text) for text, _ in line) for line in lines) <= width + 2
    drawn = ["".join(text for text, _ in line) for line in sweep_lines.best_so_far(of, 60, 8)]
    assert sum(line.count("×") for line in drawn) == 1, "beyond the KL limit"
    assert sum(line.count("★") for line in drawn) == 2, "each that became the best"
