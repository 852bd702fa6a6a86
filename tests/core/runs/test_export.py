"""Runs taken out: tables and documents that other programs read."""

from __future__ import annotations

import csv
import io
import json
import math
import stat

import pytest

from core.errors import UserError
from core.runs import export
from core.store import Database, metrics, notes, transaction
from core.workspace import Workspace
from tests.core.runs.conftest import add, measure


@pytest.fixture
def trained(db: Database) -> tuple[str, str]:
    first, second = add(db), add(db)
    with transaction(db):
        metrics.write(db, [(first, step, "loss", 0.7 - step / 100, 0.0) for step in (10, 20)])
        metrics.write(db, [(first, 20, "grad_norm", math.nan, 0.0), (second, 5, "eval_loss", 0.25, 0.0)])
    measure(db, first, dpo__kl_divergence=0.08)
    notes.add(db, f"run:{first}", 'a "note", ü', "ana")
    return first, second


def test_a_table_of_several_runs(db: Database, trained: tuple[str, str]) -> None:
    file = io.StringIO()
    export.write_csv(db, trained, file)
    rows = list(csv.reader(io.StringIO(file.getvalue())))
    assert rows[0] == ["run", "step", "loss", "grad_norm", "eval_loss"]
    assert rows[1:] == [
        ["dpo-001", "10", "0.6", "", ""], ["dpo-001", "20", "0.49999999999999994", "", ""],
        ["dpo-002", "5", "", "", "0.25"],
    ]  # fmt: skip


def test_a_document(db: Database, trained: tuple[str, str]) -> None:
    file = io.StringIO()
    export.write_json(db, trained, file)
    first, second = json.loads(file.getvalue())
    assert first["metrics"] == {"loss": [[10, 0.6], [20, 0.49999999999999994]], "grad_norm": [[20, None]]}
    assert first["facts"]["dpo.kl_divergence"]["value"] == 0.08
    assert first["config"]["training"]["beta"] == 0.1
    assert first["notes"][0]["text"] == 'a "note", ü'
    assert second["id"] == "dpo-002"


@pytest.mark.parametrize("form", export.FORMATS)
def test_files_are_for_their_owner(
    db: Database, workspace: Workspace, trained: tuple[str, str], form: export.Format
) -> None:
    path = export.save(db, workspace, trained, form)
    assert workspace.relative(path) == f"outputs/exports/dpo-001-and-1-more.{form}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert export.save(db, workspace, trained[:1], form).name == f"dpo-001.{form}"
    path.parent.joinpath(f"dpo-002.{form}").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        export.save(db, workspace, trained[1:], form)
