"""`dpotui sweep`: what it would do, how one stands, and its best trial written into a configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.store import open_store, runs
from core.workspace import Workspace
from dpotui.cli import main
from tests.core.training import tiny
from tests.dpotui import sweeps

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    made, db = tiny.workspace(tmp_path / "w", pairs=8)
    sweeps.add_sweep(made, db, live=False)
    db.close()
    return made


@pytest.fixture
def sweep(space: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in the workspace: exit status, stdout, stderr."""
    monkeypatch.chdir(space.root)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dpotui", "sweep", *words])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


def test_a_dry_run_tells_a_person_and_a_script(space: Workspace, sweep: Run) -> None:
    (space.configs / "mine.yaml").write_text(sweeps.FILE + "program: train.py\n")
    status, out, _ = sweep("--config", "configs/mine.yaml", "--dry-run", "--trials", "5")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith(
        "5 trials, bayes: maximize validation/rewards/accuracies: eval_rewards/accuracies of the"
    )
    assert [line.split()[:2] for line in lines[2:6]] == [
        ["learning_rate", "training.learning_rate"],
        ["beta", "training.beta"],
        ["batch_size", "training.batch_size"],
        ["warmup_ratio", "training.warmup_steps"],
    ]
    assert "a trial takes 60 steps of together 120 to 480 pairs; all of them at most 2,400 pairs" in lines
    assert "note: program is ignored: trials are DPO runs of this program" in lines
    status, out, err = sweep("--config", "configs/mine.yaml", "--dry-run", "--json", "--set", "training.max_steps=40")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert (told["trials"], told["steps_per_trial"], told["missing"]) == (12, [40, 40], [])
    assert told["parameters"][0] == {**told["parameters"][0], "key": "training.learning_rate", "min": 1e-6, "max": 1e-2}
    assert len(runs.listing(open_store(space.database), kind="sweep")) == 1


def test_a_wrong_file_is_one_line_for_each_error(space: Workspace, sweep: Run) -> None:
    (space.configs / "mine.yaml").write_text(sweeps.FILE.replace("beta", "betta").replace("bayes", "baies"))
    (space.configs / "good.yaml").write_text(sweeps.FILE)
    status, out, err = sweep("--config", "configs/mine.yaml")
    assert (status, out) == (2, "")
    assert err.count("\n") == 2
    assert "mine.yaml:5: parameters.betta: 'betta' is no key of dpo_config.yaml: did you mean training.beta?" in err
    status, _, err = sweep("--config", "configs/good.yaml", "--trials", "0")
    assert (status, err) == (2, "dpotui: --trials: must be a whole number from 1 to 10000, not 0\n")
    status, _, err = sweep("--resume", "sweep-001", "--trials", "3")
    assert (status, "leave out --config and --set" in err) == (2, True)


def test_show_puts_the_best_first_and_says_why_others_ended(sweep: Run) -> None:
    status, out, _ = sweep("show")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "sweep-001 stopped, 7 of 12 trials: maximize validation/rewards/accuracies"
    assert [line.split()[0] for line in lines[2:9]] == ["*5", "1", "4", "7", "6", "3", "2"]
    assert "0.184 beyond" in lines[4]
    assert "trial 3 out of memory: out of memory ([metal::malloc] Unable to allocate)" in lines
    assert "what made the difference (PED-ANOVA): learning_rate 62 %, beta 25 %" in out
    status, out, _ = sweep("show", "dpo-002", "--json")
    told = json.loads(out)
    assert (told["id"], told["best"], told["best_within_kl_limit"]) == ("sweep-001", 5, True)
    assert told["trials"][3] == {
        "number": 4, "run": "dpo-004", "state": "complete", "value": 0.93, "kl": 0.184, "within_kl_limit": False,
        "parameters": {"learning_rate": 0.0022, "beta": 0.06, "batch_size": 4, "warmup_ratio": 0.11},
        "keys": {"training.learning_rate": 0.0022, "training.beta": 0.06, "training.batch_size": 4,
                 "training.warmup_steps": 7},
        "evaluations": [[20, 0.55], [40, 0.93]], "seconds": 83.0, "reason": "",
    }  # fmt: skip


def test_promote_writes_the_best_trial_and_keeps_comments(space: Workspace, sweep: Run) -> None:
    file = space.configs / "dpo_config.yaml"
    before = file.read_text()
    status, out, _ = sweep("promote", "sweep-001", "--dry-run")
    assert (status, file.read_text()) == (0, before)
    status, out, err = sweep("promote", "sweep-001")
    assert status == 0
    assert out.splitlines() == [
        "training.learning_rate: 1e-05 → 0.00077",
        "training.beta: 0.1 → 0.18",
        "training.batch_size: 4 → 2",
        "training.warmup_steps: 3 → 5",
        "written to configs/dpo_config.yaml: the values of trial 5 of sweep-001",
    ]
    assert "the next DPO run with this file measures for the gates" in err
    text = file.read_text()
    assert text.startswith("# of the team\n")
    assert "  learning_rate: 7.7e-4  # the peak\n" in text
    status, out, _ = sweep("promote", "sweep-001", "--json")
    assert (json.loads(out)["written"], json.loads(out)["changes"]) == (False, [])
    status, _, err = sweep("promote", "sweep-001", "--trial", "4")
    assert "trial 4 has KL 0.184, beyond the limit 0.1: its gate fails" in err
    status, _, err = sweep("promote", "sweep-001", "--trial", "2")
    assert (status, "trial 2 of sweep-001 is failed, so it showed nothing to promote" in err) == (2, True)
    status, _, err = sweep("promote", "sweep-001", "-o", "configs/none.yaml")
    assert (status, "none.yaml does not exist" in err) == (2, True)


def test_without_a_sweep_it_says_how_to_start_one(space: Workspace, sweep: Run) -> None:
    status, _, err = sweep("show", "sft-001")
    assert (status, "no run 'sft-001'" in err) == (2, True)
    db = open_store(space.database)
    runs.create(db, "sft", config={})
    status, _, err = sweep("show", "sft-001")
    assert (status, "sft-001 is a run of kind sft, not a sweep" in err) == (2, True)
