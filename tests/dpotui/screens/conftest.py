from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from core.store import Database
from core.workspace import Workspace
from dpotui.machine import Machine
from dpotui.screens import hardware
from dpotui.widgets.card import Entry
from tests.dpotui import scene


class Scene(NamedTuple):
    workspace: Workspace
    db: Database


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times on screen are local; snapshots are of one zone. Colours are the program's own."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("NO_COLOR", raising=False)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same machine wherever the tests run."""
    entries = [
        Entry("", "Apple M4 Max", "title"),
        Entry("memory", "68.7 GB, 51.2 free"),
        Entry("start with", "32 pairs"),
    ]
    limits = {"memory": 68.7e9, "gpu.memory": 51.5e9}
    machine = Machine(entries, "Apple M4 Max", limits, {"Apple M4 Max": 32, "Apple M3 Ultra": 4})
    monkeypatch.setattr(hardware, "read_machine", lambda *_: machine)
    monkeypatch.setattr(hardware, "new_monitor", scene.Looking)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Scene]:
    workspace, db = scene.workspace(tmp_path)
    yield Scene(workspace, db)
    db.close()


@pytest.fixture
def busy(empty: Scene) -> Scene:
    scene.busy(empty.db)
    return empty
