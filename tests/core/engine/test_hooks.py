"""What is started when a run has ended: real programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from core.engine.hooks import Hooks
from core.store import Database, runs
from core.store.runs import Run
from core.workspace import Workspace

_TELL = """
import json, os, sys
from pathlib import Path
found = {key: value for key, value in os.environ.items() if key.startswith("DPOTUI_")}
Path(sys.argv[1]).write_text(json.dumps({"arguments": sys.argv[2:], "told": found, "at": os.getcwd()}))
"""


@pytest.fixture
def said() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def ended(db: Database) -> Run:
    run = runs.create(db, "dpo", config={}, name="--evil $(touch x)")
    runs.update(db, run.id, state="failed", error="loss is NaN")
    return runs.get(db, run.id)


def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *command: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps({"on_run_end": list(command)}))
    path.chmod(0o600)
    monkeypatch.setenv("DPOTUI_SETTINGS", str(path))


def _run(workspace: Workspace, said: list[tuple[str, str, str]], run: Run, seconds: float = 30.0) -> None:
    hooks = Hooks(workspace, lambda *line: said.append(line), seconds)
    hooks.run_ended(run)
    hooks.join()


def test_a_program_is_told_of_the_run(workspace, tmp_path, monkeypatch, said, ended) -> None:
    out = tmp_path / "out.json"
    _settings(tmp_path, monkeypatch, sys.executable, "-c", _TELL, str(out), "{run} is {state}", "{other} $(id)", "; ls")
    _run(workspace, said, ended)
    found = json.loads(out.read_text())
    # No shell has read it: what a shell would execute is a word like others.
    assert found["arguments"] == ["dpo-001 is failed", "{other} $(id)", "; ls"]
    assert found["at"] == str(workspace.root)
    assert found["told"]["DPOTUI_NAME"] == "--evil $(touch x)"
    assert found["told"]["DPOTUI_ERROR"] == "loss is NaN"
    assert (found["told"]["DPOTUI_RUN"], found["told"]["DPOTUI_KIND"]) == ("dpo-001", "dpo")
    assert said == []


def test_what_goes_wrong_stands_in_the_log(workspace, tmp_path, monkeypatch, said, ended) -> None:
    _settings(tmp_path, monkeypatch, "/no/such/program")
    _run(workspace, said, ended)
    _settings(tmp_path, monkeypatch, sys.executable, "-c", "import sys; sys.exit('no \x1b[31m bell here')")
    _run(workspace, said, ended)
    _settings(tmp_path, monkeypatch, sys.executable, "-c", "import time; time.sleep(60)")
    _run(workspace, said, ended, seconds=0.3)
    (tmp_path / "settings.yaml").write_text("on_run_ends: []")
    _run(workspace, said, ended)
    texts = [text for _, _, text in said]
    assert texts[0] == "on_run_end: /no/such/program cannot be started (No such file or directory)"
    assert texts[1].startswith("on_run_end: ended with 1: no ") and "\x1b" not in texts[1]
    assert texts[2] == "on_run_end: ended by force after 0.3 s"
    assert "on_run_ends: unknown key" in texts[3]
    assert {(run, level) for run, level, _ in said} == {("dpo-001", "warning")}


def test_nothing_is_started_where_nothing_is_asked(workspace, said, ended) -> None:
    _run(workspace, said, ended)
    assert said == []
