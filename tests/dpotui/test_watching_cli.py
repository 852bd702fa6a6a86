"""`dpotui runs samples` and `dpotui runs gradients` as a person and as a script use them."""

from __future__ import annotations

import math
import threading
import time

import pytest

from core.engine.lock import engine_lock
from core.store import Database, commands, gradients, open_store, runs, samples
from core.store.samples import Sample
from core.workspace import Workspace
from tests.dpotui.test_gates_cli import Shell, inside

__all__ = ["inside"]  # fixture

NORMS = {"model.layers.0.mlp.up_proj": 3.0, "model.layers.1.mlp.up_proj": 4.0, "lm_head": 0.0}


@pytest.fixture
def run(db: Database) -> str:
    run = runs.create(db, "dpo", config={}).id
    runs.update(db, run, state="finished")
    return run


def test_samples_of_the_newest_evaluation(inside: Shell, db: Database, run: str) -> None:
    for step in (0, 50):
        samples.record(db, [Sample(run, step, "policy", 7, "why\x1b[2J?", f"for {step}", "stop", 3)])
    samples.record(db, [Sample(run, 0, "reference", 7, "why\x1b[2J?", "", "length", 64)])
    said = inside.run("runs", "samples", run)
    assert said.splitlines() == [
        "line 7, step 50", "    why␛[2J?", "  policy (3 tokens, ended)", "    for 50",
        "  reference (64 tokens, cut)", "    (nothing)",
    ]  # fmt: skip
    assert "for 0" in inside.run("runs", "samples", run, "--step", "0")
    found = inside.json("runs", "samples", run)
    assert found == {
        "run": run,
        "step": 50,
        "steps": [0, 50],
        "samples": [
            {
                "line": 7,
                "prompt": "why\x1b[2J?",
                "policy": {"text": "for 50", "finish": "stop", "tokens": 3},
                "reference": {"text": "", "finish": "length", "tokens": 64},
            }
        ],
    }
    assert "--step 3: no samples; there are some of 0, 50" in inside.run("runs", "samples", run, "--step", "3", code=2)


def test_no_samples_say_why(inside: Shell, run: str) -> None:
    assert "training.sample_prompts" in inside.run("runs", "samples", run, code=2)


def test_measured_steps_of_a_run_that_is_over(inside: Shell, db: Database, run: str) -> None:
    assert "none of its steps was measured: ask while it trains" in inside.run("runs", "gradients", run, code=2)
    gradients.record(db, run, 10, NORMS)
    gradients.record(db, run, 20, {**NORMS, "lm_head": math.nan})
    lines = inside.run("runs", "gradients", run, "--step", "10").splitlines()
    assert lines[0] == "step 10: norm 5 of 3 modules, before clipping"
    assert [line.split() for line in lines[2:]] == [
        ["model.layers.0.mlp.up_proj", "3", "36.0%"], ["model.layers.1.mlp.up_proj", "4", "64.0%"],
        ["lm_head", "0", "0.0%"],
    ]  # fmt: skip
    by_norm = inside.run("runs", "gradients", run, "--step", "10", "--sort", "norm").splitlines()
    assert by_norm[2].split()[0] == "model.layers.1.mlp.up_proj"
    assert inside.run("runs", "gradients", run).startswith("step 20: no number in 1 of 3 modules\n")
    found = inside.json("runs", "gradients", run)
    assert (found["step"], found["norm"]) == (20, None)
    assert found["modules"][2] == {"name": "lm_head", "layer": None, "kind": "lm_head", "norm": None, "share": None}
    exact = inside.json("runs", "gradients", run, "--step", "10")
    assert exact["norm"] == 5.0
    assert exact["modules"][1] == {
        "name": "model.layers.1.mlp.up_proj", "layer": 1, "kind": "mlp.up_proj", "norm": 4.0,
        "share": pytest.approx(0.64),
    }  # fmt: skip
    assert "--step 3: not measured; those that were: 10, 20" in inside.run(
        "runs", "gradients", run, "--step", "3", code=2
    )


def test_a_run_in_training_is_asked(inside: Shell, db: Database, workspace: Workspace, run: str) -> None:
    runs.update(db, run, state="running")
    gradients.record(db, run, 10, NORMS)

    def answering() -> None:
        own = open_store(workspace.database)
        while not (asked := commands.pending(own, run)):
            time.sleep(0.01)
        gradients.record(own, run, 11, {name: 2 * norm for name, norm in NORMS.items()})
        commands.answer(own, asked[0].id, "gradient norms of step 11 measured: 3 modules")
        own.close()

    engine = threading.Thread(target=answering)
    engine.start()
    with engine_lock(workspace.engine_lock):
        found = inside.json("runs", "gradients", run)
    engine.join()
    assert (found["step"], found["norm"]) == (11, 10.0)


def test_an_answer_without_a_measure_is_told(inside: Shell, db: Database, workspace: Workspace, run: str) -> None:
    runs.update(db, run, state="running")

    def answering() -> None:
        own = open_store(workspace.database)
        while not (asked := commands.pending(own, run)):
            time.sleep(0.01)
        commands.answer(own, asked[0].id, "training ended with step 9: no step follows to be measured")
        own.close()

    engine = threading.Thread(target=answering)
    engine.start()
    with engine_lock(workspace.engine_lock):
        assert "no step follows" in inside.run("runs", "gradients", run, code=2)
    engine.join()


def test_a_step_that_takes_too_long_and_a_paused_run(
    inside: Shell, db: Database, workspace: Workspace, run: str
) -> None:
    runs.update(db, run, state="running")
    with engine_lock(workspace.engine_lock):
        said = inside.run("runs", "gradients", run, "--wait", "0", code=2)
        assert f"{run} is still in a step; what was asked stays asked" in said
        runs.update(db, run, state="paused")
        assert f"{run} is paused: 'dpotui runs resume {run}'" in inside.run(
            "runs", "gradients", run, "--wait", "0", code=2
        )


def test_what_does_not_train_has_none(inside: Shell, db: Database, workspace: Workspace) -> None:
    run = runs.create(db, "judge", config={}).id
    runs.update(db, run, state="running")
    with engine_lock(workspace.engine_lock):
        assert "trains nothing (judge)" in inside.run("runs", "gradients", run, code=2)
