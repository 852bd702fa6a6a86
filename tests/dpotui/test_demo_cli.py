"""`dpotui demo`: what it refuses, and, once for real, that it keeps its promises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.demo import is_demo, make_demo
from core.store import facts, iterations, metrics, open_store, runs
from core.workspace import Workspace, create_workspace, open_workspace
from dpotui.commands import demo as module
from tests.dpotui.test_gates_cli import Shell, outside

__all__ = ["outside"]  # fixture

# The runs of both rounds: DPO, and the evaluation of what it made.
ROUNDS = (("001", "002"), ("002", "003"))

# Where it ran, and what it said.
Finished = tuple[Path, subprocess.CompletedProcess[str]]


def test_without_a_terminal_it_names_the_way_without(outside: Shell) -> None:
    assert "--headless" in outside.run("demo", code=2)
    assert list(outside.folder.iterdir()) == []


def test_a_folder_of_other_things_is_left_alone(outside: Shell) -> None:
    (outside.folder / "thesis").mkdir()
    (outside.folder / "thesis/chapter.tex").write_text("x")
    assert "is not empty and no demo" in outside.run("demo", "thesis", "--headless", code=2)
    assert [path.name for path in (outside.folder / "thesis").iterdir()] == ["chapter.tex"]


def test_a_workspace_of_its_own_is_left_alone(outside: Shell) -> None:
    workspace = create_workspace(outside.folder / "mine")
    open_store(workspace.database, create=True).close()
    assert "is a workspace of its own" in outside.run("demo", "mine", "--headless", code=2)
    assert not is_demo(workspace)


def test_the_stages_wait_for_each_other_and_are_queued_once(workspace: Workspace) -> None:
    make_demo(workspace)
    db = open_store(workspace.database)
    queued = module._queue(workspace, db)
    assert [runs.get(db, run).kind for run in queued] == [step.kind for step in module.STEPS]
    assert [runs.get(db, run).name for run in queued] == [step.name for step in module.STEPS]
    assert [runs.get(db, run).parent for run in queued] == [None, *queued[:-1]]
    assert module._queue(workspace, db) == queued
    runs.update(db, queued[0], state="finished")
    runs.update(db, queued[1], state="interrupted")
    assert module._queue(workspace, db) == queued
    assert [runs.get(db, run).state for run in queued] == ["finished", *["queued"] * (len(queued) - 1)]
    db.close()


def _demo(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dpotui", "demo", "zoo", "--headless"],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=570,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("demo")
    return folder, _demo(folder)


@pytest.mark.slow
def test_it_ends_well(finished: Finished) -> None:
    folder, done = finished
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    db = open_store(open_workspace(folder / "zoo").database)
    assert {run.state for run in runs.listing(db)} == {"finished"}
    db.close()


@pytest.mark.slow
def test_it_learns(finished: Finished) -> None:
    db = open_store(open_workspace(finished[0] / "zoo").database)
    sft = metrics.summary(db, "sft-001")["eval_loss"]
    assert sft.first > 5
    assert sft.last < 0.5
    assert metrics.summary(db, "reward-001")["eval_accuracy"].first < 0.65
    assert metrics.summary(db, "reward-001")["eval_accuracy"].last > 0.85
    assert metrics.summary(db, "dpo-001")["eval_rewards/accuracies"].last > 0.9
    db.close()


@pytest.mark.slow
def test_the_gates_have_something_to_say(finished: Finished) -> None:
    said = finished[1].stdout
    assert not re.search(r"^FAIL +5 ", said, re.M)  # of the round that stands
    for passing in (
        "2 Preference Gap",
        "2 Pair Count",
        "2 Decontamination",
        "2 Unique Prompts",
        "3 Initial KL Divergence",
        "4 Training Accuracy",
        "4 Validation Accuracy",
        "4 Overfitting Gap",
        "5 KL Divergence",
        "5 Preference Gap",
        "7 Win Rate",
        "7 Final KL Divergence",
        "7 Preference Gap Maintained",
        "7 No Evaluation Contamination",
    ):
        assert re.search(rf"^PASS +{passing} ", said, re.M)


@pytest.mark.slow
def test_checklist_items_fill_themselves(finished: Finished) -> None:
    said = finished[1].stdout.split("Checklist items that filled themselves")[1]
    assert "[-] Stage 2: Preference Data Generation  11/13" in said
    assert "[x] Stage 3: Model Initialization  8/8" in said
    assert "[x] Stage 4: Preference Modeling  8/9" in said
    assert "[-] Stage 6: Iterative Training  10/11" in said  # there was no third round
    assert re.search(r"^\[-\] Stage 7: Evaluation & Monitoring  7/15$", said, re.M)
    assert re.search(r"^  \[x\] Pair count: 1536 \(target ≥1000\)  PASS  by fact$", said, re.M)


@pytest.mark.slow
def test_the_second_round_is_the_better_one(finished: Finished) -> None:
    workspace = open_workspace(finished[0] / "zoo")
    db = open_store(workspace.database)
    first, second = ({**facts.of_run(db, f"dpo-{n}"), **facts.of_run(db, f"evaluate-{m}")} for n, m in ROUNDS)
    db.close()
    for kl in ("dpo.kl_divergence", "eval.kl_divergence"):
        assert first[kl].value > 1
        assert second[kl].value < 0.1
    assert first["eval.retention"].high < 80
    assert second["eval.retention"].value > first["eval.retention"].high
    assert first["eval.critical_regressions"].value == 2
    assert second["dpo.preference_gap"].value > 0.15
    assert second["dpo.preference_accuracy"].value > 90
    assert second["eval.win_rate"].low > 50
    said = finished[1].stdout
    assert re.search(r"^  met +Win Rate: ", said, re.M)
    report = (workspace.outputs / "report" / "report.md").read_text()
    assert "no decision yet" in report and "outputs/demo-iterate/iteration-1/dpo" in report


@pytest.mark.slow
def test_the_round_that_goes_too_far_is_rolled_back(finished: Finished) -> None:
    workspace = open_workspace(finished[0] / "zoo")
    db = open_store(workspace.database)
    start, one, two = iterations.listing(db, "iterate-001")
    assert (start.score, one.policy, two.policy) == (50.0, "checkpoints/sft_baseline", one.model)
    assert one.score > 50 and not one.broken
    assert two.broken[0].endswith("from the first reference is beyond 0.1")
    last = iterations.decision(db, "iterate-001", 2)
    assert (last.choice, last.target, last.who) == ("rollback", 1, "rule")
    assert facts.latest(db)["eval.win_rate"].run == one.evaluation
    db.close()
    assert json.loads((workspace.checkpoints / "iterated" / "iteration.json").read_text())["iteration"] == 1


@pytest.mark.slow
def test_again_it_runs_nothing_twice(finished: Finished) -> None:
    done = _demo(finished[0])
    assert done.returncode == 0
    assert done.stdout.count("(before)") == len(module.STEPS)
    db = open_store(open_workspace(finished[0] / "zoo").database)
    assert {
        len(runs.listing(db, kind=kind)) for kind in {step.kind for step in module.STEPS} - {"dpo", "evaluate"}
    } == {1}
    db.close()
