"""Whole runs that learn too fast, under each action of the KL guard; schedules of β; resumed to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from core.config import DPOConfig
from core.engine.client import submit
from core.store import Database, artifacts, facts, log, metrics, runs
from core.training import checkpoints, dpo_run
from core.training.control import Stopped
from core.workspace import Workspace
from tests.core.training import tiny
from tests.core.training.test_resume import digest, execute, values

TRAINED = "training_metrics.json"


def wild(action: str, **changes: object) -> DPOConfig:
    """A learning rate at which KL passes 0.1 within two updates."""
    settings: dict[str, object] = {
        "training_learning_rate": 0.02,
        "training_warmup_steps": 0,
        "training_eval_steps": 2,
        "training_logging_steps": 1,
        "optimization_lr_scheduler": "constant",
        "kl_guard_action": action,
    }
    return tiny.dpo_config(**{**settings, **changes})


@pytest.fixture
def trained(tmp_path: Path) -> Callable[[DPOConfig], tuple[Workspace, Database, str, Path]]:
    space, db = tiny.workspace(tmp_path / "w")

    def train(config: DPOConfig) -> tuple[Workspace, Database, str, Path]:
        run = submit(space, db, "dpo", config)
        execute(space, db, run.id, dpo_run.run, None)
        return space, db, run.id, space.path(runs.get(db, run.id).output_dir)

    return train


def series(db: Database, run_id: str, name: str) -> dict[int, float]:
    return {point.step: point.value for point in metrics.since(db, run_id, name)}


def warnings(db: Database, run_id: str) -> list[str]:
    return [line.text for line in log.lines(db, run_id, level="warning") if "KL guard: " in line.text]


def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / TRAINED).read_text())


def arrays(folder: Path, step: int) -> dict[str, np.ndarray]:
    loaded = mx.load(str(folder / checkpoints.name(step) / checkpoints.WEIGHTS))
    return {name: np.array(value) for name, value in loaded.items()}


def test_without_a_guard_nothing_is_said(trained) -> None:
    _, db, run, folder = trained(wild("none", training_max_steps=6))
    assert series(db, run, "kl_divergence")[6] > 0.1
    assert not {"kl_guard_actions", "beta"} & set(metrics.names(db, run))
    assert not {"kl_guard", "kl_guard_actions"} & set(told(folder))
    assert warnings(db, run) == []


def test_halving_the_learning_rate(trained) -> None:
    _, db, run, folder = trained(wild("halve_learning_rate", kl_guard_patience=2))
    kl, rate = series(db, run, "kl_divergence"), series(db, run, "learning_rate")
    assert all(kl[step] > 0.1 for step in (2, 4, 6, 8, 10, 12))
    # Every second evaluation above the limit halves it, for the steps that follow.
    assert [rate[step] for step in range(1, 13)] == pytest.approx([0.02] * 4 + [0.01] * 4 + [0.005] * 4)
    assert series(db, run, "kl_guard_actions") == {0: 0, 2: 0, 4: 1, 6: 1, 8: 2, 10: 2, 12: 2}
    said = warnings(db, run)
    assert len(said) == 2
    assert said[0] == f"step 4  KL guard: KL {kl[4]:.6g} > 0.1: learning rate × 0.5 (action 1 of 3)"
    written = told(folder)
    assert written["kl_guard_actions"] == 2
    assert written["kl_guard"]["actions"][0] == {
        "step": 4, "kl_divergence": kl[4], "action": "halve_learning_rate", "learning_rate_factor": 0.5,
        "beta_factor": 1.0,
    }  # fmt: skip
    assert "beta" not in metrics.names(db, run)


def test_raising_beta(trained) -> None:
    _, db, run, folder = trained(wild("raise_beta", kl_guard_beta_factor=3.0, training_max_steps=6))
    assert series(db, run, "beta") == pytest.approx({1: 0.1, 2: 0.1, 3: 0.3, 4: 0.3, 5: 0.9, 6: 0.9})
    assert set(series(db, run, "learning_rate").values()) == {0.02}
    assert [action["beta_factor"] for action in told(folder)["kl_guard"]["actions"]] == [3.0, 9.0]
    assert "β × 3 (action 1 of 3)" in warnings(db, run)[0]
    assert any("β 0.3" in line.text for line in log.lines(db, run))


def test_a_higher_beta_pulls_otherwise(trained) -> None:
    # The raised β acts on the loss: the reports before the action agree, those after it do not.
    _, db, first, _ = trained(wild("raise_beta", training_max_steps=4))
    _, _, second, _ = trained(wild("none", training_max_steps=4))
    one, other = (series(db, run, "loss") for run in (first, second))
    assert [one[step] == other[step] for step in (1, 2, 3, 4)] == [True, True, False, False]
    # Evaluations are held against the same β, whatever that of the step is.
    both = [series(db, run, "eval_rewards/margins") for run in (first, second)]
    assert both[0][2] == both[1][2]


def test_stopping(trained) -> None:
    _, db, run, folder = trained(wild("stop"))
    assert runs.get(db, run).step == 2
    assert max(series(db, run, "loss")) == 2
    assert warnings(db, run)[0].endswith(" > 0.1: stops the run")
    assert facts.of_run(db, run)["dpo.finished"].source == "2 steps, stopped by the KL guard"
    assert [action["action"] for action in told(folder)["kl_guard"]["actions"]] == ["stop"]
    assert [step for step, _ in checkpoints.listing(folder)] == [2]


def test_rolling_back(trained) -> None:
    _, db, run, folder = trained(wild("rollback", training_save_steps=2, training_save_total_limit=1))
    kl = series(db, run, "kl_divergence")
    actions = told(folder)["kl_guard"]["actions"]
    assert actions[0]["step"] == 2
    assert actions[0]["back_to_step"] == 0
    # Steps go on and are never reported twice.
    assert list(series(db, run, "loss")) == list(range(1, max(kl) + 1))
    back = [action for action in actions if action["action"] == "rollback"]
    rate = series(db, run, "learning_rate")
    for number, action in enumerate(back):
        assert rate[action["step"] + 1] == pytest.approx(0.02 * 0.5 ** (number + 1))
    good = max(step for step in kl if kl[step] <= 0.1)
    # The last good one is kept beside the last; the one to go back to was never pruned away.
    assert {good} <= {step for step, _ in checkpoints.listing(folder)}


def test_a_checkpoint_after_going_back_holds_the_good_weights_and_the_data_that_follow(trained) -> None:
    config = wild("rollback", training_save_steps=2, training_max_steps=2)
    _, db, run, folder = trained(config)
    assert series(db, run, "kl_divergence")[2] > 0.1
    good, after = arrays(folder, 0), arrays(folder, 2)
    assert good.keys() == after.keys()
    for name, value in good.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    positions = [
        json.loads((folder / checkpoints.name(step) / checkpoints.STATE).read_text())["state"]["position"]
        for step in (0, 2)
    ]
    assert positions == [0, 4]
    # Its metrics are those of its weights.
    written = told(folder / "checkpoint-2")
    assert written["kl_divergence_chosen"] == 0.0
    inside = json.loads((folder / "checkpoint-2" / checkpoints.STATE).read_text())["state"]
    assert inside["last_eval"]["kl_divergence"] == 0.0
    assert inside["guard"]["back_at"] == 0
    kept = {artifact.path for artifact in artifacts.of_run(db, run)}
    assert {"outputs/dpo/checkpoint-0", "outputs/dpo/checkpoint-2"} <= kept


def test_where_no_evaluation_is_within_the_limit_it_goes_back_to_the_start(trained) -> None:
    _, db, run, folder = trained(wild("rollback", kl_guard_kl_limit=1e-6, training_max_steps=4))
    assert [action.get("back_to_step") for action in told(folder)["kl_guard"]["actions"]] == [0, 0]
    assert len(warnings(db, run)) == 2


def test_after_its_actions_the_run_stops(trained) -> None:
    _, db, run, folder = trained(wild("rollback", kl_guard_max_actions=1, kl_guard_kl_limit=1e-6))
    assert runs.get(db, run).step == 4
    assert warnings(db, run)[1].endswith("stops the run with the weights of step 0, 1 action did not hold it")
    first, last = arrays(folder, 0), arrays(folder, 4)
    for name, value in first.items():
        np.testing.assert_array_equal(last[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        ({"kl_guard_action": "halve_learning_rate"}, (2, 3)),
        ({"kl_guard_action": "raise_beta", "training_beta_schedule": "linear", "training_beta_end": 0.02}, (3,)),
        ({"kl_guard_action": "rollback"}, (2, 5)),
        ({"kl_guard_action": "rollback", "kl_guard_patience": 2}, (2, 3)),
        ({"kl_guard_action": "stop"}, (1,)),
        ({"training_beta_schedule": "cosine", "training_beta_end": 0.9}, (5,)),
    ],
    ids=["halved", "raised", "back", "patient", "stopped", "scheduled"],
)
def test_resumed_is_uninterrupted_to_the_bit(
    tmp_path: Path, changes: dict[str, object], stops: tuple[int, ...]
) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    config = wild("none", **changes)
    whole, parted = (submit(space, db, "dpo", config) for _ in range(2))
    execute(space, db, whole.id, dpo_run.run, None)
    for stop in stops:
        with pytest.raises(Stopped):
            execute(space, db, parted.id, dpo_run.run, stop)
    execute(space, db, parted.id, dpo_run.run, None)
    first, second = (space.path(runs.get(db, run.id).output_dir) for run in (whole, parted))
    last = checkpoints.listing(first)[-1][0]
    assert checkpoints.listing(second)[-1][0] == last
    one, other = (folder / checkpoints.name(last) / checkpoints.WEIGHTS for folder in (first, second))
    assert digest(one) == digest(other)
    assert values(db, whole.id) == values(db, parted.id)
    assert told(first).get("kl_guard") == told(second).get("kl_guard")
    if "kl_guard_action" in changes:
        assert told(first)["kl_guard_actions"] > 0
