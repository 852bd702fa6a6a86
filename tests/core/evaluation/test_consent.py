"""Code that a model writes runs only where a person agreed, and what that means is told before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.config import EvalConfig, load_config
from core.errors import UserError
from core.evaluation import consent, sandbox
from core.evaluation.sandbox import Sandbox
from core.workspace import Workspace, create_workspace

SHIPPED = Path(__file__).parents[3] / "configs"
AGREED = "capability_benchmarks.humaneval.run_generated_code=true"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create_workspace(tmp_path / "work")
    shutil.copytree(SHIPPED, made.configs, dirs_exist_ok=True)
    return made


def told(workspace: Workspace, *overrides: str) -> list[str]:
    return consent.told(workspace, load_config(workspace.configs / "eval_config.yaml", EvalConfig, overrides))


def refuse() -> Sandbox:
    raise AssertionError("nothing is to be tried")


def test_it_is_off_by_default_and_says_how_to_agree(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "here", refuse)
    (line,) = told(workspace)
    assert line.startswith("humaneval is not measured: code that the model writes is not run until a person agrees")
    assert line.endswith(AGREED)


def test_where_a_person_agreed_what_is_not_enforced_is_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "here", lambda: Sandbox("limits", ("time",), ("this can be read", "that, too")))
    assert told(workspace, AGREED) == [
        "humaneval runs code that the model writes; sandbox: limits; NOT enforced here: this can be read; that, too"
    ]
    monkeypatch.setattr(sandbox, "here", lambda: Sandbox("bubblewrap", ("time",), ()))
    assert told(workspace, AGREED)[0].endswith("sandbox: bubblewrap, every limit holds")

    def absent() -> Sandbox:
        raise UserError("code cannot be run here: limits: does not start")

    monkeypatch.setattr(sandbox, "here", absent)
    assert told(workspace, AGREED)[0].endswith("code cannot be run here: limits: does not start")


@pytest.mark.parametrize("other", ["evaluation.parts=[perplexity]", "capability_benchmarks.humaneval.task=gsm8k"])
def test_nothing_is_said_where_no_benchmark_asks_for_code(
    workspace: Workspace, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "here", refuse)
    assert told(workspace, other) == []
