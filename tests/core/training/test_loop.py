"""One update: every example weighs the same however it is batched, and compiled is what eager is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.config.models import Optimization
from core.models.gradient_checkpointing import gradient_checkpointing
from core.training.checkpoints import TrainerState
from core.training.gradients import gradient_function
from core.training.loop import _step
from core.training.optimization import make_optimizer
from core.training.sft import SFT
from tests.core.models.architectures import VOCABULARY
from tests.core.training.objectives import adapted, dpo, plan, random_pairs

PAIRS = random_pairs(8)


# On a CPU, MLX's compiler writes C++ and has it compiled.
needs_a_compiler = pytest.mark.skipif(
    mx.default_device() == mx.Device(mx.cpu) and shutil.which("g++") is None, reason="no g++"
)


class Given:
    """A stream of batches that a test chose."""

    position = 0

    def __init__(self, batches: list[list[int]]) -> None:
        self.batches = list(batches)

    def take(self) -> list[int]:
        return self.batches.pop(0)


def sft(model: Any) -> SFT:
    return SFT(model, PAIRS_ONE, PAIRS_ONE, batch_size=4, write_model=lambda folder: None)


PAIRS_ONE = [type(pair)(pair.prompt, pair.responses[:1]) for pair in PAIRS]


def updated(kind: str, updates: list[list[list[int]]], optimizer: str = "sgd") -> tuple[dict[str, np.ndarray], Any]:
    """The adapter after these updates, each a list of micro-batches; and what the last one reported."""
    model = adapted()
    objective = dpo(model, PAIRS) if kind == "dpo" else sft(model)
    model.train()
    section = Optimization(optimizer=optimizer, weight_decay=0.0, max_grad_norm=0.0, lr_scheduler="constant")
    steps = plan(optimization=section, learning_rate=1.0 if optimizer == "sgd" else 1e-2)
    made = make_optimizer(section)
    made.init(model.trainable_parameters())
    state = TrainerState()
    for batches in updates:
        state.window.clear()
        gradients = gradient_function(objective, compiled=False)
        settings = plan(
            optimization=section, learning_rate=steps.learning_rate, gradient_accumulation_steps=len(batches)
        )
        _step(objective, gradients, made, settings, Given(batches), state, None)
    assert state.step == len(updates)
    return {name: np.array(value) for name, value in tree_flatten(model.trainable_parameters())}, state.window


@pytest.mark.parametrize("kind", ["dpo", "sft"])
@pytest.mark.parametrize(
    "parts",
    [
        [[0, 1, 2, 3], [4, 5, 6, 7]],
        [[0, 1, 2, 3], [4, 5]],  # the last batch of an epoch is smaller
        [[5], [0, 1, 2, 3, 4]],
    ],
)
def test_accumulation_is_one_large_batch(kind: str, parts: list[list[int]]) -> None:
    whole = [i for part in parts for i in part]
    ours, window = updated(kind, [parts])
    theirs, expected = updated(kind, [[whole]])
    before, _ = updated(kind, [])
    moved = max(np.abs(theirs[name] - before[name]).max() for name in before)
    assert moved > 1e-4
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-5 * moved, err_msg=name)
    for key in ("loss", "grad_norm", "examples"):
        assert window[key] == pytest.approx(expected[key], rel=1e-4), key


def test_the_order_of_updates_matters_to_this_test() -> None:
    # Else the comparison above would pass whatever the batches were.
    one, _ = updated("dpo", [[[0, 1, 2, 3]], [[4, 5, 6, 7]]])
    other, _ = updated("dpo", [[[0, 1, 2, 3], [4, 5, 6, 7]]])
    assert any(not np.allclose(one[name], other[name], rtol=1e-3) for name in one)


def test_gradient_is_the_mean_over_pairs() -> None:
    model = adapted()
    objective = dpo(model, PAIRS)
    gradients = gradient_function(objective, compiled=False)
    alone = []
    for index in range(4):
        _, grads = gradients(*objective.batch([index]))
        alone.append(np.concatenate([np.array(g).ravel() for _, g in sorted(tree_flatten(grads))]))
    before = {name: np.array(value) for name, value in tree_flatten(model.trainable_parameters())}
    after, window = updated("dpo", [[[0, 1, 2, 3]]])
    step = np.concatenate([(before[name] - after[name]).ravel() for name in sorted(before)])
    mean = np.mean(alone, axis=0)
    np.testing.assert_allclose(step, mean, rtol=1e-3, atol=1e-6)
    assert window["grad_norm"] == pytest.approx(np.linalg.norm(mean), rel=1e-4)


class Toy(nn.Module):
    """The least that is a model here: MLX compiles every fused kernel with the system's compiler on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.layers = [ToyBlock()]
        self.lm_head = nn.Linear(8, VOCABULARY, bias=False)

    def __call__(self, ids: mx.array) -> mx.array:
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(x)


class ToyBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8, bias=False)
        self.dropout = nn.Dropout(0.5)

    def __call__(self, x: mx.array) -> mx.array:
        return x + self.dropout(self.linear(x))


def toy() -> Toy:
    mx.random.seed(0)
    model = Toy()
    mx.eval(model.parameters())
    return model


def losses_and_gradients(objective: Any, compiled: bool, checkpointed: bool) -> tuple[list[float], list[dict]]:
    """Of two batches of two shapes in turn, without updates."""
    model = objective.model
    model.train()
    mx.random.seed(11)
    gradients = gradient_function(objective, compiled=compiled)
    losses, grads = [], []
    with gradient_checkpointing(model, checkpointed):
        for step in range(6):
            (loss, count, metrics), found = gradients(*objective.batch([0, 1, 2] if step % 3 else [3, 4]))
            mx.eval(loss, count, found, metrics)
            losses.append(loss.item() / count.item())
            grads.append({name: np.array(value) for name, value in tree_flatten(found)})
    return losses, grads


def compare_compiled(make: Callable[[], Any], checkpointed: bool) -> None:
    losses, grads = losses_and_gradients(make(), True, checkpointed)
    expected, expected_grads = losses_and_gradients(make(), False, checkpointed)
    assert losses == pytest.approx(expected, rel=1e-5)
    for ours, theirs in zip(grads, expected_grads, strict=True):
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    # The same batch again, but another mask each time.
    assert len({losses[step] for step in (1, 2, 4, 5)}) == 4


@needs_a_compiler
@pytest.mark.parametrize("checkpointed", [False, True])
def test_compiled_is_eager(checkpointed: bool) -> None:
    compare_compiled(lambda: sft(toy()), checkpointed)


@needs_a_compiler
@pytest.mark.slow
@pytest.mark.parametrize("checkpointed", [False, True])
def test_compiled_is_eager_with_dpo_of_a_llama(checkpointed: bool) -> None:
    compare_compiled(lambda: dpo(adapted(dropout=0.5), PAIRS), checkpointed)


@needs_a_compiler
def test_compiled_sees_updated_weights() -> None:
    model = toy()
    objective = sft(model)
    model.eval()
    gradients = gradient_function(objective, compiled=True)
    section = Optimization(lr_scheduler="constant")
    optimizer = make_optimizer(section)
    state = TrainerState()
    losses = []
    for _ in range(5):
        state.window.clear()
        _step(objective, gradients, optimizer, plan(optimization=section), Given([[0, 1, 2, 3]]), state, None)
        losses.append(state.window["loss"])
    assert sorted(losses, reverse=True) == losses
    assert losses[-1] < 0.99 * losses[0]
