"""The pane of samples in a stage: there where the stage's run is sampled, and not where there is nothing to see."""

from __future__ import annotations

import pytest

from core.store import runs, samples
from core.store.samples import Sample
from dpotui.screens.stage import StageScreen
from dpotui.widgets.samples import Samples
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene


def sampled(found: Scene, kind: runs.Kind) -> str:
    run = next(run.id for run in runs.listing(found.db, kind=kind))
    for step in (0, 100):
        samples.record(found.db, [Sample(run, step, "policy", 1, "What do owls eat?", f"mice at {step}", "stop", 3)])
    return run


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
@pytest.mark.parametrize(("stage", "kind"), [(1, "sft"), (5, "dpo")])
async def test_what_a_run_wrote_is_a_pane_of_its_stage(
    busy: Scene, stage: int, kind: runs.Kind, size: tuple[int, int]
) -> None:
    sampled(busy, kind)
    app = scene.bench(busy.workspace)
    async with app.run_test(size=size) as pilot:
        await scene.settled(pilot)
        screen = await app.open_stage(stage)
        await scene.settled(pilot)
        screen.pane = "samples"
        await scene.until(pilot, lambda: screen.query_one(Samples).step == 100)
        # Results of the stage come first where there is not room for both.
        if not screen.query_one("#panes").has_class("-results"):
            await scene.until(pilot, lambda: "mice at 100" in scene.words(app))


async def test_on_a_wide_screen_no_key_leads_to_a_pane_that_is_not_seen(busy: Scene) -> None:
    app = scene.bench(busy.workspace)
    async with app.run_test(size=(200, 60)) as pilot:
        await scene.settled(pilot)
        screen = await app.open_stage(5)
        await scene.settled(pilot)
        assert isinstance(screen, StageScreen)
        assert "samples" not in [id_ for _, id_ in screen.panes_here]
        sampled(busy, "dpo")
        await scene.until(pilot, lambda: "samples" in [id_ for _, id_ in screen.panes_here])
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        screen = await app.open_stage(4)
        await scene.settled(pilot)
        assert "samples" not in [id_ for _, id_ in screen.panes_here]
