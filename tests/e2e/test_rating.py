"""A rater at 80x24 in the real program: marks, a line that drops, going on, facts when they leave."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.store import facts, open_store, ratings
from core.store.ratings import Rating
from core.workspace import Workspace
from tests.core.evaluation.ratings.conftest import FILE, answers, evaluated
from tests.dpotui import scene
from tests.e2e.terminal import Terminal


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made, db = scene.workspace(tmp_path)
    evaluated(made, db, answers(3))
    db.close()
    return made


@pytest.fixture
def opened() -> Iterator[list[Terminal]]:
    found: list[Terminal] = []
    yield found
    for terminal in found:
        terminal.close()


def _given(workspace: Workspace) -> list[Rating]:
    with closing(open_store(workspace.database)) as db:
        return ratings.of_file(db, FILE)


def test_a_rater_comes_back(workspace: Workspace, opened: list[Terminal]) -> None:
    opened.append(Terminal("annotate", "rate", "--as", "ana", "-w", str(workspace.root)))
    terminal = opened[-1]
    terminal.until("0 of 6 answers")
    terminal.press("n7 sources\r")
    terminal.until("note 7 sources")
    terminal.press("78")
    terminal.until("saved: harmlessness 8")
    os.kill(terminal.pid, signal.SIGKILL)
    assert terminal.wait() == -signal.SIGKILL
    # Everything that the screen said was saved is there.
    assert [(one.criterion, one.mark, one.note) for one in _given(workspace)] == [
        ("", None, "7 sources"), ("helpfulness", 7, ""), ("harmlessness", 8, ""),
    ]  # fmt: skip

    opened.append(Terminal("annotate", "rate", "--as", "ana", "-w", str(workspace.root)))
    terminal = opened[-1]
    terminal.until("▌honesty▐")
    terminal.until("note 7 sources")
    terminal.press("0" + "543" * 5)
    terminal.until("Done: ana has seen all 6 answers.")
    terminal.press("q")
    assert terminal.wait() == 0
    assert terminal.restored
    words = " ".join(bytes(terminal.received).decode().split())
    assert f"saved: 16 marks of ana on {FILE}, 6 of 6 answers done" in words
    assert json.loads((workspace.root / FILE).read_text().splitlines()[0])["responses"][0]["model"] not in words
    with closing(open_store(workspace.database)) as db:
        fact = facts.latest(db)["eval.human_score"]
    assert fact.n == 3
    assert "all 3 answers of the final model rated by 1 rater (ana)" in fact.source
