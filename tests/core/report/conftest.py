from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from core.store import Database, open_store
from core.workspace import Workspace
from tests.core.report import made


class Bench(NamedTuple):
    workspace: Workspace
    db: Database


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; each test gets a copy of its own."""
    folder = tmp_path_factory.mktemp("report") / "work"
    made.whole(folder)[1].close()
    return folder


@pytest.fixture
def bench(master: Path, tmp_path: Path) -> Iterator[Bench]:
    workspace = Workspace(Path(shutil.copytree(master, tmp_path / "work")).resolve())
    db = open_store(workspace.database)
    yield Bench(workspace, db)
    db.close()
