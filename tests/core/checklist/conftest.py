"""A workspace with the checklists that ship, and its store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core import checklist
from core.checklist import Item, ItemState
from core.store import Database, facts, open_store
from core.store.facts import Fact
from core.store.files import fingerprints
from core.workspace import Workspace, create_workspace


@dataclass
class Bench:
    """What a test needs at hand."""

    workspace: Workspace
    db: Database

    @property
    def roots(self) -> list[Item]:
        return checklist.load_tree(self.workspace)

    def item(self, name: str) -> Item:
        return checklist.by_id(self.roots)[name]

    def states(self) -> dict[str, ItemState]:
        return checklist.states(self.db, self.workspace, self.roots)

    def state(self, name: str) -> ItemState:
        return self.states()[name]

    def measure(self, name: str, value: float | None, unit: str = "", **more: object) -> None:
        facts.record(self.db, Fact(name, value, unit, **more))  # type: ignore[arg-type]

    def inputs(self, path: str, text: str) -> dict[str, str]:
        self.workspace.path(path).write_text(text)
        return fingerprints(self.db, self.workspace, path)

    def write(self, name: str, text: str) -> Path:
        path = self.workspace.checklists / name
        path.write_bytes(text.encode())
        return path

    def exports(self) -> dict[str, str]:
        found = self.states()
        return {d.name: checklist.render(d, found) for d in checklist.load_documents(self.workspace)}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    workspace = create_workspace(tmp_path / "work space")
    db = open_store(workspace.database, create=True)
    yield Bench(workspace, db)
    db.close()
