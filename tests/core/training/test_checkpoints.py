"""Checkpoints: everything comes back to the bit, old ones go but never the best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.config.models import Optimization
from core.config.optimizers import OptimizerName
from core.errors import UserError
from core.training import checkpoints
from core.training.checkpoints import TrainerState
from core.training.optimization import make_optimizer
from tests.core.training.objectives import adapted, dpo, random_pairs

PAIRS = random_pairs(6)


def trained(optimizer_name: str, steps: int) -> tuple:
    model = adapted(dropout=0.3)
    objective = dpo(model, PAIRS)
    optimizer = make_optimizer(Optimization(optimizer=optimizer_name))
    optimizer.init(model.trainable_parameters())
    mx.random.seed(1)
    advance(model, objective, optimizer, steps)
    return model, objective, optimizer


def advance(model: nn.Module, objective, optimizer, steps: int) -> None:
    model.train()
    optimizer.learning_rate = 0.01
    for _ in range(steps):
        grads = nn.value_and_grad(model, objective.loss)(*objective.batch([0, 1, 2]))[1]
        optimizer.update(model, grads)
        mx.eval(model.parameters(), optimizer.state)


def write(folder: Path, model: nn.Module, objective, optimizer, state: TrainerState) -> Path:
    return checkpoints.save(folder, state, model, optimizer, {"x": 1}, objective.write_model)


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_goes_on_to_the_bit(tmp_path: Path, name: str) -> None:
    model, objective, optimizer = trained(name, 3)
    state = TrainerState(
        step=3, position=9, evaluated=2, best_step=2, best_score=0.5, stale_evaluations=1, window={"loss": 0.1},
        last_eval={"eval_loss": 1 / 3}, first_eval={"a": 1.0}, best_eval={"b": 2.0},
    )  # fmt: skip
    path = write(tmp_path, model, objective, optimizer, state)
    assert path == tmp_path / "checkpoint-3"
    advance(model, objective, optimizer, 3)
    expected = {key: np.array(value) for key, value in tree_flatten(model.parameters())}

    other, other_objective, other_optimizer = trained(name, 1)  # somewhere else
    mx.random.seed(77)
    found = checkpoints.restore(path, other, other_optimizer)
    assert found == state
    advance(other, other_objective, other_optimizer, 3)
    for key, value in tree_flatten(other.parameters()):
        assert np.array_equal(np.array(value), expected[key]), key


def test_equal_states_are_equal_files(tmp_path: Path) -> None:
    model, objective, optimizer = trained("adamw", 2)
    one = write(tmp_path / "a", model, objective, optimizer, TrainerState(step=2))
    other = write(tmp_path / "b", model, objective, optimizer, TrainerState(step=2))
    assert [path.name for path in sorted(one.iterdir())] == [path.name for path in sorted(other.iterdir())]
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name
        assert path.stat().st_mode & 0o077 == 0
    # Read back, too, where everything was made in another order.
    restored, restored_objective, restored_optimizer = trained("adamw", 0)
    state = checkpoints.restore(one, restored, restored_optimizer)
    again = write(tmp_path / "c", restored, restored_objective, restored_optimizer, state)
    for path in one.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_only_the_weights(tmp_path: Path) -> None:
    model, objective, optimizer = trained("adamw", 2)
    path = write(tmp_path, model, objective, optimizer, TrainerState(step=2))
    expected = {key: np.array(value) for key, value in tree_flatten(model.parameters())}
    other = adapted()
    state = np.array(mx.random.state[0])
    checkpoints.load_weights(path, other)
    for key, value in tree_flatten(other.parameters()):
        assert np.array_equal(np.array(value), expected[key]), key
    assert np.array_equal(np.array(mx.random.state[0]), state)


def test_no_pickle_among_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, *trained("adamw", 1), TrainerState(step=1))
    assert {file.suffix for file in path.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (checkpoints.STATE, b"{"),
        (checkpoints.STATE, b"{}"),
        (checkpoints.STATE, b'{"state": {"no": 1}, "random": [1, 2]}'),
        (checkpoints.STATE, b'{"state": {}, "random": [1]}'),
        (checkpoints.WEIGHTS, b"nothing"),
        (checkpoints.WEIGHTS, None),
    ],
)
def test_a_broken_checkpoint_is_named(tmp_path: Path, file: str, content: bytes | None) -> None:
    model, objective, optimizer = trained("adamw", 1)
    path = write(tmp_path, model, objective, optimizer, TrainerState(step=1))
    (path / file).unlink() if content is None else (path / file).write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint-1 cannot be read .* remove it to resume from the one before"):
        checkpoints.restore(path, model, optimizer)


def test_a_checkpoint_of_other_weights_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, *trained("adamw", 1), TrainerState(step=1))
    larger = adapted(hidden_size=64)
    optimizer = make_optimizer(Optimization())
    with pytest.raises(UserError, match="checkpoint-1 does not fit the model"):
        checkpoints.restore(path, larger, optimizer)


def folder_of(tmp_path: Path, *steps: int) -> Path:
    for step in steps:
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / checkpoints.STATE).write_text("{}")
    return tmp_path


def test_listing_is_by_number_and_of_whole_ones(tmp_path: Path) -> None:
    folder_of(tmp_path, 100, 20, 3)
    (tmp_path / "checkpoint-7").mkdir()  # without a state
    (tmp_path / "checkpoint-x").mkdir()
    (tmp_path / "other").mkdir()
    assert [step for step, _ in checkpoints.listing(tmp_path)] == [3, 20, 100]
    assert checkpoints.listing(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [
        (2, None, [4, 5]),
        (2, 1, [1, 4, 5]),
        (2, 5, [4, 5]),
        (1, 2, [2, 5]),
        (9, None, [1, 2, 3, 4, 5]),
        (0, None, [5]),
    ],
)
def test_the_best_is_never_removed(tmp_path: Path, keep: int, best: int | None, left: list[int]) -> None:
    folder_of(tmp_path, 1, 2, 3, 4, 5)
    gone = checkpoints.prune(tmp_path, keep, {best})
    assert [step for step, _ in checkpoints.listing(tmp_path)] == left
    assert sorted(path.name for path in gone) == [f"checkpoint-{step}" for step in range(1, 6) if step not in left]


def test_metrics_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    checkpoints.write_metrics(tmp_path, {"kl_divergence": 0.1})
    file = tmp_path / "training_metrics.json"
    assert json.loads(file.read_text()) == {"kl_divergence": 0.1}
    assert oct(file.stat().st_mode & 0o777) == "0o600"
