"""What every test may use: a fresh workspace, its database, and time enough on a slow machine."""

from __future__ import annotations

import gc
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Tests run beside each other: OpenBLAS's own threads would wait for a processor, and spin while they do. Before blas.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Each process of a parallel run keeps to one processor, with all that it starts: MLX on a CPU hands every array over
# between two threads, and waking one on another processor costs more than its work, most of all in virtual machines.
if (_worker := os.environ.get("PYTEST_XDIST_WORKER", "")) and hasattr(os, "sched_setaffinity"):
    _processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_processors[int(_worker.removeprefix("gw")) % len(_processors)]})
# The settings of whoever runs the tests are theirs.
os.environ["DPOTUI_SETTINGS"] = "/dev/null"

from core import blas as blas  # before any test imports mlx.core: tests compute as the program does
from core.store import Database, open_store
from core.workspace import Workspace, create_workspace

# A deadline for each example makes slow machines fail tests that are right.
settings.register_profile("house", deadline=None, max_examples=60)
settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: begun last, they would keep one process busy while the others have nothing left.

    The rest shuffled, always the same: files of tests that wait lie beside each other, and so do those that compute.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, zlib.crc32(item.nodeid.split("::")[0].encode())))


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the collector need not look through it again and again.

    Nor every 700 objects through the rest: a test ends soon.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace as `dpotui init` makes it, with its database."""
    made = create_workspace(tmp_path / "workspace")
    open_store(made.database, create=True).close()
    return made


@pytest.fixture
def db(workspace: Workspace) -> Iterator[Database]:
    database = open_store(workspace.database)
    yield database
    database.close()
