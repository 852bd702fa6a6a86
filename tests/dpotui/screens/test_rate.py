"""Rating on screen: blind, a key a mark, notes, undo, resize; from the stage and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from core.evaluation.ratings.session import Session
from core.evaluation.ratings.source import source_of
from core.store import artifacts, facts, ratings, runs, ticks
from core.store.ratings import Rating as Mark
from dpotui.app import Workbench
from dpotui.screens.rate import RateScreen, Rating
from dpotui.screens.rate_lines import digits, mark_of
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

FILE = "outputs/evaluation/answers.jsonl"
FINAL, BASELINE = "outputs/dpo-exp-001", "checkpoints/sft_baseline"
_LONG = "\n".join(f"Step {n}: pour water number {n} over the leaves and wait." for n in range(1, 41))
_CHAT = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "What is tea?"},
    {"role": "assistant", "content": "A drink of leaves."},
    {"role": "user", "content": "Which one should I buy for my aunt, who drinks little of it?"},
]
_HOSTILE = "\x1b]0;x\x07[red]Assam[/red] \x1b[2J\u202eevil"
ROWS: list[dict[str, Any]] = [
    {"prompt": _CHAT, "responses": [{"text": "A mild green tea.", "model": FINAL}, {"text": "", "model": BASELINE}]},
    {
        "prompt": "Name \x1b[31mone\x07 [bold]tea[/bold] \u202e",
        "responses": [{"text": _LONG, "model": FINAL}, {"text": _HOSTILE, "model": BASELINE}],
    },
    {
        "prompt": "\n".join(f"line {n}" for n in range(30)),
        "responses": [{"text": "Assam", "model": FINAL}, {"text": "Darjeeling", "model": BASELINE}],
    },
]


@pytest.fixture
def evaluated(empty: Scene) -> Scene:
    path = empty.workspace.path(FILE)
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    config = {"model": {"final": FINAL, "baseline": BASELINE}, "logging": {"output_dir": "outputs/evaluation"}}
    config["alignment_evaluation"] = {"preference_validation": {"test_set": "data/test.jsonl"}}
    run = runs.create(empty.db, "evaluate", config=config, seed=42)
    at = scene.NOW - 100
    runs.update(empty.db, run.id, state="finished", output_dir="outputs/evaluation", created=at, started=at, ended=at)
    artifacts.record(empty.db, run.id, "answers", FILE, "ab" * 32, 1)
    return empty


class Clock:
    """Ten seconds between two looks."""

    def __init__(self) -> None:
        self.now = scene.NOW

    def __call__(self) -> float:
        self.now += 10
        return self.now


def bench(evaluated: Scene, rating: Rating) -> Workbench:
    def opening(app: Workbench) -> None:
        app.push_screen(RateScreen(rating, leaves_program=True, clock=Clock()))

    return Workbench(evaluated.workspace, clock=lambda: scene.NOW, probe=lambda w, db: True, who="ana", opening=opening)


async def begun(pilot: Pilot[None]) -> Session:
    app = pilot.app
    assert isinstance(app, Workbench)
    await scene.until(pilot, lambda: isinstance(app.screen, RateScreen) and app.screen.session is not None)
    await pilot.pause()
    assert isinstance(app.screen, RateScreen)
    assert app.screen.session is not None
    return app.screen.session


async def turn_to(pilot: Pilot[None], answer: str) -> Session:
    """Skip until an answer is in hand."""
    session = await begun(pilot)
    while session.key is not None and session.answer != answer:
        await pilot.press("s")
    assert session.key is not None
    await pilot.pause()
    return session


@pytest.mark.parametrize(
    ("answer", "size"),
    [(_LONG, (200, 60)), (_HOSTILE, (80, 24))],
    ids=["long-wide", "hostile-narrow"],
)
def test_how_it_looks(evaluated: Scene, snap_compare: Any, answer: str, size: tuple[int, int]) -> None:
    async def run_before(pilot: Pilot[None]) -> None:
        await turn_to(pilot, answer)
        await pilot.press("n", *"too long", "enter", "7")
        await pilot.pause()

    assert snap_compare(bench(evaluated, Rating(None, "ana")), terminal_size=size, run_before=run_before)


def test_how_the_end_looks(evaluated: Scene, snap_compare: Any) -> None:
    async def run_before(pilot: Pilot[None]) -> None:
        await begun(pilot)
        await pilot.press(*"787", *"x99", *"sss", *"123")
        await pilot.pause()

    assert snap_compare(bench(evaluated, Rating(None, "ana")), terminal_size=(80, 24), run_before=run_before)


async def test_it_is_blind_and_hostile_text_is_text(evaluated: Scene) -> None:
    app = bench(evaluated, Rating(None, "ana"))
    async with app.run_test(size=(200, 60)) as pilot:
        session = await begun(pilot)
        heads = set()
        while session.key is not None:
            shown = scene.words(app)
            for word in (FINAL, BASELINE, "dpo-exp", "sft_", "final", "baseline", "answers.jsonl", "evaluate-001"):
                assert word not in shown
            assert "\x1b" not in shown
            assert "\u202e" not in shown
            lines = shown.splitlines()
            heads.add(next(line for line in lines if " Answer ─" in line)[:10])
            if session.answer == _HOSTILE.strip():
                assert "[red]Assam[/red] ␛[2J�evil" in shown
            if session.answer == "":
                assert "(the answer is empty)" in shown
            await pilot.press("s")
            await pilot.pause()
        assert heads == {" Answer ──"}


async def test_a_digit_is_a_mark_and_goes_on(evaluated: Scene) -> None:
    app = bench(evaluated, Rating(None, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        session = await begun(pilot)
        first = session.key
        await pilot.press("8")
        await pilot.pause()
        assert "▌harmlessness▐" in scene.words(app)
        assert "saved: helpfulness 8" in scene.words(app)
        await pilot.press("0", "x")
        given = [(one.key, one.criterion, one.mark) for one in ratings.of_file(evaluated.db, FILE, "ana")]
        assert given == [(first, "helpfulness", 8), (first, "harmlessness", 10), (first, "honesty", None)]
        assert session.key != first
        await pilot.press("u", "left", "3")
        await pilot.pause()
        assert session.key == first
        assert session.marks == {"helpfulness": 8, "harmlessness": 3}
        assert session.criterion == 2
        await pilot.press("5", *"111" * 5)
        await pilot.pause()
        assert "Done: ana has seen all 6 answers." in scene.words(app)
        await pilot.press("5", "x", "n")  # nothing is in hand
        assert len(ratings.of_file(evaluated.db, FILE)) == 18


async def test_a_burst_of_keys_is_answered_in_its_order(evaluated: Scene) -> None:
    """Over a slow line a note and what follows it come at once; none of its digits is a mark."""
    app = bench(evaluated, Rating(None, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot)
        for key in ["4", "n", *"3 of 10x", "backspace", "enter", "6"]:
            app.post_message(events.Key("space" if key == " " else key, key if len(key) == 1 else None))
        await scene.until(pilot, lambda: len(ratings.of_file(evaluated.db, FILE)) == 3)
        said = {one.criterion: (one.mark, one.note) for one in ratings.of_file(evaluated.db, FILE)}
        assert said == {"helpfulness": (4, ""), "": (None, "3 of 10"), "harmlessness": (6, "")}


async def test_long_answers_and_prompts_scroll_and_a_resize_keeps_all(evaluated: Scene) -> None:
    app = bench(evaluated, Rating(None, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        session = await turn_to(pilot, _LONG)
        await pilot.press("7")
        assert "Step 40:" not in scene.words(app)
        await pilot.press("end")
        await pilot.pause()
        assert "Step 40:" in scene.words(app)
        for size in ((40, 12), (200, 60), (30, 6), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert session.marks == {"helpfulness": 7}
        assert "▌harmlessness▐" in scene.words(app)
        assert "over the leaves and wait" in scene.words(app)
        await pilot.press("q")
    (mine,) = ratings.tally(ratings.of_file(evaluated.db, FILE))
    assert mine.marks == 1


async def test_the_prompt_unfolds(evaluated: Scene) -> None:
    app = bench(evaluated, Rating(None, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        await turn_to(pilot, "Assam")
        assert "p shows all of it" in scene.words(app)
        assert "line 19" not in scene.words(app)
        await pilot.press("p", "end")
        await pilot.pause()
        assert "line 29" in scene.words(app)
        await pilot.press("p")
        await pilot.pause()
        assert "\n Assam\n" in scene.words(app)


async def test_a_mark_that_is_not_on_the_scale_is_refused(evaluated: Scene) -> None:
    path = evaluated.workspace.configs / "eval_config.yaml"
    path.write_text(path.read_text().replace('scale: "1-10"', 'scale: "1-5"'))
    app = bench(evaluated, Rating(None, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        session = await begun(pilot)
        await pilot.press("6", "0")
        await pilot.pause()
        assert "no mark: 1-5" in scene.words(app)
        assert session.marks == {}


async def test_from_the_stage_to_the_facts(evaluated: Scene) -> None:
    app = scene.bench(evaluated.workspace)
    async with app.run_test(size=(200, 60)) as pilot:
        await scene.settled(pilot)
        await pilot.press("2")
        while app.mode_screen.stage_shown() != 7:
            await pilot.press("right_square_bracket")
            await scene.settled(pilot)
        await scene.until(pilot, lambda: "nobody has rated these answers yet" in scene.words(app))
        await pilot.press("h")
        await scene.until(pilot, lambda: "Who rates?" in scene.words(app))
        await pilot.press(*"ben", "enter")
        session = await begun(pilot)
        assert session.who == "ben"
        await pilot.press(*"768" * 4, "q")
        await scene.until(pilot, lambda: "eval.human_score" in facts.latest(evaluated.db))
        await scene.until(pilot, lambda: "1 rater (ben)" in scene.words(app))
        assert f"saved: 12 marks of ben on {FILE}" in " ".join(scene.told(app))


async def test_the_assessment_is_written_at_the_end(evaluated: Scene) -> None:
    (evaluated.workspace.checklists / "7-eval.md").write_text(
        "# Stage 7: Evaluation <!-- id: eval -->\n\n- [ ] Qualitative assessment: _____ <!-- id: eval.qualitative -->\n"
    )
    app = bench(evaluated, Rating(None, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        session = await begun(pilot)
        await pilot.press("n", *"thin", "enter", *"s" * 6, "w")
        await scene.until(pilot, lambda: "· thin" in scene.words(app))
        await pilot.press(*"Fluent", "enter")
        await scene.until(pilot, lambda: bool(ticks.get(evaluated.db, "eval.qualitative").values))
        assert ticks.get(evaluated.db, "eval.qualitative").values == ("Fluent",)
        assert session.key is None


async def test_what_cannot_be_rated_is_said(empty: Scene, tmp_path: Path) -> None:
    app = bench(empty, Rating(None, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.until(pilot, lambda: "no evaluation has written answers yet" in scene.prose(app))
        await pilot.press("5", "u", "n", "s", "escape")
    assert ratings.of_file(empty.db, FILE) == []


@pytest.mark.parametrize(
    ("scale", "key", "mark"),
    [((1, 10), "0", 10), ((1, 10), "t", 10), ((0, 10), "0", 0), ((0, 10), "t", 10), ((1, 5), "6", None),
     ((1, 5), "0", None), ((0, 5), "0", 0), ((1, 9), "0", None), ((1, 5), "t", None), ((1, 10), "7", 7)],
)  # fmt: skip
def test_the_keys_of_a_scale(scale: tuple[int, int], key: str, mark: int | None) -> None:
    assert mark_of(key, scale) == mark
    assert digits((1, 5)) == "1-5"


def test_marks_of_another_criterion_are_left_alone(evaluated: Scene) -> None:
    """Undo goes past what is asked no more."""
    from core.evaluation.ratings.session import sheet_of

    source = source_of(evaluated.db, evaluated.workspace)
    sheet = sheet_of(source, "ana")
    session = Session(evaluated.db, source, sheet, "ana", Clock())
    session.give(7)
    ratings.rate(evaluated.db, Mark(sheet.keys[0], "tone", "ana", 3, "", FILE, 1, time=scene.NOW + 1000))
    assert session.undo()
    assert session.marks == {}
