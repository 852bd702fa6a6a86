"""Config: a form beside its file, from the first key to the file that is written."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from core.config import RUN_CONFIGS
from core.config.files import template_of
from core.config.source import read_source
from core.store import runs
from dpotui.screens.config import ConfigScreen
from dpotui.screens.dialogs import Ask, Confirm
from dpotui.screens.pick import Pick
from dpotui.screens.start import Start
from dpotui.widgets.form import Form
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

SIZES = {"narrow": (80, 24), "wide": (200, 60)}


async def config(pilot: Pilot[None], name: str = "dpo_config.yaml", run: str | None = None) -> ConfigScreen:
    """Config on a file, when all of it is there."""
    app = await scene.settled(pilot)
    await app.open_config(app.workspace.configs / name, run)
    screen = app.mode_screen
    assert isinstance(screen, ConfigScreen)
    await scene.until(pilot, lambda: screen._path is not None and screen._path.name == name)
    screen.pane = "form"
    await reckoned(pilot, screen)
    return screen


async def reckoned(pilot: Pilot[None], screen: ConfigScreen) -> None:
    await scene.until(
        pilot, lambda: screen.draft is None or "reckoning" not in screen._prospect.note or screen._prospect.memory
    )
    draft = screen.draft
    if draft is not None and screen._shown == 0:
        await scene.until(pilot, lambda: screen._written is not None and screen._written[0] is draft.value)
    await pilot.pause()


async def write(pilot: Pilot[None], key: str, text: str) -> None:
    """Type a value into a key."""
    form = pilot.app.screen.query_one(Form)
    form.select(key)
    await pilot.pause()
    await pilot.press("enter")
    assert form.editing
    form.query_one(Input).value = text
    await pilot.pause()
    await pilot.press("enter")
    await pilot.pause()


def draft_of(pilot: Pilot[None]) -> Any:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, ConfigScreen)
    assert screen.draft is not None
    return screen.draft


@pytest.mark.parametrize("size", SIZES)
async def test_a_value_is_typed_and_written_and_nothing_else_changes(empty: Scene, size: str) -> None:
    path = empty.workspace.configs / "dpo_config.yaml"
    before = path.read_text().splitlines()
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES[size]) as pilot:
        await config(pilot)
        await write(pilot, "training.learning_rate", "5e-6")
        assert "1 changed, not written" in scene.words(app)
        await pilot.press("w")
        await scene.until(pilot, lambda: any("written" in words for words in scene.told(app)))
    after = path.read_text().splitlines()
    (number,) = [n for n, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert after[number].startswith("  learning_rate: 5.0e-6  # Conservative")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_errors_are_told_while_one_types_and_can_be_gone_to(empty: Scene) -> None:
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["narrow"]) as pilot:
        screen = await config(pilot)
        form = screen.query_one(Form)
        form.select("training.warmup_steps")
        await pilot.pause()
        await pilot.press("enter", *"000")
        await pilot.pause()
        assert "100000 must be less than max_steps (1000)" in scene.prose(app)
        await pilot.press("escape")
        assert not draft_of(pilot).changed
        await write(pilot, "training.warmup_steps", "2000")
        form.select("kl_guard.patience")
        await pilot.pause()
        await pilot.press("enter", "ctrl+u", *"no", "down")
        assert form.key == "kl_guard.max_actions"
        assert not form.editing
        form.select("model.base_model")
        await pilot.press("n")
        assert form.key == "training.warmup_steps"
        await pilot.press("n")
        assert form.key == "kl_guard.patience"
        await pilot.press("n")
        assert form.key == "training.warmup_steps"
        await pilot.press("N")
        assert form.key == "kl_guard.patience"
        assert "must be a whole number from 1" in scene.prose(app)


async def test_choices_are_cycled_and_picked_and_switches_switched(empty: Scene) -> None:
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["wide"]) as pilot:
        screen = await config(pilot)
        form = screen.query_one(Form)
        form.select("adapter.type")
        await pilot.pause()
        await pilot.press("space")
        assert draft_of(pilot).value["adapter"]["type"] == "dora"
        await pilot.press("enter")
        await scene.until(pilot, lambda: isinstance(app.screen, Pick))
        await pilot.press("down", "enter")
        await scene.until(pilot, lambda: draft_of(pilot).value["adapter"]["type"] == "full")
        form.select("compute.fp16")
        await pilot.pause()
        await pilot.press("space")
        assert draft_of(pilot).value["compute"]["fp16"] is False
        await pilot.press("u", "u")
        assert draft_of(pilot).value["adapter"]["type"] == "dora"
        await pilot.press("U")
        assert draft_of(pilot).value["adapter"]["type"] == "full"


async def test_a_key_is_left_out_and_comes_back(empty: Scene) -> None:
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["wide"]) as pilot:
        screen = await config(pilot)
        form = screen.query_one(Form)
        form.select("training.warmup_steps")
        await pilot.pause()
        await pilot.press("x")
        await reckoned(pilot, screen)
        assert "warmup_steps" not in draft_of(pilot).value["training"]
        assert "# warmup_steps: 100" in scene.words(app)
        await write(pilot, "training.batch_tokens", "4096")
        await reckoned(pilot, screen)
        assert "batch_tokens: 4096  # Instead" in scene.words(app)
        await pilot.press("o")
        keys = [row.key for row in form._rows if not row.heading]
        assert keys == ["training.batch_tokens", "training.warmup_steps"]


async def test_judges_are_added_and_taken_out(empty: Scene) -> None:
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["wide"]) as pilot:
        screen = await config(pilot, "judge_config.yaml")
        form = screen.query_one(Form)
        form.select("judges")
        await pilot.pause()
        await pilot.press("enter")
        await scene.until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press(*"no name", "enter")
        await pilot.pause()
        assert "'no name' is no name" in scene.prose(app)
        await pilot.press("ctrl+u", *"second", "enter")
        await scene.until(pilot, lambda: "second" in draft_of(pilot).value["judges"])
        assert form.key == "judges.second.model"
        assert "judges.second.model" in [".".join(map(str, path)) for path, _ in draft_of(pilot).problems]
        await write(pilot, "judges.second.model", "checkpoints/reward_model")
        assert draft_of(pilot).problems == []
        form.select("judges.second")
        await pilot.pause()
        await pilot.press("x")
        assert not draft_of(pilot).changed


async def test_what_another_program_wrote_is_not_overwritten(empty: Scene) -> None:
    path = empty.workspace.configs / "dpo_config.yaml"
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["narrow"]) as pilot:
        await config(pilot)
        await write(pilot, "training.beta", "0.2")
        path.write_text(path.read_text().replace("seed: 42", "seed: 7"))
        await pilot.press("w")
        await scene.until(pilot, lambda: "was changed by another program" in scene.prose(app))
        await pilot.press("y")
        await scene.until(pilot, lambda: draft_of(pilot).value["training"]["seed"] == 7)
        assert draft_of(pilot).value["training"]["beta"] == 0.2
        await pilot.press("w")
        await scene.until(pilot, lambda: not draft_of(pilot).changed)
    assert "seed: 7" in path.read_text()
    assert "beta: 0.2 " in path.read_text()


async def test_errors_are_written_only_when_that_is_wanted(empty: Scene) -> None:
    path = empty.workspace.configs / "dpo_config.yaml"
    before = path.read_text()
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["narrow"]) as pilot:
        await config(pilot)
        await write(pilot, "training.beta", "-1")
        await pilot.press("g")
        await scene.until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("n")
        await pilot.pause()
        assert path.read_text() == before
        assert not isinstance(app.screen, Start)


async def test_a_run_is_started_from_here_and_another_file_offered(empty: Scene) -> None:
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["wide"]) as pilot:
        await config(pilot)
        await write(pilot, "training.beta", "0.2")
        await pilot.press("W")
        await scene.until(pilot, lambda: isinstance(app.screen, Ask))
        app.screen.query_one(Input).value = "configs/dpo_lowlr.yaml"
        await pilot.press("enter")
        await scene.until(pilot, lambda: (empty.workspace.configs / "dpo_lowlr.yaml").exists())
        assert "beta: 0.1 " in (empty.workspace.configs / "dpo_config.yaml").read_text()
        await scene.until(pilot, lambda: "dpo_lowlr.yaml" in scene.words(app))
        # What is not written is asked about first.
        await write(pilot, "training.beta", "0.3")
        await pilot.press("g")
        await scene.until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("n")
        await pilot.pause()
        assert isinstance(app.screen, ConfigScreen)
        assert "beta: 0.2 " in (empty.workspace.configs / "dpo_lowlr.yaml").read_text()
        await pilot.press("g")
        await scene.until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await scene.until(pilot, lambda: isinstance(app.screen, Start))
        assert "beta: 0.3 " in (empty.workspace.configs / "dpo_lowlr.yaml").read_text()
        start = app.screen
        assert isinstance(start, Start)
        field = start.query_one("#config", Input)
        assert field.value == "configs/dpo_lowlr.yaml"
        await scene.until(pilot, lambda: len(start._files) == 2)
        await scene.until(pilot, lambda: "time: not known" in scene.words(app))
        await pilot.press("down")
        assert field.value == "configs/dpo_config.yaml"
        await pilot.press("ctrl+e")
        await scene.until(pilot, lambda: isinstance(app.screen, ConfigScreen))
        screen = app.screen
        assert isinstance(screen, ConfigScreen)
        await scene.until(pilot, lambda: screen._path is not None and screen._path.name == "dpo_config.yaml")


async def test_the_values_of_a_run_stand_there_as_changes(empty: Scene) -> None:
    values = RUN_CONFIGS["dpo"].model_validate(read_source(template_of("dpo")).document.value).model_dump(mode="json")
    values["training"]["beta"] = 0.4
    made = runs.create(empty.db, "dpo", config=values)
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["wide"]) as pilot:
        screen = await config(pilot, run=made.id)
        await scene.until(pilot, lambda: screen.draft is not None and screen.draft.changed)
        assert "1 changed, not written" in scene.words(app)
        await pilot.press("u")
        await pilot.press("d")
        assert "training.beta" in scene.words(app)
        assert "0.4 → 0.1" in scene.words(app)
        await pilot.press("d")
        assert "nothing differs from template" in scene.words(app)


async def test_a_broken_file_and_one_that_is_none_are_shown_as_text(empty: Scene) -> None:
    (empty.workspace.configs / "sft_config.yaml").write_text("model: [\n")
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["wide"]) as pilot:
        await config(pilot, "sft_config.yaml")
        assert "not YAML" in scene.prose(app)
        (empty.workspace.configs / "sft_config.yaml").write_text(template_of("sft").read_text())
        await pilot.press("r")
        await scene.until(pilot, lambda: "learning_rate" in scene.words(app))
        await config(pilot, "gates.yaml")
        assert "it is no configuration of a run" in scene.prose(app)
        assert "Pair Count" in scene.words(app)


async def test_find_shows_keys_with_these_words(empty: Scene) -> None:
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["narrow"]) as pilot:
        screen = await config(pilot)
        await pilot.press("slash", *"beta_end", "enter")
        await pilot.pause()
        assert [row.key for row in screen.query_one(Form)._rows] == [
            "training",
            "training.beta_schedule",
            "training.beta_end",
        ]


async def test_what_is_not_written_is_not_lost_by_one_key(empty: Scene) -> None:
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["narrow"]) as pilot:
        await config(pilot)
        await write(pilot, "training.beta", "0.2")
        await pilot.press("1", "q")
        await scene.until(pilot, lambda: isinstance(app.screen, Confirm))
        assert "configs/dpo_config.yaml: changed and not written" in scene.prose(app)
        await pilot.press("n")
        await pilot.press("6")
        assert draft_of(pilot).changed
        await pilot.press("u", "q")
        await scene.until(pilot, lambda: not app.is_running or app._exit)


def _hostile(workspace: Any) -> None:
    path = workspace.configs / "dpo_config.yaml"
    text = path.read_text()
    text = text.replace('"dpo-exp-001"', '"\\e[31mred\\a\\u202eevil\\u0000 [b]markup[/b] ' + "宽" * 3000 + '"')
    path.write_text(text.replace("# Frozen reference", "# \u202e 宽宽 [red]frozen[/red] e\u0301\u0301\u0301"))


async def test_a_hostile_value_is_no_less_so_in_its_field(empty: Scene) -> None:
    _hostile(empty.workspace)
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["narrow"]) as pilot:
        screen = await config(pilot)
        screen.query_one(Form).select("logging.wandb_run_name")
        await pilot.pause()
        await pilot.press("enter")
        assert screen.query_one(Form).query_one(Input).value.isprintable()
        await pilot.press("enter")
        assert not draft_of(pilot).changed
        assert not set("\x1b\x07\u202e") & set(scene.words(app))


async def test_a_judge_of_an_evaluation_can_be_set_and_taken_out(empty: Scene) -> None:
    app = scene.bench(empty.workspace)
    async with app.run_test(size=SIZES["wide"]) as pilot:
        screen = await config(pilot, "eval_config.yaml")
        form, key = screen.query_one(Form), "alignment_evaluation.preference_validation.judge"
        form.select(key)
        await pilot.pause()
        await pilot.press("enter")
        await write(pilot, f"{key}.model", "checkpoints/reward_model")
        assert draft_of(pilot).problems == []
        form.select(key)
        await pilot.pause()
        await pilot.press("x")
        assert not draft_of(pilot).changed


async def _open(pilot: Pilot[None]) -> None:
    await config(pilot)


async def _changed(pilot: Pilot[None]) -> None:
    screen = await config(pilot)
    await write(pilot, "training.learning_rate", "5e-6")
    await write(pilot, "training.beta_end", "0.5")
    await reckoned(pilot, screen)


async def _wrong(pilot: Pilot[None]) -> None:
    screen = await config(pilot)
    await write(pilot, "training.warmup_steps", "5000")
    await write(pilot, "training.batch_size", "many")
    await reckoned(pilot, screen)


async def _strange(pilot: Pilot[None]) -> None:
    screen = await config(pilot)
    screen.query_one(Form).select("logging.wandb_run_name")
    await reckoned(pilot, screen)


async def _nothing(pilot: Pilot[None]) -> None:
    app = await scene.settled(pilot)
    await pilot.press("6")
    await scene.until(pilot, lambda: "no configurations" in scene.words(app))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", ["open", "changed", "wrong", "strange"])
def test_looks(empty: Scene, snap_compare: Any, what: str, size: str) -> None:
    before = {"open": _open, "changed": _changed, "wrong": _wrong, "strange": _strange}[what]
    if what == "strange":
        _hostile(empty.workspace)
    assert snap_compare(scene.bench(empty.workspace), terminal_size=SIZES[size], run_before=before)


def test_an_empty_folder_says_what_to_do(empty: Scene, snap_compare: Any) -> None:
    for path in Path(empty.workspace.configs).rglob("*.*"):
        if path.is_file() and path.suffix != ".md":
            path.unlink()
    for path in empty.workspace.configs.glob("*.md"):
        path.unlink()
    assert snap_compare(scene.bench(empty.workspace), terminal_size=SIZES["narrow"], run_before=_nothing)
