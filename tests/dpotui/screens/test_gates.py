"""The Gates mode: verdicts with what they rest on, their history with its runs, and what the keys open from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from core import gates
from core.store import facts
from core.store.facts import Fact
from dpotui.app import Workbench
from dpotui.screens.gates import GatesScreen
from dpotui.widgets.gate_history import GateHistory
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

KL = (0.132, 0.118, 0.094, 0.0871, 0.1004)


@pytest.fixture
def judged(busy: Scene) -> Scene:
    """Five DPO runs, of which the KL came under its target and over it again."""
    days = len(KL)
    for day, kl in enumerate(KL):
        moment = scene.NOW - 86400 * (days - day)
        run = scene.add_run(busy.db, "dpo", state="finished", ended=moment, created=moment - 900, started=moment - 890)
        measured = Fact(
            "dpo.kl_divergence", kl, run=run, time=moment, low=kl - 0.007, high=kl + 0.007, n=32, source="sampled"
        )
        facts.record(busy.db, measured)
        gates.record(busy.db, gates.evaluate(busy.db, busy.workspace), moment)
    return busy


async def opened(pilot: Pilot[None]) -> tuple[Workbench, GatesScreen]:
    app = await scene.settled(pilot)
    await pilot.press("3")
    await scene.until(pilot, lambda: isinstance(app.screen, GatesScreen) and app.screen.table.key is not None)
    screen = app.screen
    assert isinstance(screen, GatesScreen)
    return app, screen


def _on_the_kl(*keys: str) -> Any:
    async def run_before(pilot: Pilot[None]) -> None:
        _, screen = await opened(pilot)
        screen.table.select("5/kl")
        await pilot.press(*keys)
        await pilot.pause()

    return run_before


@pytest.mark.parametrize(
    ("size", "keys"),
    [((80, 24), ()), ((80, 24), ("tab",)), ((80, 24), ("tab", "tab")), ((200, 60), ())],
    ids=["list", "details", "history", "wide"],
)
def test_how_it_looks(judged: Scene, snap_compare: Any, size: tuple[int, int], keys: tuple[str, ...]) -> None:
    assert snap_compare(scene.bench(judged.workspace), terminal_size=size, run_before=_on_the_kl(*keys))


async def test_the_history_is_told_with_its_runs_and_opens_them(judged: Scene) -> None:
    async with scene.bench(judged.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        screen.table.select("5/kl")
        await pilot.press("tab")
        said = scene.prose(app)
        assert "FAIL" in said and "stands since" in said and "measured by DPO training: g starts it" in said
        assert "target in configs/gates.yaml" in said
        await pilot.press("tab")
        words = scene.words(app)
        assert [words.count(verdict) for verdict in ("PASS", "FAIL")] == [2, 4]  # one in the chart
        assert "┤" in words and "╌" in words and words.count("dpo-003") == 2  # a mark in the chart, and a row
        past = screen.query_one(GateHistory)
        assert past.run == "dpo-007"
        await pilot.press("down", "down", "enter")
        await scene.until(pilot, lambda: app.mode_screen.MODE == "Stage")
        assert app.mode_screen.run_watched(app.snapshot) == "dpo-005"  # type: ignore[arg-type]


async def test_a_change_of_a_threshold_is_a_verdict_of_its_own(judged: Scene) -> None:
    async with scene.bench(judged.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        screen.table.select("5/kl")
        path = judged.workspace.configs / "gates.yaml"
        path.write_text(path.read_text().replace('op: "<=", threshold: 0.1', 'op: "<=", threshold: 0.2'))
        gates.follow(judged.db, judged.workspace)
        app.written()
        await pilot.press("tab", "tab")
        await scene.until(pilot, lambda: "≤0.2" in scene.words(app))
        assert scene.words(app).count("dpo-007") == 4  # two marks and two rows
        assert len(gates.history(judged.db, 5, "kl")) == 6


async def test_a_client_keeps_what_a_person_flips_once(judged: Scene) -> None:
    path = judged.workspace.configs / "gates.yaml"
    path.write_text(path.read_text().replace('op: "<=", threshold: 0.1', 'op: "<=", threshold: 0.2'))
    for _ in range(2):  # two clients, one after the other
        async with scene.bench(judged.workspace).run_test(size=(80, 24)) as pilot:
            await scene.settled(pilot)
            await scene.until(pilot, lambda: len(gates.history(judged.db, 5, "kl")) == 6)
    newest = gates.history(judged.db, 5, "kl")[0]
    assert (newest.verdict, newest.threshold, newest.run, newest.time) == ("PASS", 0.2, "dpo-007", scene.NOW)


async def test_what_was_never_measured_says_what_measures_it(judged: Scene) -> None:
    async with scene.bench(judged.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        screen.table.select("7/retention")
        await pilot.press("enter")
        said = scene.prose(app)
        assert "eval.retention has not been measured" in said
        assert "measured by evaluation of the final model: g starts it" in said
        await pilot.press("tab")
        assert "no verdict yet" in scene.words(app)
        await pilot.press("enter")  # on nothing
        await pilot.press("g")
        await scene.until(pilot, lambda: "Start: evaluation of the final model" in scene.words(app))


async def test_the_list_is_narrowed_to_what_fails(judged: Scene) -> None:
    async with scene.bench(judged.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        await pilot.press("f")
        words = scene.words(app)
        assert "KL Divergence" in words and "Pair Count" not in words and "Capability" not in words
        assert screen.narrowed() == "FAIL"
        await pilot.press("f")
        assert "Capability Retention" in scene.words(app) and "Pair Count" not in scene.words(app)
        await pilot.press("slash", *"pair", "enter")
        assert "no gate is not PASS 'pair'" in scene.words(app)
        await pilot.press("f")
        assert "Pair Count" in scene.words(app)


async def test_the_file_of_the_target_is_opened(judged: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    opened_: list[Path] = []

    async def open_config(self: Workbench, path: Path, run: str | None = None) -> None:
        opened_.append(path)

    monkeypatch.setattr(Workbench, "open_config", open_config)
    path = judged.workspace.configs / "gates.yaml"
    elsewhere = "threshold: {file: dpo_config.yaml, key: constraints.kl_target}"
    path.write_text(path.read_text().replace("threshold: 0.1}", f"{elsewhere}}}"))
    async with scene.bench(judged.workspace).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        screen.table.select("5/kl")
        await pilot.press("c")
        await scene.until(pilot, lambda: opened_)
        await pilot.press("tab")
        assert "configs/dpo_config.yaml, constraints.kl_target" in scene.prose(app)
        screen.table.select("2/pairs")
        await pilot.press("c")
        await scene.until(pilot, lambda: len(opened_) == 2)
    assert [path.name for path in opened_] == ["dpo_config.yaml", "gates.yaml"]


async def test_hostile_words_in_a_history_are_text(judged: Scene) -> None:
    judged.db.execute("UPDATE verdicts SET reason = ?", ["\x1b[31mred[bold]x\u202e\x00"])
    judged.db.conn.commit()
    async with scene.bench(judged.workspace).run_test(size=(200, 60)) as pilot:
        app, screen = await opened(pilot)
        screen.table.select("5/kl")
        await scene.until(pilot, lambda: "[bold]x" in scene.words(app))
        assert not [c for c in scene.words(app) if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e")]


@pytest.mark.parametrize("size", [(20, 6), (40, 10), (121, 12), (300, 80)])
async def test_any_room_will_do(judged: Scene, size: tuple[int, int]) -> None:
    async with scene.bench(judged.workspace).run_test(size=size) as pilot:
        _, screen = await opened(pilot)
        screen.table.select("5/kl")
        await pilot.press("tab", "tab", "down", "end", "pagedown", "home")
        assert screen.query_one(GateHistory).run == "dpo-007"


async def test_gates_that_are_not_those_of_the_file_say_so(judged: Scene) -> None:
    file = judged.workspace.configs / "gates.yaml"
    good = file.read_text()
    async with scene.bench(judged.workspace, passing=3.0).run_test(size=(80, 24)) as pilot:
        app, screen = await opened(pilot)
        before = screen.table.key
        file.write_text("gates: [oops\n")
        await scene.until(pilot, lambda: "configs/gates.yaml:2: not YAML" in scene.words(app))
        assert screen.table.key == before and "Preference Gap" in scene.words(app)
        file.write_text(good)
        await scene.until(pilot, lambda: "not YAML" not in scene.words(app))
        assert "verdict gate" in scene.words(app)
