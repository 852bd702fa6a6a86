"""`dpotui track` and what else the command line says of trackers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from core.errors import UserError
from core.store import Database, open_store, tracked
from core.workspace import Workspace
from dpotui.cli import cli
from tests.core.tracking import packages
from tests.core.tracking.conftest import db, run, workspace
from tests.core.tracking.packages import Package

__all__ = ["db", "run", "workspace"]


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    yield packages.put(tmp_path / "packages", monkeypatch)


def _call(workspace: Workspace, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*words, "-w", str(workspace.root)])
    if isinstance(result.exception, UserError):
        return 2, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def _documents(workspace: Workspace, *words: str) -> tuple[int, Any]:
    code, said = _call(workspace, *words, "--json")
    return code, json.loads(said)


def test_a_run_is_sent_once_and_said_so(workspace: Workspace, db: Database, run: str, wandb: Package) -> None:
    code, (told,) = _documents(workspace, "track", run, "--to", "wandb")
    assert (code, told["run"], told["tracker"], told["state"], told["rows"]) == (0, run, "wandb", "done", 44)
    assert told["place"].startswith("https://somewhere.example/")
    assert _call(workspace, "track", run, "--to", "wandb")[0] == 0
    assert len(wandb.rows()) == 44
    code, said = _call(workspace, "track")
    assert said.startswith(f"{run}         W&B at https://somewhere.example/")
    assert "(all sent, 44 rows sent)" in said
    assert "W&B at https://somewhere.example/" in _call(workspace, "runs", "show", run)[1]
    assert json.loads(_call(workspace, "runs", "show", run, "--json")[1])["trackers"][0]["rows"] == 44


def test_options_are_kept_for_what_comes_later(workspace: Workspace, db: Database, run: str, wandb: Package) -> None:
    assert _call(workspace, "track", run, "--to", "wandb", "--project", "other")[0] == 0
    assert wandb.told()[0]["init"]["project"] == "other"
    found = tracked.get(db, run, "wandb")
    assert found is not None
    assert found.options["project"] == "other"
    assert _call(workspace, "track", run, "--to", "wandb", "--anew", "--online")[0] == 0
    assert len(wandb.rows()) == 88
    assert [one["init"]["project"] for one in wandb.told() if "init" in one] == ["other", "other"]


def test_what_fails_is_one(
    workspace: Workspace, db: Database, run: str, wandb: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_FAKE", "refuse@init")
    code, said = _call(workspace, "track", run, "--to", "wandb")
    assert code == 1
    assert "Weights & Biases: no API key: set WANDB_API_KEY" in said


def test_a_process_that_is_gone_is_said_to_be(workspace: Workspace, db: Database, run: str) -> None:
    tracked.put(db, tracked.Tracked(run, "wandb", "sending"))
    _, said = _call(workspace, "track", run)
    assert f"no process is at it: dpotui track {run} --to wandb" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--to", "tensorboard"), "which run? 'dpotui runs' lists them: dpotui track RUN --to tensorboard"),
        (("dpo-001", "--anew"), "where to? --to wandb|mlflow|tensorboard"),
        (
            ("dpo-001", "--to", "tensorboard", "--uri", "http://me:secret@host"),
            "--uri holds a name or password: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead",
        ),
        (("dpo-009", "--to", "tensorboard"), "no run 'dpo-009': did you mean 'dpo-001'?"),
    ],
)
def test_wrong_use(workspace: Workspace, run: str, words: tuple[str, ...], sentence: str) -> None:
    assert _call(workspace, "track", *words) == (2, sentence)


def test_what_is_not_installed(workspace: Workspace, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.config import trackers

    monkeypatch.setitem(trackers._MODULES, "mlflow", ("there_is_no_such_module",))
    code, said = _call(workspace, "track", run, "--to", "mlflow")
    assert (code, said) == (2, "MLflow not installed: pip install 'dpotui[mlflow]'")
    (finding,) = (one for one in _documents(workspace, "doctor")[1]["findings"] if one["name"] == "trackers")
    assert finding["mend"].startswith("pip install 'dpotui[")
    assert "MLflow" in finding["mend"]


def test_in_the_background(workspace: Workspace, run: str, wandb: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from core.tracking import feeding

    root = str(Path(feeding.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", f"{wandb.folder}:{root}")
    code, (told,) = _documents(workspace, "track", run, "--to", "wandb", "--detach")
    assert (code, told["run"]) == (0, run)
    with open_store(workspace.database).conn as connection:
        deadline = time.monotonic() + 30
        while connection.execute("SELECT state FROM tracked").fetchone() != ("done",):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert len(wandb.rows()) == 44
