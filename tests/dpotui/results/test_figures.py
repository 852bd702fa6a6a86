"""Perplexity and accuracy on held-out pairs: of which model, with interval, n, source and run; in 76 cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from core.store import Database, facts, runs
from core.store.facts import Fact
from core.workspace import Workspace
from dpotui.results import Block, figures
from tests.dpotui import scene

WIDTH = 76
HOSTILE = "data/\x1b[31m\u202e[red]語.jsonl" + "x" * 300


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Workspace, Database]]:
    made, db = scene.workspace(tmp_path)
    yield made, db
    db.close()


def measured(db: Database, name: str, value: float | None, kind: str = "evaluate", *, stage: int, source: str) -> str:
    subject = "baseline" if stage == 1 else "final"
    run = runs.create(db, kind, config={"evaluation": {"subject": subject}} if kind == "evaluate" else {})
    unit = "%" if name.endswith("accuracy") else ""
    low, high = (None, None) if value is None else (value * 0.9, value * 1.1)
    facts.record(db, Fact(name, value, unit, run=run.id, low=low, high=high, n=154, source=source))
    return run.id


def shown(block: Block | None, width: int = WIDTH) -> list[str]:
    assert block is not None
    lines = ["".join(words for words, _ in line) for line in block.lines(width)]
    assert all(cell_len(line) <= width for line in lines), lines
    return [block.title, *lines]


def test_the_perplexity_of_the_baseline_stands_with_what_it_was_measured_on(place: tuple[Workspace, Database]) -> None:
    workspace, db = place
    run = measured(db, "sft.perplexity", 1.303, stage=1, source="1642 response tokens of data/sft_val.jsonl")
    lines = shown(figures.read(db, workspace, runs.get(db, run)))
    assert lines[0] == "Perplexity"
    assert "perplexity, baseline           1.303     [1.173, 1.433]    154  evaluate-001" in lines[2]
    assert lines[3] == "  1642 response tokens of data/sft_val.jsonl"


def test_a_run_in_hand_shows_its_own_and_not_the_newest(place: tuple[Workspace, Database]) -> None:
    workspace, db = place
    first = measured(db, "eval.perplexity", 2.5, stage=7, source="first")
    measured(db, "eval.perplexity", 9.5, stage=7, source="second")
    assert "2.500" in "\n".join(shown(figures.read(db, workspace, runs.get(db, first))))


def test_the_final_model_stands_beside_the_baseline(place: tuple[Workspace, Database]) -> None:
    workspace, db = place
    measured(db, "sft.perplexity", 1.3, stage=1, source="the same rows")
    assert figures.read(db, workspace, None) is None
    measured(db, "eval.perplexity", 2.4, stage=7, source="the same rows")
    run = measured(db, "eval.preference_accuracy", 96.875, stage=7, source="128 pairs")
    lines = shown(figures.read(db, workspace, runs.get(db, run)))
    assert lines[0] == "Perplexity and held-out pairs"
    rows = [line.split("  ")[0] for line in lines[2:] if not line.startswith("  ")]
    assert rows == ["perplexity, final model", "perplexity, baseline", "accuracy on held-out pairs"]
    assert "96.88 %" in lines[6]


@pytest.mark.parametrize("width", [20, 40, WIDTH])
def test_what_is_unknown_says_why_and_foreign_text_is_text(place: tuple[Workspace, Database], width: int) -> None:
    workspace, db = place
    measured(db, "eval.perplexity", None, stage=7, source=HOSTILE)
    run = measured(db, "eval.preference_accuracy", 50.0, stage=7, source=HOSTILE)
    block = figures.read(db, workspace, runs.get(db, run))
    assert block is not None
    whole = "\n".join("".join(words for words, _ in line) for line in block.lines(width))
    assert "\x1b" not in whole
    assert "\u202e" not in whole
    assert "unknown" in whole.replace("\n", " ")


def test_results_of_another_model_are_not_passed_off_as_those_of_the_run(place: tuple[Workspace, Database]) -> None:
    workspace, db = place

    def evaluated(model: str) -> str:
        run = runs.create(db, "evaluate", config={"evaluation": {"subject": "final"}, "model": {"final": model}})
        return run.id

    first, second, third = evaluated("outputs/a"), evaluated("outputs/b"), evaluated("outputs/a/")
    facts.record(db, Fact("eval.perplexity", 2.5, run=first, n=10, source="rows"))
    other = shown(figures.read(db, workspace, runs.get(db, second)))
    assert "of outputs/a: another model than outputs/b, which evaluate-002 evaluates" in " ".join(other[1:3])
    for same in (first, third):
        assert "another model" not in " ".join(shown(figures.read(db, workspace, runs.get(db, same))))
