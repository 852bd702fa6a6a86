"""The capability table: both models, what is left, and why something cannot be said; in 76 cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from core.evaluation import items
from core.intervals import wilson
from core.store import Database, benchmarks, runs
from core.store.benchmarks import Result
from core.workspace import Workspace
from dpotui.results import Block, capability
from tests.dpotui import scene

WIDTH = 76


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Workspace, Database]]:
    made, db = scene.workspace(tmp_path)
    yield made, db
    db.close()


def add(place: tuple[Workspace, Database], subject: str, name: str, right: int, n: int, **more: Any) -> str:
    workspace, db = place
    run = runs.create(db, "evaluate", config={"evaluation": {"subject": subject}})
    marks = [1.0] * right + [0.0] * (n - right)
    rows = [{"id": str(i), "correct": mark} for i, mark in enumerate(marks)]
    file = workspace.relative(items.write(workspace.root / "outputs" / run.id, name, rows))
    low, high = wilson(right, n)
    conditions = {"harness": "lm-evaluation-harness", "version": "0.4.13", "shots": 5, **more.pop("conditions", {})}
    benchmarks.record(
        db,
        Result(run.id, subject, name, "accuracy", right / n, n, file, subject, conditions, low=low, high=high,
               seconds=61.0, **more),  # type: ignore[arg-type]
    )  # fmt: skip
    return run.id


def text(block: Block | None, width: int = WIDTH) -> list[str]:
    assert block is not None
    lines = ["".join(words for words, _ in line) for line in block.lines(width)]
    assert all(cell_len(line) <= width for line in lines), lines
    return [block.title, *lines]


def test_nothing_measured_is_nothing_shown(place: tuple[Workspace, Database]) -> None:
    assert capability.read(place[1], place[0], None) is None


def test_the_baseline_alone(place: tuple[Workspace, Database]) -> None:
    add(place, "baseline", "mmlu", 13, 40, chance=0.25)
    run = runs.get(place[1], add(place, "baseline", "gsm8k", 30, 100))
    shown = text(capability.read(place[1], place[0], run))
    assert shown[0] == "Capability of the baseline, evaluate-002"
    assert shown[2].split() == ["gsm8k", "accuracy", "0.300", ".219–.396", "100", "5", "—"]
    sft = runs.create(place[1], "sft", config={})
    shown = text(capability.read(place[1], place[0], sft))
    assert shown[2].split() == ["mmlu", "accuracy", "0.325", ".201–.480", "40", "5", "0.25"]
    assert "cannot show a loss" in " ".join(shown[4:])
    assert shown[-1] == "mmlu, gsm8k by lm-evaluation-harness 0.4.13; 02:02"


def test_both_and_what_is_left(place: tuple[Workspace, Database]) -> None:
    for subject, marks in (("baseline", (70, 60, 0)), ("final", (50, 60, 1))):
        for name, right in zip(("mmlu", "gsm8k", "humaneval"), marks, strict=True):
            run = add(place, subject, name, right, 100)
    shown = text(capability.read(place[1], place[0], runs.get(place[1], run)))
    assert shown[0].startswith("Capability, evaluate-004, evaluate-005, evaluate-006 against evaluate-001")
    rows = {line.split()[0]: line.split() for line in shown[2:6]}
    # A regression is marked, not only coloured.
    assert rows["mmlu"][:6] == ["mmlu", "0.700", ".604–.781", "0.500", ".404–.596", "✗"]
    assert rows["mmlu"][6] == "71.4%"
    assert rows["gsm8k"][5:] == ["100.0%", "100–100", "100", "5"]
    assert rows["humaneval"][5] == "—"
    assert rows["mean"][:6] == ["mean", "of", "2,", "worst", "mmlu", "85.7%"]
    rest = " ".join(shown[6:])
    assert "humaneval: the baseline got none of 100 right: it cannot show a loss" in rest
    assert "mmlu: CRITICAL REGRESSION" in rest


def test_what_may_not_be_compared_says_why(place: tuple[Workspace, Database]) -> None:
    add(place, "baseline", "mmlu", 70, 100, conditions={"shots": 0})
    run = add(place, "final", "mmlu", 70, 100)
    shown = text(capability.read(place[1], place[0], runs.get(place[1], run)))
    assert "retention is UNKNOWN: no benchmark can be compared" in shown
    assert "mmlu: measured otherwise: shots 0 then, 5 now" in shown


def test_names_from_elsewhere_are_cut_and_harmless(place: tuple[Workspace, Database]) -> None:
    add(place, "baseline", "a" * 60, 7, 10, conditions={"harness": "\x1b[31mred"})
    run = add(place, "final", "a" * 60, 7, 10, conditions={"harness": "\x1b[31mred"})
    shown = text(capability.read(place[1], place[0], runs.get(place[1], run)))
    assert "\x1b" not in "".join(shown)
    assert "a…" in shown[2]


async def test_it_stands_in_stage_7(place: tuple[Workspace, Database]) -> None:
    add(place, "baseline", "mmlu", 70, 100)
    run = add(place, "final", "mmlu", 69, 100)
    async with scene.bench(place[0]).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_run(run)
        await pilot.press("tab")
        await scene.until(pilot, lambda: "98.6%" in scene.words(app))


def test_wide_names_keep_the_columns_and_long_ones_are_cut(place: tuple[Workspace, Database]) -> None:
    names = ("語" * 30, "👩\u200d👩\u200d👧 family", "b" * 120, "gsm8k")
    for name in names:
        add(place, "baseline", name, 60, 100)
        run = add(place, "final", name, 20, 100)
    shown = text(capability.read(place[1], place[0], runs.get(place[1], run)))
    rows = shown[2 : 2 + len(names)]
    # The right edge of n and shots stands below that of their titles.
    assert {cell_len(row) for row in [shown[1], *rows]} == {cell_len(shown[1])}
    assert all(row.endswith("  100     5") for row in rows)
    assert f"{'b' * 39}…: CRITICAL REGRESSION" in "\n".join(shown)
