"""Stage 6 on the screen: the rounds, what is weak, what the rule would do, and a person's decision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.widgets import Input

from core.config import IterateConfig
from core.engine import client
from core.experiments.iterate_plan import read_plan, start
from core.store import facts, iterations, runs
from core.store.facts import Fact
from core.store.iterations import Decided, Iteration
from core.workspace import Workspace
from dpotui.deciding import read_choice
from dpotui.results import iterations as results
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[Workspace]:
    asked: list[Workspace] = []
    monkeypatch.setattr(client, "ensure_engine", asked.append)
    return asked


@pytest.fixture
def rounds(empty: Scene) -> str:
    """Two rounds are done; the second one waits for a decision."""
    db = empty.db
    config = IterateConfig.model_validate({"steps": {"evaluate_file": None}, "score": {"fact": "dpo.preference_gap"}})
    plan = read_plan(empty.workspace, config)
    run = runs.create(db, "iterate", config=plan.snapshot(), config_path="configs/iterate_config.yaml")
    runs.update(
        db, run.id, state="stopped", created=scene.NOW - 900, started=scene.NOW - 900, ended=scene.NOW - 60, step=1,
        steps=3, who="ana", hint="iteration 2 waits for your decision",
    )  # fmt: skip
    iterations.save(db, replace(start(plan, run.id), time=scene.NOW - 900))
    for number, (score, kl) in enumerate(((0.21, 0.031), (0.34, 0.064)), 1):
        part = scene.add_run(db, "dpo", state="finished", ended=scene.NOW - 100 * (3 - number))
        facts.record(db, Fact("dpo.kl_divergence", kl, "nats/token", run=part, time=scene.NOW - 300))
        weak = {"kind": "category", "name": "verse", "text": "lost 7 of 12 on verse"}
        iterations.save(
            db,
            Iteration(
                run.id, number, "checkpoints/sft_baseline", "checkpoints/sft_baseline", "data/pairs.jsonl",
                model=f"outputs/iterate/iteration-{number}/dpo", dpo=part, score=score, low=score - 0.04,
                high=score + 0.04, n=128, why="reward margin", weaknesses=(weak,), time=scene.NOW - 200,
            ),
        )  # fmt: skip
    iterations.carried_out(db, iterations.decide(
        db, Decided(run.id, 1, "continue", 1, True, "margins grow", "ana", time=scene.NOW - 400)
    ))  # fmt: skip
    return run.id


async def stage_6(pilot: Any) -> Any:
    app = await scene.settled(pilot)
    await app.open_stage(6)
    await scene.settled(pilot)
    return app


async def test_the_rounds_and_the_advice_are_shown(empty: Scene, rounds: str) -> None:
    async with scene.bench(empty.workspace).run_test(size=(200, 60)) as pilot:
        app = await stage_6(pilot)
        await scene.until(
            pilot, lambda: "Iterations of iterate-001, compared by dpo.preference_gap" in scene.words(app)
        )
        words = scene.words(app)
        assert "D decides what follows. The rule would continue: still gaining" in words
        assert "weak after iteration 2: lost 7 of 12 on verse" in words
        assert "after iteration 1 ana said continue: margins grow" in words


async def test_a_decision_is_asked_for_kept_and_carried_out_by_an_engine(
    empty: Scene, rounds: str, started: list[Workspace]
) -> None:
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await stage_6(pilot)
        await pilot.press("D")
        await scene.until(pilot, lambda: "Iteration 2 of iterate-001 is done" in scene.prose(app))
        fields = list(app.screen.query(Input))
        assert fields[0].value == "continue"
        fields[0].value = "perhaps"
        await pilot.press("enter")
        await scene.until(pilot, lambda: "'perhaps' is no decision" in scene.prose(app))
        fields[0].value = "rollback 1 continue"
        await pilot.press("enter")
        await scene.until(pilot, lambda: "say why" in scene.prose(app))
        fields[1].value, fields[2].value = "KL doubles", "dpo.training.beta=0"
        await pilot.press("enter")
        await scene.until(pilot, lambda: "training.beta: must be" in scene.prose(app))
        fields[2].value = "dpo.training.beta=0.3"
        await pilot.press("enter")
        await scene.until(pilot, lambda: bool(started))
    made = iterations.decision(empty.db, rounds, 2)
    assert made is not None
    assert (made.choice, made.target, made.goes_on, made.reason) == ("rollback", 1, True, "KL doubles")
    assert made.settings == ("dpo.training.beta=0.3",)
    assert runs.get(empty.db, rounds).state == "queued"


async def test_without_a_round_there_is_nothing_to_decide(empty: Scene) -> None:
    scene.add_run(empty.db, "iterate", state="running")
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await stage_6(pilot)
        await pilot.press("D")
        await scene.until(pilot, lambda: any("no iteration of it is done yet" in said for said in scene.told(app)))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("continue", ("continue", None, False)), (" Stop ", ("stop", None, False)),
        ("rollback", ("rollback", None, False)), ("rollback 2", ("rollback", 2, False)),
        ("rollback to iteration 1", ("rollback", 1, False)), ("rollback start", ("rollback", 0, False)),
        ("rollback to the start continue", ("rollback", 0, True)), ("rollback continue", ("rollback", None, True)),
    ],
)  # fmt: skip
def test_what_is_typed_is_what_is_meant(said: str, found: tuple[str, int | None, bool]) -> None:
    assert read_choice(said) == found


@pytest.mark.parametrize("width", range(20, 130, 7))
def test_every_line_fits_the_pane(empty: Scene, rounds: str, width: int) -> None:
    block = results.read(empty.db, empty.workspace, runs.get(empty.db, rounds))
    assert block is not None
    lines = ["".join(text for text, _ in line) for line in block.lines(width)]
    assert max(map(len, lines)) <= width
    assert any("2" in line and "best" in line for line in lines) or width < 40


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["narrow", "wide"])
def test_how_it_looks(empty: Scene, rounds: str, snap_compare: Any, size: tuple[int, int]) -> None:
    async def open_stage(pilot: Any) -> None:
        app = await stage_6(pilot)
        app.screen.pane = "results"
        await scene.until(pilot, lambda: "Iterations of iterate-001" in scene.words(app))
        await scene.settled(pilot)

    assert snap_compare(scene.bench(empty.workspace), terminal_size=size, run_before=open_stage)
