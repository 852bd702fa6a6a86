"""Samples on screen: which evaluation, which prompt, beside what; words that differ are marked; text stays text."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from core.store import Database, open_store, runs, samples
from core.store.samples import Sample
from dpotui import theme as themes
from dpotui.widgets.samples import Samples

HOSTILE = "\x1b]0;gotcha\x07 [red]not markup[/red] \u202eevil \x9b31m " + "汉" * 40 + " e" + "\u0301" * 30


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = open_store(tmp_path / "runs.db", create=True)
    yield db
    db.close()


def sampled(db: Database, kind: runs.Kind = "dpo", steps: tuple[int, ...] = (0, 100, 200), prompts: int = 3) -> str:
    run = runs.create(db, kind, config={"training": {"sample_prompts": prompts}}).id
    for step in steps:
        for line in range(1, prompts + 1):
            text = f"the answer of step {step} to number {line}"
            add(db, run, step, line, text, f"question number {line}?")
    for line in range(1, prompts + 1):
        add(db, run, 0, line, f"the answer of nobody to number {line}", f"question number {line}?", "reference")
    return run


def add(db: Database, run: str, step: int, line: int, text: str, prompt: str, model: samples.Model = "policy") -> None:
    finish = "length" if model == "reference" else "stop"
    samples.record(db, [Sample(run, step, model, line, prompt, text, finish, len(text.split()))])


class Host(App[None]):
    CSS = "Samples { height: 100%; }"

    def __init__(self, db: Database) -> None:
        super().__init__()
        self.db = db
        for own in themes.THEMES:
            self.register_theme(own)
        self.theme = themes.DARK.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.DEFAULTS

    def compose(self) -> ComposeResult:
        yield Samples()

    @property
    def samples(self) -> Samples:
        return self.query_one(Samples)


async def filled(pilot: Pilot[None], run: str | None, empty: str = "") -> Samples:
    app = pilot.app
    assert isinstance(app, Host)
    app.samples.fill(run, samples.steps(app.db, run) if run else (), empty)
    app.samples.focus()
    await pilot.pause()
    return app.samples


def words(widget: Samples) -> str:
    return "\n".join(widget.render_line(y).text.rstrip() for y in range(widget.size.height))


async def test_the_newest_step_stands_beside_the_reference(db: Database) -> None:
    app = Host(db)
    async with app.run_test(size=(200, 40)) as pilot:
        found = words(await filled(pilot, sampled(db)))
        assert " step 200 evaluation 3 of 3 " in found
        assert "the newest is followed" in found
        # Side by side, all prompts below each other.
        line = next(line for line in found.splitlines() if "of step 200 to number 1" in line)
        assert line.index("of step 200") < line.index("│") < line.index("of nobody to number 1")
        assert "8 tokens, ended" in found
        assert "7 tokens, cut" in found
        for number in (1, 2, 3):
            assert f"Prompt {number}/3 line {number}" in found
            assert f"question number {number}?" in found


async def test_on_a_small_screen_they_stand_under_each_other(db: Database) -> None:
    app = Host(db)
    async with app.run_test(size=(80, 18)) as pilot:
        found = words(await filled(pilot, sampled(db))).splitlines()
        ours = next(y for y, line in enumerate(found) if "of step 200 to number 1" in line)
        theirs = next(y for y, line in enumerate(found) if "of nobody to number 1" in line)
        assert theirs > ours
        assert not any("│" in line for line in found)


async def test_words_that_differ_are_underlined(db: Database) -> None:
    app = Host(db)
    async with app.run_test(size=(80, 18)) as pilot:
        widget = await filled(pilot, sampled(db))
        found = words(widget).splitlines()
        y = next(y for y, line in enumerate(found) if "of step 200 to number 1" in line)
        marked = "".join(segment.text for segment in widget.render_line(y) if segment.style and segment.style.underline)
        assert marked == "step 200"
        assert "differences underlined" in words(widget)


async def test_keys_go_to_prompts_and_steps(db: Database) -> None:
    app = Host(db)
    async with app.run_test(size=(80, 12)) as pilot:
        run = sampled(db)
        widget = await filled(pilot, run)
        await pilot.press("n")
        assert "▌Prompt 2/3" in words(widget)
        await pilot.press("n", "n")
        assert "▌Prompt 1/3" in words(widget)
        await pilot.press("N")
        assert "▌Prompt 3/3" in words(widget)
        await pilot.press("<")
        assert widget.step == 100
        assert "the answer of step 100 to number 3" in words(widget)
        assert "f newest" in words(widget)
        # What comes meanwhile does not take one away from what one reads.
        add(db, run, 300, 1, "new", "question number 1?")
        widget.fill(run, samples.steps(db, run), "")
        assert widget.step == 100
        await pilot.press("<", "<")
        assert widget.step == 0
        await pilot.press(">")
        assert widget.step == 100
        await pilot.press("f")
        assert widget.step == 300
        add(db, run, 400, 1, "newer", "question number 1?")
        widget.fill(run, samples.steps(db, run), "")
        assert widget.step == 400


async def test_beside_the_evaluation_before(db: Database) -> None:
    app = Host(db)
    async with app.run_test(size=(200, 40)) as pilot:
        widget = await filled(pilot, sampled(db))
        await pilot.press("b")
        found = words(widget)
        assert "the answer of step 100 to number 1" in found
        assert "of nobody" not in found
        await pilot.press("<", "<")
        assert "the first evaluation: none is before it" in words(widget)
        await pilot.press("b")
        assert "of nobody to number 1" in words(widget)


async def test_of_fine_tuning_the_reference_is_what_it_was(db: Database) -> None:
    app = Host(db)
    async with app.run_test(size=(200, 40)) as pilot:
        assert "before training" in words(await filled(pilot, sampled(db, "sft")))


async def test_another_run_begins_anew(db: Database) -> None:
    app = Host(db)
    async with app.run_test(size=(80, 18)) as pilot:
        widget = await filled(pilot, sampled(db))
        await pilot.press("<", "n")
        other = sampled(db, steps=(7,))
        await filled(pilot, other)
        assert widget.step == 7
        assert "▌Prompt 1/3" in words(widget)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [(4, "At every evaluation (training.eval_steps)"), (0, "training.sample_prompts is 0 in this run")],
)
async def test_without_samples_it_says_what_to_do(db: Database, prompts: int, said: str) -> None:
    run = runs.create(db, "dpo", config={"training": {"sample_prompts": prompts}}).id
    app = Host(db)
    async with app.run_test(size=(80, 18)) as pilot:
        found = " ".join(words(await filled(pilot, run, f"{run} has written nothing here yet")).split())
        assert f"{run} has written nothing here yet" in found
        assert said in found
        assert words(await filled(pilot, None, "no run of this stage yet")).strip() == "no run of this stage yet"


async def test_a_long_prompt_is_folded_until_somebody_asks(db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    prompt = "\n".join(f"row {number}" for number in range(30))
    add(db, run, 0, 1, "yes", prompt)
    app = Host(db)
    async with app.run_test(size=(80, 18)) as pilot:
        widget = await filled(pilot, run)
        assert "row 2" in words(widget)
        assert "row 3" not in words(widget)
        assert "enter shows all of it" in words(widget)
        assert "the reference was not asked" in words(widget)
        await pilot.press("enter", "end")
        assert "row 29" in words(widget)
        assert "enter folds it" in words(widget)


async def test_an_empty_answer_is_said(db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    samples.record(db, [Sample(run, 0, "policy", 1, "well?", "", "stop", 1)])
    app = Host(db)
    async with app.run_test(size=(80, 18)) as pilot:
        found = words(await filled(pilot, run))
        assert "(nothing)" in found
        assert "1 token, ended" in found


@pytest.mark.parametrize("size", [(80, 18), (200, 40), (30, 8), (8, 3)])
async def test_foreign_text_stays_text(db: Database, size: tuple[int, int]) -> None:
    run = runs.create(db, "dpo", config={}).id
    for model in ("policy", "reference"):
        add(db, run, 0, 1, HOSTILE + model, HOSTILE, model)
    app = Host(db)
    async with app.run_test(size=size) as pilot:
        widget = await filled(pilot, run)
        for y in range(widget.size.height):
            strip = widget.render_line(y)
            assert strip.text.isprintable() or not strip.text.strip()
            assert strip.cell_length == size[0]
        if size[0] > 30:
            assert "[red]not markup[/red]" in words(widget)


async def test_a_key_is_answered_at_once_however_long_the_texts_are(db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    for line in range(1, 33):
        text = " ".join(f"word{number * line % 997}" for number in range(4000))
        add(db, run, 0, line, text, text * 10)
        add(db, run, 0, line, text[::-1], text, "reference")
    app = Host(db)
    async with app.run_test(size=(200, 60)) as pilot:
        widget = await filled(pilot, run)
        took = []
        for _ in range(5):
            started = time.thread_time()
            widget.action_prompt(1)
            took.append(time.thread_time() - started)
        assert min(took) < 0.05


@pytest.mark.parametrize("size", [(80, 18), (200, 24)])
def test_how_it_looks(db: Database, snap_compare: Any, size: tuple[int, int]) -> None:
    run = runs.create(db, "dpo", config={}).id
    prompts = (
        "What do otters eat?",
        "A question for the zoo, which nobody has answered yet: why do owls sleep by day?",
    )
    theirs = ("Otters eat fish.", "Owls sleep by day, since they hunt at night.")
    ours = ("Otters eat fish. And did you know? They hold hands while they sleep.", "Owls sleep by day, as they hunt.")
    for line, prompt in enumerate(prompts):
        add(db, run, 0, line + 1, theirs[line], prompt)
        add(db, run, 400, line + 1, ours[line], prompt)
        add(db, run, 0, line + 1, theirs[line], prompt, "reference")

    async def run_before(pilot: Pilot[None]) -> None:
        await filled(pilot, run)

    assert snap_compare(Host(db), terminal_size=size, run_before=run_before)
