"""`dpotui train` and memory: what --dry-run says, when a run is warned of, and when it is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.hardware import MemoryLimit
from core.store import open_store, runs
from core.training import forecast
from core.workspace import Workspace
from dpotui.cli import main
from tests.core.training import tiny
from tests.dpotui.test_hardware_cli import CONFIG

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def trainable(tmp_path: Path) -> Workspace:
    space, db = tiny.workspace(tmp_path / "w")
    db.close()
    (space.configs / "dpo_config.yaml").write_text(CONFIG.replace("batch_size: auto", "batch_size: 16"))
    return space


@pytest.fixture
def train(trainable: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in the workspace: exit status, stdout, stderr."""
    monkeypatch.chdir(trainable.root)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dpotui", "train", *words])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def needed(trainable: Workspace) -> int:
    """Bytes that the configuration's run is estimated to take."""
    return forecast.forecast(trainable, tiny.dpo_config(training_batch_size=16, adapter_dropout=0.0)).estimate.bytes


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    def has(limit: int, physical: int) -> None:
        monkeypatch.setattr(forecast, "memory_limit", lambda device: MemoryLimit(limit, physical, "a test"))

    return has


def started(workspace: Workspace) -> list[str]:
    db = open_store(workspace.database)
    found = [run.id for run in runs.listing(db)]
    db.close()
    return found


def test_a_dry_run_says_all_and_starts_nothing(train: Run, trainable: Workspace) -> None:
    code, out, err = train("dpo", "--dry-run")
    assert (code, err) == (0, "")
    assert out.startswith("dpo: models/tiny, lora, data/pairs_train.jsonl: 3 steps of 2 x 16\n")
    assert "compute.device: auto: " in out
    assert "memory: SAFE: about " in out
    assert started(trainable) == []


def test_a_dry_run_is_one_document_for_programs(train: Run, trainable: Workspace) -> None:
    code, out, _ = train("dpo", "--dry-run", "--json", "--set", "training.batch_size=auto")
    document = json.loads(out)
    assert code == 0
    assert document["kind"] == "dpo"
    assert document["config"]["training"]["batch_size"] == "auto"
    assert document["memory"]["batch_size"] == 1  # there is no starting point for this machine
    assert document["memory"]["verdict"] == "SAFE"
    assert document["missing"] == []
    assert started(trainable) == []


def test_a_dry_run_names_what_is_missing(train: Run, trainable: Workspace) -> None:
    (trainable.data / "pairs_val.jsonl").unlink()
    code, out, _ = train("dpo", "--dry-run", "--set", "model.policy_model=checkpoints/none")
    assert code == 0
    assert "missing: data.validation_file: " in out
    assert "missing: model.policy_model: " in out
    assert "memory: the model checkpoints/none is not on this machine yet" in out


def test_with_resume_there_is_nothing_to_try(train: Run) -> None:
    code, out, err = train("dpo", "--dry-run", "--resume", "dpo-001")
    assert (code, out) == (2, "")
    assert "--dry-run is for a run that is not there yet" in err


def test_what_fits_is_not_warned_of(train: Run, trainable: Workspace) -> None:
    code, _, err = train("dpo", "--in-process", "--json")
    assert code == 0
    assert "warning" not in err
    assert started(trainable) == ["dpo-001"]


def test_what_is_too_large_is_warned_of_and_goes_on(
    train: Run, trainable: Workspace, machine: Callable[[int, int], None], needed: int
) -> None:
    machine(needed - 1, needed)
    code, _, err = train("dpo", "--in-process", "--json")
    assert code == 0
    first = err.splitlines()[0]
    assert first.startswith("warning: memory: TOO LARGE: about ")
    assert "; set " in first
    assert started(trainable) == ["dpo-001"]


def test_what_cannot_be_is_refused_with_what_would_fit(
    train: Run, trainable: Workspace, machine: Callable[[int, int], None], needed: int
) -> None:
    machine(needed - 2, needed - 1)
    code, out, err = train("dpo", "--in-process")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "TOO LARGE" in err
    assert "; set " in err
    assert "--force starts it all the same" in err
    assert started(trainable) == []


def test_force_starts_it_all_the_same(
    train: Run, trainable: Workspace, machine: Callable[[int, int], None], needed: int
) -> None:
    machine(needed - 2, needed - 1)
    code, _, err = train("dpo", "--in-process", "--json", "--force")
    assert code == 0
    assert err.startswith("warning: memory: TOO LARGE")
    assert started(trainable) == ["dpo-001"]


def test_the_check_of_the_policy_trains_nothing(
    train: Run, trainable: Workspace, machine: Callable[[int, int], None]
) -> None:
    machine(1, 2)
    code, _, err = train("init", "--in-process", "--json")
    assert code == 0
    assert "warning: memory" not in err
