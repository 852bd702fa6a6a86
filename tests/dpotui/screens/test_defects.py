"""What fails within the terminal itself: late searches of the palette, and what a person is told of a defect."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.command import CommandList

from dpotui.defect import FILE, told
from dpotui.palette import Palette
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene


async def test_a_search_that_ends_after_the_palette_was_closed_ends_nothing_else(empty: Scene) -> None:
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("ctrl+p")
        palette = app.screen
        assert isinstance(palette, Palette)
        await pilot.press("escape")
        await scene.until(pilot, lambda: app.screen is not palette)
        palette._list_visible = not palette._list_visible
        palette._gather_commands("stage")
        await pilot.pause(0.1)
        assert app.return_code is None


async def test_a_page_of_commands_that_have_no_room_is_no_page(empty: Scene) -> None:
    async with scene.bench(empty.workspace).run_test(size=(20, 4)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("ctrl+p", "s")
        await scene.until(pilot, lambda: app.screen.query_one(CommandList).option_count > 0)
        await pilot.press("pageup", "pagedown", "up", "down")
        assert app.return_code is None


async def test_the_palette_is_among_the_keys_and_no_key_is_named_twice(empty: Scene) -> None:
    async with scene.bench(empty.workspace).run_test(size=(100, 100)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("question_mark")
        await scene.until(pilot, lambda: "Find anything by name" in scene.words(app))
        assert "+ +" not in scene.words(app)


async def test_a_defect_is_told_in_a_line_and_its_traceback_lies_in_a_file(
    empty: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    app = scene.bench(empty.workspace)
    with pytest.raises(ZeroDivisionError):
        async with app.run_test(size=(80, 24)) as pilot:
            await scene.settled(pilot)
            app.call_later(lambda: 1 // 0)
            await pilot.pause(0.2)
    assert app.return_code == 1
    assert "1 // 0" in (empty.workspace.root / FILE).read_text()
    assert (empty.workspace.root / FILE).stat().st_mode & 0o777 == 0o600
    words = " ".join(capsys.readouterr().err.split())
    assert words.startswith("dpotui: a defect ended the terminal") and words.endswith("tells more")
    assert "Traceback" not in words


def test_hostile_words_of_a_defect_stay_words(tmp_path: Path) -> None:
    words = told(ValueError("\x1b]52;c;aGk=\x07\nsecond"), tmp_path / "gone")
    assert words.isprintable() and "could not be written" in words


async def test_what_cannot_be_written_is_a_notice_whatever_key_asked_for_it(empty: Scene) -> None:
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("down", "down")
        app.db.execute(f"PRAGMA max_page_count = {app.db.execute('PRAGMA page_count').fetchone()[0]}")
        app.db.execute("PRAGMA query_only = 1")
        await pilot.press("space")
        await scene.until(pilot, lambda: any("nothing was written" in words for words in scene.told(app)))
        await pilot.press("n", *"why", "enter")
        await scene.until(pilot, lambda: "nothing was written" in scene.words(app))
        await pilot.press("escape")
        assert app.return_code is None


async def test_a_dialog_is_closed_once_however_fast_keys_come(busy: Scene) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        for key, twice in (("ctrl+o", "!"), ("question_mark", "escape"), ("enter", "escape"), ("g", "escape")):
            await pilot.press(key)
            await scene.until(pilot, lambda: app.screen.is_modal or app.mode_screen.pane != "checklist")
            app.simulate_key(twice)
            app.simulate_key(twice)
            await scene.until(pilot, lambda: not app.screen.is_modal)
        assert app.return_code is None
