"""The Data mode: files, rows by the page, pairs in full, what was found, words sought, files that change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from core.data.index import Index, build
from core.engine import client
from core.store import facts, files
from core.store.facts import Fact
from core.workspace import Workspace
from dpotui.app import Workbench
from dpotui.browse import desk as desk_module
from dpotui.browse.narrowing import Narrowing
from dpotui.screens.data import DataScreen
from tests.dpotui import scene
from tests.dpotui.browse.made import pair, write
from tests.dpotui.screens.conftest import Scene
from tests.dpotui.screens.test_app import HOSTILE

NARROW, WIDE = (80, 24), (200, 60)


def filled(workspace: Workspace, count: int = 40) -> Path:
    rows: list[Any] = [pair(n) for n in range(count)]
    rows[7] = pair(7, chosen="Seven and a needle make eight.", rejected="Seven and a thimble make eight.")
    rows[20] = {**rows[3], "chosen": rows[3]["rejected"], "rejected": rows[3]["chosen"]}
    rows.insert(10, "{no json")
    return write(workspace.data / "pairs.jsonl", rows)


def indexed(workspace: Workspace, path: Path) -> Index:
    made = build([path], workspace.cache / "data")
    made.add_findings("conflict", [(3, "preferred the other way round on line 22", 3), (20, "and on line 4", 3)])
    return made


async def data_mode(pilot: Pilot[None]) -> tuple[Workbench, DataScreen]:
    app = await scene.settled(pilot)
    await pilot.press("5")
    screen = app.mode_screen
    assert isinstance(screen, DataScreen)
    await scene.until(pilot, lambda: screen._files is not None)
    return app, screen


async def opened(pilot: Pilot[None], path: Path) -> tuple[Workbench, DataScreen]:
    app, screen = await data_mode(pilot)
    screen.open_file(path)
    await scene.until(pilot, lambda: screen.listed.count > 0)
    await pilot.pause()
    return app, screen


async def test_an_empty_workspace_says_what_to_do(empty: Scene) -> None:
    async with scene.bench(empty.workspace).run_test(size=NARROW) as pilot:
        app, _ = await data_mode(pilot)
        await scene.until(pilot, lambda: "no data files yet" in scene.words(app))
        await pilot.press("f", "b", "x", "n", "o", "l", "t", "enter", "tab", "enter", "space", "escape")
        assert "no file is open" in scene.words(app)


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_a_file_is_opened_and_a_pair_read(empty: Scene, size: tuple[int, int]) -> None:
    indexed(empty.workspace, filled(empty.workspace)).close()
    async with scene.bench(empty.workspace).run_test(size=size) as pilot:
        app, screen = await data_mode(pilot)
        await scene.until(pilot, lambda: "pairs.jsonl" in scene.words(app) and "indexed" in scene.words(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: "What is 1 and one?" in scene.words(app))
        assert "40 pairs" in scene.words(app) and screen.pane == "rows"
        await pilot.press("down", "down", "down", "enter")
        await scene.until(pilot, lambda: "pair 4 of 40" in scene.words(app))
        shown = scene.prose(app)
        assert "conflicts preferred the other way round on line 22" in shown
        assert "because one more than 3 is that." in shown
        assert ("It is 5." in shown) == (size == WIDE)
        if size == NARROW:
            await pilot.press("space")
            assert "It is 5." in scene.prose(app) and "▸rejected" in scene.prose(app)
        await pilot.press("o")
        await scene.until(pilot, lambda: "pair 21 of 40" in scene.words(app))
        await pilot.press("right", "right", "left")
        await scene.until(pilot, lambda: "pair 22 of 40" in scene.words(app))
        await pilot.press("escape")
        assert screen.pane == "rows" and screen.listed.place == 21
        await pilot.press("escape")
        assert screen.pane == "files"


async def test_the_list_is_narrowed_by_finding_gap_and_length(empty: Scene) -> None:
    path = filled(empty.workspace)
    indexed(empty.workspace, path).close()
    async with scene.bench(empty.workspace).run_test(size=NARROW) as pilot:
        app, screen = await opened(pilot, path)
        await pilot.press("f")
        await scene.until(pilot, lambda: "Show which rows?" in scene.words(app))
        assert "conflicts" in scene.words(app)
        await pilot.press("down", "down")
        while "conflict" not in str(app.screen.query_one("Table").key):  # type: ignore[attr-defined]
            await pilot.press("down")
        await pilot.press("enter")
        await scene.until(pilot, lambda: screen.listed.count == 2)
        assert "only conflicts" in scene.prose(app)
        await pilot.press("x")
        await scene.until(pilot, lambda: screen.listed.count == 40)
        await pilot.press("l")
        await scene.until(pilot, lambda: app.screen.is_modal)
        fields = list(app.screen.query(Input))
        fields[0].value, fields[1].value = "0.5", "0.25"
        await pilot.press("enter")
        await scene.until(pilot, lambda: "the lower bound comes first" in scene.prose(app))
        fields[1].value = ""
        fields[0].value = "0.35"
        await pilot.press("enter")
        await scene.until(pilot, lambda: screen.listed.count == 8)
        assert "only gap ≥ 0.35" in scene.prose(app)
        screen._narrow(Narrowing(length=(None, 3)))
        await scene.until(pilot, lambda: "no pair: both responses ≤ 3 characters" in scene.prose(app))
        screen._narrow(Narrowing(bad="any"))
        await scene.until(pilot, lambda: "no pair: json" in scene.prose(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: "{no json" in scene.words(app))


async def test_words_are_sought_in_the_file(empty: Scene) -> None:
    path = filled(empty.workspace)
    async with scene.bench(empty.workspace).run_test(size=NARROW) as pilot:
        app, screen = await opened(pilot, path)
        await pilot.press("slash", *"THIMBLE", "enter")
        await scene.until(pilot, lambda: screen.listed.place == 7)
        await pilot.press("enter")
        await scene.until(pilot, lambda: "hit 1 of 1 row" in scene.prose(app))
        # It stands in the other response: that one is shown.
        assert "thimble" in scene.words(app)
        await pilot.press("slash", *["backspace"] * 7, *"and one?", "enter")
        await scene.until(pilot, lambda: "of 40 rows" in scene.prose(app))
        await pilot.press("N")
        await scene.until(pilot, lambda: screen.listed.place == 6)
        await pilot.press("n", "n")
        await scene.until(pilot, lambda: screen.listed.place == 8)
        await pilot.press("slash", *["backspace"] * 8, *"nowhere", "enter")
        await scene.until(pilot, lambda: "'nowhere' is in no row" in scene.told(app))
        await pilot.press("slash", "escape")
        await scene.until(pilot, lambda: "'nowhere'" not in scene.words(app).splitlines()[3])


async def test_an_index_is_built_and_can_be_stopped(empty: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(empty.workspace)
    make = desk_module.build

    def slow(paths: Any, folder: Any, *, progress: Any, wants_stop: Any) -> Index:
        progress(3, 10, "reading")
        while slow.waiting and not wants_stop():  # type: ignore[attr-defined]
            pass
        return make(paths, folder, progress=progress, wants_stop=wants_stop)

    slow.waiting = True  # type: ignore[attr-defined]
    monkeypatch.setattr(desk_module, "build", slow)
    async with scene.bench(empty.workspace).run_test(size=NARROW) as pilot:
        app, screen = await opened(pilot, path)
        assert "no index: b builds it" in scene.prose(app)
        assert screen.listed.count == 41  # the row that is none too
        await pilot.press("f")
        assert "without an index nothing is known of the pairs: b builds it" in scene.told(app)
        await pilot.press("b")
        await scene.until(pilot, lambda: "building the index: reading 30 %" in scene.prose(app))
        await pilot.press("down")
        assert screen.listed.place == 1
        await pilot.press("escape")
        await scene.until(pilot, lambda: "the index was not built" in scene.told(app))
        assert not list((empty.workspace.cache / "data").glob("*"))
        slow.waiting = False  # type: ignore[attr-defined]
        await pilot.press("b")
        await scene.until(pilot, lambda: screen.listed.count == 40)
        assert "the index is built" in scene.told(app)
        await pilot.press("tab", "tab")
        await scene.until(pilot, lambda: "40 of 41 rows" in scene.words(app))
        assert "█" in scene.words(app) and "◂ target" not in scene.words(app)


async def test_a_file_that_changes_or_goes_is_said(empty: Scene) -> None:
    path = filled(empty.workspace)
    indexed(empty.workspace, path).close()
    async with scene.bench(empty.workspace).run_test(size=WIDE) as pilot:
        app, screen = await opened(pilot, path)
        write(path, [pair(5), pair(6, prompt="Quite another question")])
        await scene.until(pilot, lambda: screen.listed.count == 2)
        await scene.until(pilot, lambda: "Quite another question" in scene.words(app))
        assert "no index: b builds it" in scene.prose(app)
        assert any("changed since it was opened: it is read anew" in words for words in scene.told(app))
        path.unlink()
        await scene.until(pilot, lambda: "pairs.jsonl is gone" in scene.prose(app))
        await scene.until(pilot, lambda: "no data files yet" in scene.words(app))


async def test_stale_facts_are_said(empty: Scene) -> None:
    path = filled(empty.workspace)
    inputs = files.fingerprints(empty.db, empty.workspace, "data/pairs.jsonl")
    facts.record(empty.db, Fact("data.preference_gap", 0.21, time=scene.NOW - 60, inputs=inputs))
    async with scene.bench(empty.workspace).run_test(size=NARROW) as pilot:
        app, _ = await data_mode(pilot)
        await scene.until(pilot, lambda: "checked" in scene.words(app).splitlines()[5])
        assert "0.210" in scene.words(app)
        write(path, [pair(1)])
        await scene.until(pilot, lambda: "STALE" in scene.words(app))
        await pilot.press("tab", "tab", "tab")
        await scene.until(pilot, lambda: "data/pairs.jsonl changed since" in scene.prose(app))


async def test_other_kinds_are_browsed(empty: Scene) -> None:
    rows = [{"prompt": "Name a colour", "responses": [{"text": "Red", "model": "m1"}, {"text": "Blue"}, "Green"]}]
    path = write(empty.workspace.data / "candidates.jsonl", rows)
    async with scene.bench(empty.workspace).run_test(size=NARROW) as pilot:
        app, _ = await opened(pilot, path)
        assert "1 candidates" in scene.prose(app) and "3 texts" in scene.prose(app)
        await pilot.press("enter", "space", "space")
        await scene.until(pilot, lambda: "Green" in scene.words(app) and "Red" not in scene.words(app))
        await pilot.press("f", "b")
        assert "these rows are candidates: only pairs are indexed" in scene.told(app)


async def test_hostile_files_are_text(empty: Scene) -> None:
    data = empty.workspace.data
    rows = [
        pair(0, prompt=HOSTILE, chosen=HOSTILE + " one", rejected=HOSTILE),
        pair(1, prompt="huge", chosen="x" * 2_000_000),
        "\x1b]0;title\x07",
    ]
    path = write(data / "a\x1b[31m[bold]\u202e.jsonl", rows)
    (data / f"{path.name}.manifest.json").write_text(json.dumps({"format": 1, "made_by": HOSTILE}))
    for size in (NARROW, WIDE):
        async with scene.bench(empty.workspace).run_test(size=size) as pilot:
            app, screen = await opened(pilot, path)
            for keys in (["enter"], ["space"], ["right"], ["right"], ["tab"], ["tab"], ["tab"], ["b"], ["tab"], ["f"]):
                await pilot.press(*keys)
                await pilot.pause(0.05)
                shown = scene.words(app)
                bad = [c for c in shown if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e")]
                assert not bad
            await scene.until(pilot, lambda screen=screen: screen._building is None)


async def test_a_packed_file_says_that_it_wants_an_index(empty: Scene) -> None:
    import gzip

    plain = filled(empty.workspace)
    path = empty.workspace.data / "packed.jsonl.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()))
    async with scene.bench(empty.workspace).run_test(size=NARROW) as pilot:
        app, screen = await data_mode(pilot)
        screen.open_file(path)
        await pilot.press("tab")
        await scene.until(pilot, lambda: "b builds an index, through which it is browsed" in scene.prose(app))
        await pilot.press("b")
        await scene.until(pilot, lambda: screen.listed.count == 40)


async def test_gates_and_palette_lead_here(empty: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ensure_engine", lambda workspace: None)
    filled(empty.workspace)
    inputs = files.fingerprints(empty.db, empty.workspace, "data/pairs.jsonl")
    facts.record(empty.db, Fact("data.pairs", 40.0, time=scene.NOW, inputs=inputs))
    async with scene.bench(empty.workspace).run_test(size=NARROW) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("3")
        await scene.until(pilot, lambda: any(b.binding.id == "list.data" for b in app.screen.active_bindings.values()))
        await pilot.press("d")
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Data" and "41 pairs" in scene.prose(app))
        await pilot.press("1", "ctrl+p", *"open pairs")
        await pilot.pause(0.4)
        await pilot.press("enter")
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Data")


async def test_nothing_is_painted_when_nothing_happens(empty: Scene) -> None:
    path = filled(empty.workspace)
    indexed(empty.workspace, path).close()
    async with scene.bench(empty.workspace).run_test(size=WIDE) as pilot:
        app, _ = await opened(pilot, path)
        await scene.until(pilot, lambda: "Preference gap" in scene.words(app))
        await pilot.pause(0.3)
        painted: list[object] = []
        display = app._display
        app._display = lambda screen, renderable: (painted.append(renderable), display(screen, renderable))[1]  # type: ignore[method-assign]
        await pilot.pause(3.0)
        assert painted == []


@pytest.mark.parametrize("pane", ["files", "rows", "pair", "report", "lineage"])
def test_panes_on_a_narrow_screen(empty: Scene, snap_compare: Any, pane: str) -> None:
    path = filled(empty.workspace)
    indexed(empty.workspace, path).close()

    async def run_before(pilot: Pilot[None]) -> None:
        _, screen = await shown(pilot, path)
        screen.pane = pane
        await pilot.pause(0.1)

    assert snap_compare(scene.bench(empty.workspace), terminal_size=NARROW, run_before=run_before)


def test_all_panes_on_a_wide_screen(empty: Scene, snap_compare: Any) -> None:
    path = filled(empty.workspace)
    indexed(empty.workspace, path).close()

    async def run_before(pilot: Pilot[None]) -> None:
        await shown(pilot, path)

    assert snap_compare(scene.bench(empty.workspace), terminal_size=WIDE, run_before=run_before)


async def shown(pilot: Pilot[None], path: Path) -> tuple[Workbench, DataScreen]:
    """A file is open, its fourth pair chosen, and all that is read in the background is there."""
    app, screen = await opened(pilot, path)
    screen.listed.go(3)
    await scene.until(pilot, lambda: bool(screen._report) and bool(screen._descent))
    screen.pane = "pair"
    await scene.until(pilot, lambda: screen.pair_view.detail is not None and screen.pair_view.detail.pair == 3)
    await scene.until(pilot, lambda: bool(screen._files) and screen._files[0].indexed)
    await pilot.pause(0.1)
    return app, screen


async def test_the_file_under_the_cursor_is_indexed_without_being_opened(empty: Scene) -> None:
    filled(empty.workspace)
    async with scene.bench(empty.workspace).run_test(size=NARROW) as pilot:
        app, screen = await data_mode(pilot)
        await scene.until(pilot, lambda: "pairs.jsonl" in scene.words(app))
        await pilot.pause()
        assert "Filter" not in scene.words(app)  # there is nothing to filter yet
        await pilot.press("b")
        await scene.until(pilot, lambda: "indexed" in scene.words(app))
        assert screen._path is None
