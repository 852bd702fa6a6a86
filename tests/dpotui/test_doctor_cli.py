"""`dpotui doctor`: what it looks at, and that a problem has its mend and its exit status."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from core import hardware
from core.engine.lock import engine_lock
from core.store import Database, engines, runs
from core.workspace import Workspace
from dpotui.commands import doctor
from tests.dpotui.test_gates_cli import Shell, inside, outside

__all__ = ["inside", "outside"]  # fixtures


def _finding(document: dict, name: str) -> dict:
    (found,) = [finding for finding in document["findings"] if finding["name"] == name]
    return found


def test_it_works_where_there_is_no_workspace(outside: Shell) -> None:
    document = outside.json("doctor")
    assert _finding(document, "workspace")["state"] == "note"
    assert "dpotui init" in _finding(document, "workspace")["text"]
    assert list(outside.folder.iterdir()) == []


def test_the_machine_is_measured_not_guessed(outside: Shell) -> None:
    document = outside.json("doctor")
    machine = document["machine"]
    assert machine["python"] == sys.version.split()[0]
    assert machine["cores"] >= 1
    assert 1e9 < machine["memory_available"] <= machine["memory"]
    assert document["versions"]["mlx"]
    assert document["versions"]["mlx-lm"]
    assert document["measured"] is None


def test_full_loads_mlx_in_another_process(outside: Shell) -> None:
    document = outside.json("doctor", "--full")
    measured = document["measured"]
    assert measured["gflops_float32"] > 0.1
    assert measured["device"] in ("cpu", "gpu")
    assert _finding(document, "mlx")["state"] == "ok"


def test_an_mlx_that_does_not_load_is_a_problem(outside: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    document = outside.json("doctor", "--full", code=1)
    assert "error" in document["measured"]
    assert _finding(document, "mlx")["state"] == "problem"
    assert _finding(document, "mlx")["mend"]


def test_a_missing_openblas_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dataclasses import replace

    monkeypatch.setattr(sys, "platform", "linux")
    here = replace(hardware.look(tmp_path), accelerator=None, openblas=None)
    (found,) = doctor._blas(here)
    assert found.state == "note"
    assert "libopenblas0-pthread" in found.mend
    (found,) = doctor._blas(replace(here, openblas="libopenblas.so.0"))
    assert found.state == "ok"
    assert list(doctor._blas(replace(here, accelerator="cuda"))) == []


def test_an_environment_variable_without_effect_is_called_that() -> None:
    (found,) = doctor._environment({"MLX_METAL_PREALLOCATE": "1"})
    assert "has no effect in MLX" in found.text
    assert list(doctor._environment({"MLX_METAL_FAST_SYNCH": "1"})) == []


def test_the_workspace_that_others_can_read(inside: Shell, workspace: Workspace) -> None:
    assert _finding(inside.json("doctor"), "workspace")["state"] == "ok"
    workspace.root.chmod(0o755)
    assert _finding(inside.json("doctor"), "workspace")["state"] == "ok"  # what is in it is private
    workspace.data.chmod(0o755)
    found = _finding(inside.json("doctor"), "workspace")
    assert found["state"] == "note"
    assert "can read data" in found["text"]
    assert "chmod" in found["mend"]


def test_a_database_of_something_else_is_a_problem(inside: Shell, workspace: Workspace) -> None:
    workspace.database.write_bytes(b"not a database" * 100)
    found = _finding(inside.json("doctor", code=1), "store")
    assert found["state"] == "problem"


def test_the_engine_and_what_it_has_to_do(inside: Shell, workspace: Workspace, db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    found = _finding(inside.json("doctor"), "engine")
    assert found["state"] == "note"
    assert "1 queued" in found["text"]
    assert "dpotui engine" in found["mend"]
    engines.register(db, "detached", "0.1.0")
    with engine_lock(workspace.engine_lock):
        runs.update(db, run, state="running")
        found = _finding(inside.json("doctor"), "engine")
        assert found["state"] == "ok"
        assert "1 running" in found["text"]
    document = inside.json("doctor")
    assert run in _finding(document, "runs")["text"]
    assert f"dpotui runs resume {run}" in _finding(document, "runs")["mend"]


def test_people_read_a_line_a_finding(inside: Shell) -> None:
    said = inside.run("doctor")
    assert "mlx" in said
    assert "private" in said
    assert "PROBLEM" not in said
