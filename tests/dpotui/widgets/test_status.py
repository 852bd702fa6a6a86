"""The first line: all of it is there at 80 columns, and what gives way is what can be spared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.store import open_store, runs
from core.workspace import Workspace, create_workspace
from dpotui.live import Engine, Snapshot
from dpotui.terminal import Link
from dpotui.widgets.status import Status


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    workspace = create_workspace(tmp_path / "persona-preferences-m4")
    db = open_store(workspace.database, create=True)
    made = runs.create(db, "dpo", config={}, steps=1000)
    runs.update(db, made.id, state="running", step=412, phase="training")
    live = runs.get(db, made.id)
    db.close()
    return Snapshot(workspace, 0.0, (live,), 1, live, eta=511.0, engine=Engine(True, True))


def _line(snapshot: Snapshot, width: int, link: Link = Link()) -> str:  # noqa: B008 - never changed
    status = Status()
    status.fill(snapshot, None, link)
    return "".join(text for text, _ in status.row(0, width))


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_it_always_says_all(snapshot: Snapshot, width: int) -> None:
    line = _line(snapshot, width)
    assert len(line) <= width
    for word in ("persona", "5", "dpo-001", "training", "41%", "eta 08:31", "engine ok", "link ok"):
        assert word in line, line


def test_steps_give_way_to_what_is_wrong_with_the_line(snapshot: Snapshot) -> None:
    long = replace(snapshot, eta=90061.0, engine=Engine(True, True, 25.0))
    line = _line(long, 80, Link("slow", 4.0))
    assert "link slow 4 s" in line
    assert "engine silent 25 s" in line
    assert "412/1000" not in line
    assert len(line) <= 80


def test_a_workspace_of_any_name(snapshot: Snapshot) -> None:
    for name in ("漢" * 40, "x" * 200, "/"):
        other = replace(snapshot, workspace=Workspace(Path("/") / name))
        assert "link ok" in _line(other, 80)
