"""The Report mode: read, find, sections, writing, verifying, and a decision that is signed."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from core.store import decisions, facts, runs, ticks
from core.store.facts import Fact
from dpotui.app import Workbench
from dpotui.screens.report import ReportScreen
from dpotui.widgets.report_text import ReportText
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

STAGE_7 = """\
# Stage 7: Evaluation <!-- id: eval -->

- [ ] Retention rate: _____ % (target ≥95%) <!-- id: eval.retention fact: eval.retention -->
- [ ] All success criteria met <!-- id: eval.success -->
- [ ] Evaluation report written <!-- id: eval.report -->
- [ ] Deployment decision made <!-- id: eval.deployment -->
"""


@pytest.fixture
def evaluated(busy: Scene) -> Scene:
    (busy.workspace.checklists / "7-evaluation.md").write_text(STAGE_7)
    busy.db.execute("UPDATE runs SET who = 'ana'")
    busy.db.conn.commit()
    run = scene.add_run(busy.db, "evaluate", state="finished", ended=scene.NOW - 10)
    runs.update(busy.db, run, who="ana")
    facts.record(busy.db, Fact("eval.retention", 91.2, "%", run, scene.NOW - 10, 88.0, 94.0, 400, "3 benchmarks"))
    return busy


async def opened(pilot: Pilot[None]) -> tuple[Workbench, ReportScreen]:
    app = await scene.settled(pilot)
    await pilot.press("8")
    await scene.until(pilot, lambda: isinstance(app.screen, ReportScreen) and app.screen.text.laid.rows)
    await pilot.pause()
    return app, cast(ReportScreen, app.screen)


async def _before(pilot: Pilot[None]) -> None:
    await opened(pilot)


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["narrow", "wide"])
def test_how_it_looks(evaluated: Scene, snap_compare: Any, size: tuple[int, int]) -> None:
    assert snap_compare(scene.bench(evaluated.workspace), terminal_size=size, run_before=_before)


async def test_sections_words_and_pages_are_found(evaluated: Scene) -> None:
    async with scene.bench(evaluated.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        text = screen.text
        assert "Decision: no decision yet" in scene.words(app)
        titles = [title for title, _ in text.laid.sections]
        assert titles[:3] == ["Decision and success criteria", "Not measured", "Gates"]
        await pilot.press("]", "]", "]")
        assert titles[text.section] == "Gates" and "━━ Gates" in scene.words(app)
        await pilot.press("[")
        assert titles[text.section] == "Not measured"
        await pilot.press("home", "slash", *"0.1004", "enter")
        assert "0.1004" in scene.words(app)
        first = text._hit
        await pilot.press("n")
        assert text._hit != first
        await pilot.press("N")
        assert text._hit == first
        await pilot.press("slash", "escape", "tab")
        assert screen.pane == "sections"
        await pilot.press("end", "enter")
        assert screen.pane == "report" and titles[text.section] == "Runs and warnings"


async def test_a_newer_fact_is_shown_where_one_reads(evaluated: Scene) -> None:
    async with scene.bench(evaluated.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        await pilot.press("]", "]", "]")
        place = screen.text.top
        facts.record(evaluated.db, Fact("eval.retention", 96.4, "%", "evaluate-001", scene.NOW, source="again"))
        app.written()
        await scene.until(
            pilot, lambda: any("96.4%" in screen.text.laid.text(y) for y in range(len(screen.text.laid.rows)))
        )
        assert screen.text.section == 2 and abs(screen.text.top - place) < 12


async def test_it_is_written_and_verified_by_key(evaluated: Scene) -> None:
    folder = evaluated.workspace.outputs / "report"
    async with scene.bench(evaluated.workspace).run_test(size=(100, 40)) as pilot:
        app, _ = await opened(pilot)
        await pilot.press("v")
        await scene.until(pilot, lambda: any("w writes it" in words for words in scene.told(app)))
        await pilot.press("w")
        await scene.until(pilot, lambda: any(words.startswith("written: ") for words in scene.told(app)))
        assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md"]
        assert ticks.get(evaluated.db, "eval.report").ticked
        await pilot.press("v")
        await scene.until(pilot, lambda: app.screen.is_modal)
        assert scene.prose(app).count("every figure still holds") == 2
        await pilot.press("escape")
        page = folder / "report.md"
        page.write_text(page.read_text().replace("91.2", "99.2", 1))
        await pilot.press("v")
        await scene.until(pilot, lambda: app.screen.is_modal)
        assert "does not hold any more" in scene.prose(app) and "tampered" in scene.prose(app)


async def test_it_is_exported_to_files_of_ones_own(evaluated: Scene) -> None:
    root = evaluated.workspace.root
    (root / "notes.json").write_text("{}")
    async with scene.bench(evaluated.workspace).run_test(size=(80, 24)) as pilot:
        app, _ = await opened(pilot)
        await pilot.press("x")
        await scene.until(pilot, lambda: app.screen.is_modal)
        field = app.screen.query_one(Input)
        for value, words in (
            ("", "name a file"),
            ("report.pdf", "name a file that ends so"),
            ("'a", "quotation mark"),
            ("notes.json", "exists and is no report"),
        ):
            field.value = value
            await pilot.press("enter")
            assert words in str(app.screen.query_one(".error", Static).render())
        field.value = "outputs/mine/a.json 'outputs/mine/b c.html' outputs/mine/a.md"
        await pilot.press("enter")
        await scene.until(
            pilot, lambda: any(words.startswith("written: outputs/mine/a.json") for words in scene.told(app))
        )
        await pilot.press("x", "enter")
        await scene.until(pilot, lambda: (root / "outputs/report/report.json").is_file())
    assert (root / "notes.json").read_text() == "{}"
    first, again = (
        json.loads((root / name).read_text()) for name in ("outputs/mine/a.json", "outputs/report/report.json")
    )
    assert first == again and first["kind"] == "dpotui report"
    assert {gate["name"]: gate["verdict"] for gate in first["gates"]}["retention"] == "FAIL"
    assert (root / "outputs/mine/b c.html").read_text().startswith("<!")
    assert (root / "outputs/mine/a.json").stat().st_mode & 0o777 == 0o600
    assert not ticks.get(evaluated.db, "eval.report").ticked


async def test_a_deployment_against_what_is_not_met_is_asked_for_twice(evaluated: Scene) -> None:
    async with scene.bench(evaluated.workspace).run_test(size=(100, 40)) as pilot:
        app, _ = await opened(pilot)
        await pilot.press("D")
        await scene.until(pilot, lambda: app.screen.is_modal)
        choice, note = app.screen.query(Input)
        choice.value = "ship"
        await pilot.press("enter")
        assert "'ship' is no decision: deploy, iterate, reject" in scene.prose(app)
        choice.value = "deploy"
        await pilot.press("enter")
        assert "say why" in scene.prose(app)
        note.value = "good enough [red]for us"
        await pilot.press("enter")
        # By the words that stand on the screens, not by names of the configuration.
        told = str(app.screen.query_one(".error", Static).render())
        assert told.startswith("not met: Capability Retention (FAIL), ")
        assert told.endswith(" of the checklist. Enter again deploys against them, in your name")
        assert decisions.latest(evaluated.db) is None
        await pilot.press("enter")
        await scene.until(pilot, lambda: any(words.startswith("written: ") for words in scene.told(app)))
        made = decisions.latest(evaluated.db)
        assert made is not None and (made.choice, made.who, made.against) == ("deploy", "ana", ("retention", "items"))
        assert ticks.get(evaluated.db, "eval.deployment").ticked
        text = app.screen.query_one(ReportText)
        await scene.until(pilot, lambda: any("OVERRIDE" in text.laid.text(y) for y in range(len(text.laid.rows))))
        assert "good enough [red]for us" in (evaluated.workspace.outputs / "report" / "report.md").read_text()


async def test_gates_that_cannot_be_read_are_a_notice(evaluated: Scene) -> None:
    (evaluated.workspace.configs / "gates.yaml").write_text("gates: 3\n")
    async with scene.bench(evaluated.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("8")
        await scene.until(pilot, lambda: any("gates.yaml" in words for words in scene.told(app)))
