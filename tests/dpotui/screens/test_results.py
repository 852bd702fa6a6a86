"""The pane Results: only where a stage has something special, read by the poller, silent while nothing changes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from core.errors import UserError
from core.store import facts, metrics, transaction
from core.store.facts import Fact
from dpotui import results
from dpotui.live import Reader
from dpotui.results import Block
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

STAGE = 4


class Provider(ModuleType):
    """Counts how often it is read."""

    def __init__(self) -> None:
        super().__init__("tests.provider")
        self.asked: list[str | None] = []
        self.error: Exception | None = None

    def read(self, db: Any, workspace: Any, run: Any) -> Block | None:
        self.asked.append(run.id if run else None)
        if self.error is not None:
            raise self.error
        known = facts.latest(db).get("reward.validation_accuracy")
        if known is None:
            return None
        return Block(f"of {run.id}", lambda width: [[(f"{known.value} at {width} cells \x1b[31m", "good")]] * 40)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    made = Provider()
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setitem(results.PROVIDERS, STAGE, (made.__name__,))
    return made


def measure(place: Scene, value: float = 71.5) -> str:
    run = scene.add_run(place.db, "reward", state="finished", step=40, steps=40)
    facts.record(place.db, Fact("reward.validation_accuracy", value, "%", run=run, time=scene.NOW))
    return run


def test_it_is_read_when_something_was_measured_and_not_for_each_step(empty: Scene, provider: Provider) -> None:
    run = measure(empty)
    reader = Reader(empty.workspace, lambda: scene.NOW, lambda *_: True)
    first = reader.look(run, stage=STAGE)
    assert first is not None
    assert first.results is not None
    assert [block.title for block in first.results.blocks] == [f"of {run}"]
    assert reader.look(run, stage=STAGE) is None
    with transaction(empty.db):
        metrics.write(empty.db, [(run, 41, "loss", 0.5, scene.NOW)])
    second = reader.look(run, stage=STAGE)
    assert second is not None
    assert second.results is first.results
    assert provider.asked == [run]
    facts.record(empty.db, Fact("reward.validation_accuracy", 72.0, "%", run=run))
    reader.look(run, stage=STAGE)
    assert provider.asked == [run, run]
    third = reader.look(None, stage=5)
    assert third is not None
    assert third.results is not None
    assert third.results.blocks == ()
    reader.close()


def test_a_file_that_cannot_be_read_is_said(empty: Scene, provider: Provider) -> None:
    provider.error = UserError(f"{empty.workspace.root}/outputs/items.jsonl:3: not JSON")
    (block,) = results.read(empty.db, empty.workspace, STAGE, None)
    assert block.lines(60) == [[("outputs/items.jsonl:3: not JSON", "bad")]]


async def test_a_stage_with_results_has_a_pane_more(empty: Scene, provider: Provider) -> None:
    measure(empty)
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await scene.settled(pilot)
        assert "Results" not in scene.words(app)
        await app.open_stage(STAGE)
        await pilot.press("tab", "tab")
        await scene.until(pilot, lambda: "71.5 at 78 cells ␛[31m" in scene.words(app))
        assert "of reward-001" in scene.words(app)
        before = scene.words(app)
        await pilot.press("end")
        await scene.until(pilot, lambda: scene.words(app) != before)
        assert "of reward-001" not in scene.words(app)
        # The next stage has none: one is not left in front of an empty pane.
        await pilot.press("right_square_bracket")
        await scene.until(pilot, lambda: app.mode_screen.pane == "checklist")
        await pilot.press("tab", "tab", "tab")
        assert app.mode_screen.pane == "stage-gates"


@pytest.mark.parametrize(("size", "beside"), [((200, 60), True), ((130, 40), False)])
async def test_on_a_wide_screen_it_stands_beside_or_under_the_charts(
    empty: Scene, provider: Provider, size: tuple[int, int], beside: bool
) -> None:
    measure(empty)
    async with scene.bench(empty.workspace).run_test(size=size) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(5)
        await scene.settled(pilot)
        assert not app.screen.query_one("#results").display
        await app.open_stage(STAGE)
        await scene.until(pilot, lambda: "71.5 at" in scene.words(app))
        charts, shown = (app.screen.query_one(f"#{name}").region for name in ("charts", "results"))
        assert (charts.y == shown.y) is beside
        assert (charts.x == shown.x) is not beside
        assert shown.width >= 74


async def test_where_nothing_is_measured_it_says_so(empty: Scene, provider: Provider) -> None:
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(STAGE)
        await pilot.press("tab", "tab")
        await scene.until(pilot, lambda: "nothing is measured here yet" in scene.words(app))


async def test_an_evaluation_tells_its_share_its_pace_and_its_time_left(empty: Scene) -> None:
    phase = "zoo_facts: answers 42/128, 40.9 items/s, ETA 0:00:02"
    run = scene.add_run(empty.db, "evaluate", state="running", step=16, steps=600, phase=phase)
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_run(run)
        await scene.until(pilot, lambda: "ETA 0:00:02" in scene.words(app))
        # 600 is no number of items.
        assert "600" not in scene.words(app)
        # Nothing is extrapolated from one part to the others, which are of unlike sizes.
        assert "answers 42/128  eta 00:02" in scene.words(app)
        assert scene.words(app).count(" eta ") == 1


async def test_a_queued_run_says_what_it_waits_for(empty: Scene) -> None:
    run = scene.add_run(empty.db, "reward", state="queued")
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_run(run)
        await scene.until(pilot, lambda: "waits for the engine" in scene.words(app))
    first = scene.add_run(empty.db, "sft", state="running", step=1, steps=10)
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_run(run)
        await scene.until(pilot, lambda: f"starts when {first} has ended" in scene.words(app))


@pytest.mark.parametrize(
    ("stage", "told"),
    [(1, "evaluation of the baseline"), (4, "g starts reward model training"), (7, "g starts evaluation of the final")],
)
async def test_an_empty_pane_says_what_measures(empty: Scene, stage: int, told: str) -> None:
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(stage)
        app.mode_screen.pane = "results"
        await scene.until(pilot, lambda: "nothing is measured here yet" in scene.words(app))
        assert told in scene.words(app).split("nothing is measured here yet")[1]


async def test_a_screen_that_grows_makes_room_for_results(empty: Scene, provider: Provider) -> None:
    measure(empty)
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(STAGE)
        await scene.settled(pilot)
        # One pane is seen at a time: turning the stage goes through no rules of style there.
        assert not app.screen.query_one("#panes").has_class("-results")
        await pilot.resize_terminal(200, 60)
        await scene.until(pilot, lambda: "71.5 at" in scene.words(app))
        assert app.screen.query_one("#results").display
        await pilot.resize_terminal(80, 24)
        await scene.until(pilot, lambda: "71.5 at" not in scene.words(app))
        await pilot.press("tab", "tab")
        await scene.until(pilot, lambda: "71.5 at" in scene.words(app))


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("h", "there are no answers to rate yet: g starts an evaluation"),
        ("a", "there are no answers to vote on yet: g starts an evaluation"),
        ("l", "no win rate was measured here yet: g starts an evaluation"),
    ],
)
async def test_a_key_that_has_nothing_to_show_says_what_comes_before_it(empty: Scene, key: str, told: str) -> None:
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(7)
        await scene.settled(pilot)
        await pilot.press(key)
        await scene.until(pilot, lambda: told in scene.told(app))
        assert not app.screen.is_modal
