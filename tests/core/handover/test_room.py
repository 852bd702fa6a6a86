"""Where memory or disk are short."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from core import hardware
from core.errors import UserError
from core.handover.room import rounds
from core.hardware import MemoryLimit
from core.model_folder import read_shape
from core.store import log
from tests.core.handover import made
from tests.core.handover.test_request import asked
from tests.core.training import tiny


def test_short_memory_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    made.adapter(space, "outputs/a")
    monkeypatch.setattr(hardware, "memory_limit", lambda device: MemoryLimit(1000, 10**9, "said here"))
    run = made.export(space, db, "outputs/a")
    assert any("memory is short for float32" in line.text for line in log.lines(db, run.id, level="warning"))
    assert "in the type of the weights" in (space.outputs / "a-export" / "README.md").read_text()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"0\.0 GB are to be written and the disk has 0\.0: free some"):
        made.export(space, db, "outputs/a", output="outputs/b")
    assert not (space.outputs / "b").exists()


def test_what_is_rounded(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    shape = read_shape(space.path("models/tiny"))
    for wishes, wanted in (
        ({}, False),
        ({"dtype": "float32"}, False),
        ({"dtype": "float16"}, True),
        ({"quantize": 8}, True),
    ):
        config = asked((space, db), "models/tiny", pairs="data/pairs_val.jsonl", **wishes)
        assert rounds(shape, config) is wanted, wishes
