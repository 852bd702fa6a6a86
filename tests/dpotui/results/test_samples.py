"""Samples in the pane: side by side where there is room, below each other where not; texts are text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from core.errors import UserError
from core.store import Database, facts, open_store, runs
from core.store.facts import Fact
from core.workspace import Workspace, create_workspace
from dpotui import results
from dpotui.results import samples

HOSTILE = "\x1b]0;owned\x07\x1b[31m[red]" + "日本語 " * 40 + "\u202e"


@pytest.fixture
def place(tmp_path: Path) -> tuple[Workspace, Database]:
    space = create_workspace(tmp_path / "w")
    return space, open_store(space.database, create=True)


def evaluated(space: Workspace, db: Database, rows: list[Any], subject: str = "final") -> runs.Run:
    run = runs.create(db, "evaluate", config={"evaluation": {"subject": subject}})
    folder = space.root / "outputs" / run.id
    folder.mkdir(parents=True)
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs.update(db, run.id, state="finished", output_dir=f"outputs/{run.id}")
    facts.record(db, Fact("sft.samples" if subject == "baseline" else "eval.samples", 1.0, run=run.id))
    return runs.get(db, run.id)


def row(**changes: Any) -> dict[str, Any]:
    answers = [
        {"who": "final", "model": "a", "text": "Owls live in a hollow tree.", "finish": "stop", "tokens": 7},
        {"who": "baseline", "model": "b", "text": HOSTILE, "finish": "length", "tokens": 48},
        {"who": "base", "model": "c", "text": None, "why": "no chat template"},
    ]
    return {"line": 1, "prompt": "Where do owls live?", "answers": answers, **changes}


def shown(block: results.Block | None, width: int) -> list[str]:
    assert block is not None
    lines = ["".join(text for text, _ in line) for line in block.lines(width)]
    assert max(map(cell_len, lines)) <= width
    assert not [line for line in lines if "\x1b" in line or "\u202e" in line or "\x07" in line]
    return lines


def test_wide_and_narrow(place: tuple[Workspace, Database]) -> None:
    space, db = place
    chat = row(prompt=[{"role": "user", "content": "And bats?"}], answers=row()["answers"][:2])
    run = evaluated(space, db, [row(), chat])
    block = samples.read(db, space, run)
    wide = shown(block, 100)
    assert block is not None
    assert block.title == f"Samples of {run.id}"
    assert wide[0] == "1. Where do owls live?"
    assert [name.split("  ")[0].strip() for name in wide[1].split(" │ ")] == ["final", "baseline", "base"]
    assert "cut at 48 tokens" in wide[1]
    assert wide[2].startswith("Owls live in a hollow tree.")
    assert "not asked: no chat template" in wide[2]
    narrow = shown(block, 76)
    assert [line for line in narrow if "│" in line] == []
    assert narrow[1:3] == ["  final", "    Owls live in a hollow tree."]
    assert "␛]0;owned␇␛[31m[red]" in "".join(narrow)
    assert any(line == "2. And bats?" for line in narrow)


def test_of_which_run(place: tuple[Workspace, Database]) -> None:
    space, db = place
    assert samples.read(db, space, None) is None
    first = evaluated(space, db, [row()], "baseline")
    second = evaluated(space, db, [row()])
    sft = runs.create(db, "sft", config={})
    titles = [samples.read(db, space, run) for run in (first, second, sft)]
    assert [block and block.title for block in titles] == [f"Samples of {run.id}" for run in (first, second, first)]
    # An evaluation without samples of its own shows the newest that has some.
    bare = runs.create(db, "evaluate", config={"evaluation": {"subject": "final"}})
    block = samples.read(db, space, bare)
    assert block is not None
    assert block.title == f"Samples of {second.id}"


def test_much_of_it_and_broken(place: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch) -> None:
    space, db = place
    long = row(answers=[{"who": "final", "text": "word " * 100_000, "finish": "stop", "tokens": 100_000}])
    run = evaluated(space, db, [long] + [row()] * 60)
    block = samples.read(db, space, run)
    assert block is not None
    assert block.title == f"Samples of {run.id} (the first 20 of 61)"
    assert len(shown(block, 100)) < 1000
    assert shown(block, 76)[13].strip() == "…"
    path = space.root / "outputs" / run.id / "samples.jsonl"
    path.write_text(json.dumps(row()) + '\n{"prompt": 3}\n')
    with pytest.raises(UserError, match=r"samples.jsonl:2: no sample: 'dpotui evaluate --only samples' writes them"):
        samples.read(db, space, run)
    assert samples.__name__ in results.PROVIDERS[1]
    assert samples.__name__ in results.PROVIDERS[7]
    monkeypatch.setitem(results.PROVIDERS, 7, (samples.__name__,))
    (block,) = results.read(db, space, 7, run)
    assert block.title == "samples"
    assert "samples.jsonl:2" in shown(block, 200)[0]
