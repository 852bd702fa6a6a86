"""What is worth a word, and what rings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.store import Database, facts, runs
from core.store.facts import Fact
from core.workspace import Workspace
from dpotui.live import Reader, Snapshot
from dpotui.notices import notices
from tests.dpotui import scene


def _look(workspace: Workspace) -> Snapshot:
    reader = Reader(workspace, lambda: scene.NOW, lambda w, db: True)
    found = reader.look("dpo-002")
    reader.close()
    assert found is not None
    return found


def _told(before: Snapshot, workspace: Workspace) -> list[tuple[str, str, bool]]:
    return [tuple(notice) for notice in notices(before, _look(workspace))]  # type: ignore[misc]


def _busy(tmp_path: Path) -> tuple[Workspace, Database]:
    workspace, db = scene.workspace(tmp_path)
    scene.busy(db)
    return workspace, db


def test_an_end_rings_and_a_failure_is_an_error(tmp_path: Path) -> None:
    workspace, db = _busy(tmp_path)
    before = _look(workspace)
    assert _told(before, workspace) == []
    runs.update(db, "dpo-002", state="finished")
    assert _told(before, workspace) == [("dpo-002 finished", "information", True)]
    runs.update(db, "dpo-002", state="failed", error="out of memory")
    assert _told(before, workspace) == [("dpo-002 failed: out of memory", "error", True)]
    runs.update(db, "dpo-002", state="interrupted", error=None)
    assert _told(before, workspace) == [("dpo-002 interrupted, r resumes it", "error", True)]


def test_a_gate_that_turns_rings(tmp_path: Path) -> None:
    workspace, db = _busy(tmp_path)
    before = _look(workspace)
    facts.record(db, Fact("dpo.kl_divergence", 0.08, run="dpo-002", time=scene.NOW))
    assert _told(before, workspace) == [("PASS  KL Divergence 0.0800 (≤0.1), was FAIL", "information", True)]


def test_the_guard_rings_whichever_screen_is_in_front(tmp_path: Path) -> None:
    workspace, db = _busy(tmp_path)
    before = _look(workspace)
    elsewhere = replace(before, watched=None)
    scene.add_guard(db, "dpo-002", 400, 1)
    told = _told(elsewhere, workspace)
    assert told == [("dpo-002: the KL guard acted at step 400, the log says how", "warning", True)]
    # It is told once, and a run that begins with a guard that has acted tells nothing.
    assert _told(_look(workspace), workspace) == []


def test_the_first_picture_tells_nothing(tmp_path: Path) -> None:
    workspace, _ = _busy(tmp_path)
    assert list(notices(None, _look(workspace))) == []
