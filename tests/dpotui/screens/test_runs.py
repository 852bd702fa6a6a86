"""The list of runs: found, sorted, grouped, marked, put in order, compared and traced, of any length."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from core.runs import order
from core.store import artifacts, facts, notes, run_changes, runs, transaction
from core.store.facts import Fact
from dpotui.app import Workbench
from dpotui.screens import start
from dpotui.screens.compare import CompareScreen
from dpotui.screens.runs import RunsScreen
from dpotui.widgets.runlist import Heading, entries
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

SIZES = {"narrow": (80, 24), "wide": (200, 60)}


def fill_with(scene_: Scene, count: int) -> None:
    """So many finished DPO runs, from a seed."""
    chance = random.Random(5)
    db = scene_.db
    with transaction(db):
        for number in range(count):
            id_ = f"dpo-{number + 1:05d}"
            config = {
                "training": {"beta": chance.choice([0.05, 0.1, 0.2]), "learning_rate": chance.choice([1e-6, 5e-6])},
                "model": {"policy_model": "checkpoints/sft"},
            }
            state = chance.choice(["finished"] * 5 + ["failed", "stopped"])
            begun = scene.NOW - 900 * (number + 1)
            tags = ["sweep"] if number % 3 == 0 else []
            db.execute(
                "INSERT INTO runs (id, kind, name, state, config, seed, step, steps, created, started, ended, error,"
                " tags) VALUES (?, 'dpo', ?, ?, ?, 0, 100, 100, ?, ?, ?, ?, ?)",
                [id_, id_, state, json.dumps(config), begun, begun, begun + 300 + number % 50,
                 "loss is NaN at step 31" if state == "failed" else None, json.dumps(tags)],
            )  # fmt: skip
            for name, value in (("kl_divergence", 0.2), ("preference_gap", 0.4)):
                db.execute(
                    "INSERT INTO facts (name, value, run, time) VALUES (?, ?, ?, ?)",
                    [f"dpo.{name}", round(value * chance.random(), 4), id_, begun + 300],
                )


@pytest.fixture
def several(busy: Scene) -> Scene:
    """The busy workspace, its runs told apart and traced."""
    db = busy.db
    runs.update(db, "sft-001", output_dir="outputs/sft")
    artifacts.record(db, "sft-001", "model", "checkpoints/sft", "ab" * 32, 1)
    for run, beta in (("dpo-001", 0.5), ("dpo-002", 0.1)):
        config = {**scene.CONFIG, "training": {"beta": beta}, "model": {"policy_model": "checkpoints/sft"}}
        runs.update(db, run, config=config, inputs={"checkpoints/sft": "ab" * 32})
    facts.record(db, Fact("dpo.kl_divergence", 0.4, run="dpo-001", time=scene.NOW - 6900, low=0.35, high=0.45))
    order.tag(db, "sft-001", ["keep"], "bo")
    db.execute("UPDATE run_changes SET time = ?", [scene.NOW - 50])
    db.conn.commit()
    return busy


async def opened(pilot: Pilot[None]) -> tuple[Workbench, RunsScreen]:
    app = await scene.settled(pilot)
    await pilot.press("4")
    await scene.settled(pilot)
    screen = app.mode_screen
    assert isinstance(screen, RunsScreen)
    await scene.until(pilot, lambda: screen._seen is not None)
    return app, screen


async def shown(pilot: Pilot[None], screen: RunsScreen, *ids: str) -> None:
    """Wait until these runs are the list, in this order."""
    await scene.until(pilot, lambda: screen.listed.shown_ids() == list(ids))


async def typed(pilot: Pilot[None], text: str) -> None:
    pilot.app.screen.query_one(Input).value = text
    await pilot.pause()


async def test_an_expression_narrows_the_list_as_it_is_typed(several: Scene) -> None:
    async with scene.bench(several.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        await shown(pilot, screen, "dpo-002", "dpo-001", "sft-001")
        await pilot.press("slash")
        await pilot.press(*"kl>0.2")
        await shown(pilot, screen, "dpo-001")
        await scene.until(pilot, lambda: "1 run of 3" in scene.words(app))
        await typed(pilot, "kl>0.2 or ")
        await scene.until(pilot, lambda: "column 8: 'or' stands between two terms" in scene.words(app))
        await typed(pilot, "bta>0.2")
        await scene.until(pilot, lambda: "column 1: no field 'bta': did you mean 'beta'?" in scene.words(app))
        assert screen.listed.shown_ids() == ["dpo-001"]  # the list stays
        await typed(pilot, "beta<=0.1 or tag:keep")
        await shown(pilot, screen, "dpo-002", "sft-001")
        await pilot.press("enter")
        assert "2 of 3 runs" in scene.words(app)
        await pilot.press("escape")  # back to all of them
        await shown(pilot, screen, "dpo-002", "dpo-001", "sft-001")


async def test_sorting_by_column_and_the_other_way_round(several: Scene) -> None:
    async with scene.bench(several.workspace).run_test(size=(200, 60)) as pilot:
        app, screen = await opened(pilot)
        orders = []
        for _ in range(5):
            await pilot.press("right_square_bracket")
            await pilot.pause(0.1)
            orders.append((screen._query.sort, screen.listed.shown_ids()[0]))
        assert orders[:4] == [("id", "dpo-001"), ("name", "dpo-001"), ("state", "dpo-001"), ("progress", "sft-001")]
        assert orders[4] == ("kl", "dpo-001")
        assert "kl↓" in scene.words(app)
        await pilot.press("i")
        await scene.until(pilot, lambda: "kl↑" in scene.words(app))
        await shown(pilot, screen, "dpo-002", "dpo-001", "sft-001")
        assert "by kl, the smallest first" in scene.words(app)


async def test_groups_fold(several: Scene) -> None:
    async with scene.bench(several.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        await pilot.press("b")
        await scene.until(pilot, lambda: "▾ stage 5 DPO optimization  2 runs" in scene.words(app))
        await pilot.press("home", "down", "down", "enter")
        assert isinstance(screen.listed.entry, Heading)
        await scene.until(pilot, lambda: "▸ stage 5 DPO optimization" in scene.words(app))
        assert screen.listed.shown_ids() == ["sft-001"]
        await pilot.press("enter")
        await shown(pilot, screen, "sft-001", "dpo-002", "dpo-001")
        for group in ("kind", "state", "tag", "parent"):
            await pilot.press("b")
            await scene.until(pilot, lambda group=group: f"by {group}" in scene.words(app))
        assert "▾ no parent" in scene.words(app)
        await pilot.press("b")
        await shown(pilot, screen, "dpo-002", "dpo-001", "sft-001")


async def test_tags_names_notes_and_the_archive(several: Scene) -> None:
    db = several.db
    async with scene.bench(several.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        await pilot.press("down")
        assert screen.listed.key == "dpo-001"
        await pilot.press("t")
        await typed(pilot, "bad, lr-sweep")
        await pilot.press("enter")
        await scene.until(pilot, lambda: runs.get(db, "dpo-001").tags == ("bad", "lr-sweep"))
        await pilot.press("N")
        await typed(pilot, "too hot")
        await pilot.press("enter")
        await scene.until(pilot, lambda: "dpo-001 too hot" in scene.words(app))
        await pilot.press("n")
        await typed(pilot, "diverged")
        await pilot.press("enter")
        assert [note.text for note in notes.of(db, "run:dpo-001")] == ["diverged"]
        await pilot.press("a")
        await shown(pilot, screen, "dpo-002", "sft-001")
        assert "1 archived hidden" in scene.words(app)
        assert [change.who for change in run_changes.of_run(db, "dpo-001")] == ["ana"] * 3
        await pilot.press("A")
        await shown(pilot, screen, "dpo-002", "dpo-001", "sft-001")
        assert "failed*" in scene.words(app)
        await pilot.press("A", "u")
        await shown(pilot, screen, "dpo-002", "dpo-001", "sft-001")
        assert runs.get(db, "dpo-001").archived is None


async def test_a_live_run_is_not_archived_and_words_that_cannot_be_stand_in_the_dialog(several: Scene) -> None:
    async with scene.bench(several.workspace).run_test(size=(80, 24)) as pilot:
        app, _ = await opened(pilot)
        await pilot.press("a")
        await scene.until(pilot, lambda: any("dpo-002 is running" in said for said in scene.told(app)))
        await pilot.press("t")
        await typed(pilot, 'a"b')
        await pilot.press("enter")
        await scene.until(pilot, lambda: "is no tag" in scene.prose(app))


async def test_several_are_tagged_archived_and_taken_out_at_once(several: Scene) -> None:
    db = several.db
    async with scene.bench(several.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        await pilot.press("down", "space", "space")
        assert "2 marked: v compares" in scene.words(app)
        await pilot.press("t")
        await typed(pilot, "old -keep")
        await pilot.press("enter")
        await scene.until(pilot, lambda: runs.get(db, "dpo-001").tags == ("old",))
        assert runs.get(db, "sft-001").tags == ("old",)
        await pilot.press("X")
        await scene.until(pilot, lambda: any("outputs/exports/dpo-001-and-1-more.json" in s for s in scene.told(app)))
        path = several.workspace.outputs / "exports" / "dpo-001-and-1-more.json"
        assert [run["id"] for run in json.loads(path.read_text())] == ["dpo-001", "sft-001"]
        assert path.stat().st_mode & 0o777 == 0o600
        await pilot.press("a")
        await shown(pilot, screen, "dpo-002")
        await pilot.press("M")
        assert "marked" not in scene.words(app)


async def test_comparing(several: Scene) -> None:
    async with scene.bench(several.workspace).run_test(size=(80, 24)) as pilot:
        app, _ = await opened(pilot)
        await pilot.press("v")
        await scene.until(pilot, lambda: any("2 to 8 runs are compared, 0 are marked" in s for s in scene.told(app)))
        await pilot.press("space", "space", "v")
        assert isinstance(app.screen, CompareScreen)
        await scene.until(pilot, lambda: "dpo.kl_divergence ↓" in scene.words(app))
        assert "best" in scene.words(app)
        await pilot.press("tab")
        await scene.until(pilot, lambda: "training.beta" in scene.words(app))
        row = next(line for line in scene.words(app).splitlines() if "training.beta" in line)
        assert row.split()[1:3] == ["0.1", "0.5"]
        await pilot.press("tab")
        await scene.until(pilot, lambda: "loss" in scene.words(app))
        await pilot.press("x")
        await scene.until(pilot, lambda: any("compare-dpo-002-and-1-more.json" in said for said in scene.told(app)))
        await pilot.press("q")
        assert app.screen is app.mode_screen


async def test_eight_runs_are_reached_sideways(empty: Scene) -> None:
    fill_with(empty, 8)
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app, _ = await opened(pilot)
        await pilot.press(*["space"] * 8, "v")
        await scene.until(pilot, lambda: "dpo.kl_divergence" in scene.words(app))
        assert "dpo-00008" not in scene.words(app).splitlines()[1]
        assert scene.words(app).splitlines()[1].startswith(" ← → 5 more")
        await pilot.press(*["right"] * 7)
        assert "dpo-00008" in scene.words(app).splitlines()[1]
        await pilot.press(*["left"] * 9)
        assert "dpo-00001" in scene.words(app).splitlines()[1]


async def test_lineage_leads_from_run_to_run(several: Scene) -> None:
    async with scene.bench(several.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        await pilot.press("tab", "tab")
        await scene.until(pilot, lambda: "made from" in scene.words(app))
        assert "sft-001  finished  checkpoints/sft (model.policy_model)" in scene.words(app)
        await pilot.press("home", "enter")
        assert screen.listed.key == "sft-001"
        assert screen.pane == "runs"
        await pilot.press("tab", "tab")
        await scene.until(pilot, lambda: "dpo-001  failed  checkpoints/sft" in scene.words(app))


async def test_details_say_why_it_failed_first_and_who_changed_what(several: Scene) -> None:
    order.note(several.db, "dpo-001", "see \x1b[31m", "bo")
    async with scene.bench(several.workspace).run_test(size=(80, 40)) as pilot:
        app, _ = await opened(pilot)
        await pilot.press("down", "enter")
        await scene.until(pilot, lambda: "loss is NaN at step 31" in scene.words(app))
        lines = [line.split() for line in scene.words(app).splitlines()]
        labels = [line[0] for line in lines[3:] if line]
        assert labels[:4] == ["dpo-001", "state", "why", "try"]
        assert "see ␛[31m" in scene.words(app)


async def test_a_run_once_more_with_the_keys_that_differ(several: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.config import RUN_CONFIGS, load_config

    config = load_config(several.workspace.configs / "dpo_config.yaml", RUN_CONFIGS["dpo"], ["training.beta=0.33"])
    runs.update(several.db, "dpo-001", config=config.model_dump(mode="json"))
    async with scene.bench(several.workspace).run_test(size=(100, 30)) as pilot:
        app, _ = await opened(pilot)
        await pilot.press("down", "R")
        await scene.until(pilot, lambda: isinstance(app.screen, start.Start))
        assert app.screen.query_one("#config", Input).value == "configs/dpo_config.yaml"
        assert app.screen.query_one("#overrides", Input).value == "training.beta=0.33"


async def test_a_run_that_goes_on_is_painted_anew(several: Scene) -> None:
    async with scene.bench(several.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        await pilot.press("down")
        runs.update(several.db, "dpo-002", step=700)
        await scene.until(pilot, lambda: "700/1000" in scene.words(app))
        made = runs.create(several.db, "dpo", config=scene.CONFIG).id
        await scene.until(pilot, lambda: made in scene.words(app))
        assert screen.listed.key == "dpo-001"  # the cursor stays on its run


async def test_ten_thousand_runs_are_reached_from_end_to_end(empty: Scene) -> None:
    fill_with(empty, 10_000)
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        await scene.until(pilot, lambda: "10,000 runs" in scene.words(app))
        await pilot.press("end")
        await scene.until(pilot, lambda: "dpo-10000" in scene.words(app))
        assert screen.listed.key == "dpo-10000"
        assert len(screen.listed._blocks) <= 3  # what is not seen was not read
        await pilot.press("slash")
        await typed(pilot, "state=failed kl<0.001")
        await scene.until(pilot, lambda: 0 < len(screen.listed.shown_ids()) < 100)
        await pilot.press("enter")
        found = screen.listed.key
        assert found is not None
        await scene.until(pilot, lambda: found in scene.words(app))
        # A run from far behind the picture can be commanded as any other.
        await scene.until(pilot, lambda: screen.run_in_hand() is not None)


def test_entries_fold() -> None:
    found = entries(["a", "b", "c"], ["x", "x", "y"], frozenset({"x"}), str.upper)
    assert found == [Heading("x", "X", 2, True), Heading("y", "Y", 1, False), "c"]
    assert entries(["a"], [], frozenset({"x"}), str) == ["a"]
    assert entries([], [], frozenset(), str) == []


async def test_hostile_words_reach_no_terminal(several: Scene) -> None:
    db = several.db
    runs.update(db, "dpo-001", name="\x1b]8;;x\x07\u202egnp\n[red]", error="\x9b2J", tags=("a\x1b[2J",))
    async with scene.bench(several.workspace).run_test(size=(200, 60)) as pilot:
        app, screen = await opened(pilot)
        await pilot.press("down", "b", "b", "b", "b")
        await scene.until(pilot, lambda: "by tag" in scene.words(app))
        screen.show_run("dpo-001")
        await pilot.pause(0.4)
        text = scene.words(app)
        assert "[red]" in text
        assert not any(character in text for character in "\x1b\x07\x9b\u202e")


def _look(*keys: str, wait: str = "") -> Any:
    async def run_before(pilot: Pilot[None]) -> None:
        app, screen = await opened(pilot)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.05)
        await scene.until(pilot, lambda: wait in scene.words(app))
        if app.screen is screen and screen.wide:
            await scene.until(pilot, lambda: "used by" in scene.words(app) or not screen.listed.key)
        await scene.settled(pilot)

    return run_before


@pytest.mark.parametrize("size", SIZES)
def test_how_no_runs_look(empty: Scene, snap_compare: Any, size: str) -> None:
    bench = scene.bench(empty.workspace, alive=False)
    assert snap_compare(bench, terminal_size=SIZES[size], run_before=_look(wait="no runs yet"))


@pytest.mark.parametrize("size", SIZES)
def test_how_a_busy_workspace_looks(several: Scene, snap_compare: Any, size: str) -> None:
    bench = scene.bench(several.workspace)
    assert snap_compare(bench, terminal_size=SIZES[size], run_before=_look("down", "space", "up", wait="●"))


@pytest.mark.parametrize("size", SIZES)
def test_how_hundreds_of_runs_look_in_groups(empty: Scene, snap_compare: Any, size: str) -> None:
    fill_with(empty, 400)
    keys = ("right_square_bracket",) * 5 + ("b", "b", "b")
    bench = scene.bench(empty.workspace, alive=False)
    assert snap_compare(bench, terminal_size=SIZES[size], run_before=_look(*keys, wait="by state"))


@pytest.mark.parametrize("size", SIZES)
def test_how_a_comparison_looks(several: Scene, snap_compare: Any, size: str) -> None:
    scene.add_metrics(several.db, "dpo-001", 300, seed=4)
    bench = scene.bench(several.workspace)
    keys = ("space", "space", "v")
    assert snap_compare(bench, terminal_size=SIZES[size], run_before=_look(*keys, wait="dpo.kl_divergence"))


def test_how_a_wrong_expression_looks(several: Scene, snap_compare: Any) -> None:
    bench = scene.bench(several.workspace)
    keys = ("slash", *"beta>0.1 kll<1")
    assert snap_compare(bench, terminal_size=SIZES["narrow"], run_before=_look(*keys, wait="did you mean"))
