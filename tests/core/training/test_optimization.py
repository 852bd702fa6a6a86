"""Schedules as transformers has them, clipping as torch has it, AdamW as its paper has it."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.models import Optimization
from core.training.optimization import clip, global_norm, learning_rate, make_optimizer


def transformers_rate(scheduler: str, warmup: int, total: int, step: int) -> float:
    """The lambdas of transformers.optimization, written out: linear, cosine, constant_with_warmup."""
    if scheduler == "constant":
        return float(step) / float(max(1.0, warmup)) if step < warmup else 1.0
    if step < warmup:
        return float(step) / float(max(1, warmup))
    if scheduler == "linear":
        return max(0.0, float(total - step) / float(max(1, total - warmup)))
    progress = float(step - warmup) / float(max(1, total - warmup))
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "constant"])
@given(total=st.integers(1, 500), data=st.data(), peak=st.floats(1e-7, 1))
def test_schedules_are_those_of_transformers(scheduler: str, total: int, data: st.DataObject, peak: float) -> None:
    warmup = data.draw(st.integers(0, total - 1))
    for step in range(total + 1):
        expected = peak * transformers_rate(scheduler, warmup, total, step)
        assert learning_rate(peak, scheduler, warmup, total, step) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_schedules_at_known_points() -> None:
    assert [learning_rate(2.0, "linear", 2, 6, step) for step in range(7)] == [0, 1, 2, 1.5, 1, 0.5, 0]
    assert learning_rate(2.0, "cosine", 2, 6, 4) == pytest.approx(1.0)
    assert learning_rate(2.0, "cosine", 2, 6, 6) == pytest.approx(0.0)
    assert [learning_rate(2.0, "constant", 0, 3, step) for step in range(4)] == [2, 2, 2, 2]


SHAPES = {"a": (3, 4), "b": {"c": (5,), "d": [(2, 2), (1,)]}}


def gradients(seed: int, size: float) -> dict:
    keys = iter(mx.random.split(mx.random.key(seed), 8))

    def fill(shape: object) -> object:
        if isinstance(shape, dict):
            return {key: fill(value) for key, value in shape.items()}
        if isinstance(shape, list):
            return [fill(value) for value in shape]
        return size * mx.random.normal(shape, key=next(keys))

    return fill(SHAPES)


def flat(tree: dict) -> np.ndarray:
    parts = [tree["a"], tree["b"]["c"], *tree["b"]["d"]]
    return np.concatenate([np.array(part, np.float64).ravel() for part in parts])


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e3])
@pytest.mark.parametrize("limit", [0.5, 1.0, 10.0])
def test_clipping_by_the_global_norm(size: float, limit: float) -> None:
    grads = gradients(3, size)
    before = flat(grads)
    norm = global_norm(grads)
    assert norm.item() == pytest.approx(np.linalg.norm(before), rel=1e-6)
    expected = before * min(limit / (np.linalg.norm(before) + 1e-6), 1.0)
    np.testing.assert_allclose(flat(clip(grads, norm, limit)), expected, rtol=1e-5)


def test_limit_zero_clips_nothing() -> None:
    grads = gradients(3, 1e3)
    assert np.array_equal(flat(clip(grads, global_norm(grads), 0.0)), flat(grads))


def test_norm_of_half_precision_gradients_is_taken_in_float32() -> None:
    # 300² is past the largest float16.
    grads = {"a": mx.full((4,), 300.0, mx.float16)}
    assert global_norm(grads).item() == pytest.approx(600.0)
    clipped = clip(grads, global_norm(grads), 1.0)["a"]
    assert clipped.dtype == mx.float16
    np.testing.assert_allclose(np.array(clipped), 0.5, rtol=1e-3)


class Weights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = mx.array([1.0, -2.0, 0.5, 30.0])


def numpy_adamw(w: np.ndarray, grads: list[np.ndarray], rates: list[float], decay: float) -> np.ndarray:
    """Loshchilov & Hutter 2019, algorithm 2, as torch.optim.AdamW computes it."""
    m = v = np.zeros_like(w)
    for t, (g, rate) in enumerate(zip(grads, rates, strict=True), 1):
        w = w - rate * decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w


@pytest.mark.parametrize(("name", "decay", "acting"), [("adamw", 0.1, 0.1), ("adamw", 0.0, 0.0), ("adam", 0.1, 0.0)])
def test_adamw_against_numpy(name: str, decay: float, acting: float) -> None:
    optimizer = make_optimizer(Optimization(optimizer=name, weight_decay=decay))
    model = Weights()
    optimizer.init(model.trainable_parameters())
    rng = np.random.default_rng(0)
    grads = [rng.normal(size=4) * 10.0 ** rng.integers(-6, 2, 4) for _ in range(6)]
    rates = [0.0, 0.01, 0.02, 0.015, 0.01, 0.005]
    start = np.array(model.w, np.float64)
    for g, rate in zip(grads, rates, strict=True):
        optimizer.learning_rate = rate
        optimizer.update(model, {"w": mx.array(g.astype(np.float32))})
    np.testing.assert_allclose(np.array(model.w), numpy_adamw(start, grads, rates, acting), rtol=2e-5)


def test_sgd_is_a_step_down_the_gradient() -> None:
    optimizer = make_optimizer(Optimization(optimizer="sgd", weight_decay=0.0))
    model = Weights()
    for rate in (0.5, 0.25):
        optimizer.learning_rate = rate
        optimizer.update(model, {"w": mx.array([1.0, 2.0, -1.0, 0.0])})
    assert model.w.tolist() == [0.25, -3.5, 1.25, 30.0]


def test_every_optimizer_of_the_configuration_updates() -> None:
    for name in ("adamw", "adam", "sgd", "adafactor"):
        model = Weights()
        optimizer = make_optimizer(Optimization(optimizer=name))
        optimizer.init(model.trainable_parameters())
        optimizer.learning_rate = 0.1
        optimizer.update(model, {"w": mx.array([1.0, 1.0, -1.0, 1.0])})
        assert (np.sign(np.array(model.w) - np.array([1.0, -2.0, 0.5, 30.0])) == [-1, -1, 1, -1]).all(), name
