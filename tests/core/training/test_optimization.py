"""Schedules as transformers has them, clipping and optimizers as torch has them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from core.config.models import Optimization
from core.config.optimizers import OPTIONS, OptimizerName
from core.engine.client import submit
from core.store import runs
from core.training import checkpoints, sft_run
from core.training.checkpoints import TrainerState
from core.training.control import Stopped
from core.training.optimization import clip, global_norm, learning_rate, make_optimizer
from tests.core.training import tiny
from tests.core.training.test_resume import digest, execute


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


ORACLE = json.loads((Path(__file__).parent / "oracle" / "optimizers.json").read_text())


@pytest.mark.parametrize("case", ORACLE["cases"], ids=lambda case: case["case"])
def test_updates_against_torch(case: dict[str, Any]) -> None:
    name = case["optimizer"]
    section = Optimization(optimizer=name, optimizer_config={name: case["options"]}, weight_decay=case["weight_decay"])
    optimizer = make_optimizer(section)
    weights = tree_unflatten([(key, mx.array(ORACLE["start"][key])) for key in case["weights"][0]])
    optimizer.init(weights)
    for rate, gradient, expected in zip(ORACLE["rates"], ORACLE["gradients"], case["weights"], strict=True):
        optimizer.learning_rate = rate
        grads = tree_unflatten([(key, mx.array(gradient[key])) for key in expected])
        weights = optimizer.apply_gradients(grads, weights)
        for key, value in tree_flatten(weights):
            start = np.array(ORACLE["start"][key])
            change, wanted = np.array(value) - start, np.array(expected[key]) - start
            # torch orthogonalizes in bfloat16.
            tolerance = (0.03 if name == "muon" else 3e-5) * np.abs(wanted).max() + 1e-7
            np.testing.assert_allclose(change, wanted, rtol=0, atol=tolerance, err_msg=key)


def test_lion_against_its_paper() -> None:
    """Chen et al. 2023, algorithm 2."""
    optimizer = make_optimizer(
        Optimization(optimizer="lion", optimizer_config={"lion": {"betas": [0.8, 0.9]}}, weight_decay=0.1)
    )
    model = Weights()
    optimizer.init(model.trainable_parameters())
    rng = np.random.default_rng(0)
    w, m = np.array(model.w, np.float64), np.zeros(4)
    for rate in (0.0, 0.01, 0.02):
        g = rng.normal(size=4)
        optimizer.learning_rate = rate
        optimizer.update(model, {"w": mx.array(g.astype(np.float32))})
        w = w - rate * (np.sign(0.8 * m + 0.2 * g) + 0.1 * w)
        m = 0.9 * m + 0.1 * g
    np.testing.assert_allclose(np.array(model.w), w, rtol=1e-6)


NAMES = get_args(OptimizerName)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_goes_down(name: str) -> None:
    model = Weights()
    optimizer = make_optimizer(Optimization(optimizer=name, weight_decay=0.0))
    optimizer.init(model.trainable_parameters())
    optimizer.learning_rate = 0.1
    optimizer.update(model, {"w": mx.array([1.0, 1.0, -1.0, 1.0])})
    assert (np.sign(np.array(model.w) - np.array([1.0, -2.0, 0.5, 30.0])) == [-1, -1, 1, -1]).all()


# A value other than the default for every option.
OTHER: dict[str, dict[str, Any]] = {
    "adamw": {"betas": [0.5, 0.6], "eps": 0.1, "bias_correction": False},
    "adam": {"betas": [0.5, 0.6], "eps": 0.1, "bias_correction": False},
    "sgd": {"momentum": 0.5, "dampening": 0.5, "nesterov": True},
    "muon": {"momentum": 0.5, "nesterov": False, "ns_steps": 2, "adamw_ratio": 0.5},
    "adafactor": {
        "eps": [0.1, 0.5], "clip_threshold": 0.1, "decay_rate": -0.3, "beta_1": 0.5, "scale_parameter": True,
    },
    "lion": {"betas": [0.1, 0.2]},
    "rmsprop": {"alpha": 0.5, "eps": 0.1},
    "adagrad": {"eps": 0.1},
    "adadelta": {"rho": 0.5, "eps": 0.1},
    "adamax": {"betas": [0.5, 0.6], "eps": 0.1, "bias_correction": False},
}  # fmt: skip


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = mx.random.normal((3, 4), key=mx.random.key(1))


class Net(nn.Module):
    """An embedding, a block's matrix, experts, a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.embedding.weight = mx.random.normal((5, 3), key=mx.random.key(0))
        self.layers = [Block(), Block()]
        self.layers[1].experts = mx.random.normal((2, 3, 4), key=mx.random.key(2))
        self.norm = nn.RMSNorm(3)


def moved(section: Optimization, steps: int = 3, dtype: mx.Dtype = mx.float32) -> tuple[Net, optim.Optimizer]:
    model = Net()
    model.set_dtype(dtype)
    optimizer = make_optimizer(section)
    optimizer.init(model.trainable_parameters())
    for step in range(steps):
        one_more(model, optimizer, step)
    return model, optimizer


def one_more(model: Net, optimizer: optim.Optimizer, step: int, rate: float = 0.01) -> None:
    keys = iter(mx.random.split(mx.random.key(100 + step), 10))
    grads = tree_map(lambda w: mx.random.normal(w.shape, key=next(keys)).astype(w.dtype), model.trainable_parameters())
    optimizer.learning_rate = rate
    optimizer.update(model, grads)
    mx.eval(model.parameters(), optimizer.state)


def weights_of(model: nn.Module) -> np.ndarray:
    return np.concatenate([np.array(w.astype(mx.float32)).ravel() for _, w in tree_flatten(model.parameters())])


@pytest.mark.parametrize(("name", "option"), [(name, option) for name, options in OTHER.items() for option in options])
def test_every_option_acts(name: str, option: str) -> None:
    given = {option: OTHER[name][option]}
    plain: dict[str, Any] = {}
    if option in ("nesterov", "dampening") and name == "sgd":
        plain = {"momentum": 0.5}
        given = {**plain, option: 0.5 if option == "dampening" else True}
    ours, _ = moved(Optimization(optimizer=name, optimizer_config={name: given}))
    theirs, _ = moved(Optimization(optimizer=name, optimizer_config={name: plain}))
    assert not np.array_equal(weights_of(ours), weights_of(theirs))


def test_options_are_all_tried() -> None:
    assert {name: set(kind.model_fields) for name, kind in OPTIONS.items()} == {
        name: set(options) for name, options in OTHER.items()
    }
    assert set(NAMES) == set(OPTIONS)


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    ours, _ = moved(Optimization(optimizer="muon", weight_decay=0.1), steps=1)
    start = Net()
    keys = iter(mx.random.split(mx.random.key(100), 10))
    grads = tree_map(lambda w: mx.random.normal(w.shape, key=next(keys)), start.trainable_parameters())
    changes = {
        name: np.array(after - before)
        for (name, before), (_, after) in zip(
            tree_flatten(start.parameters()), tree_flatten(ours.parameters()), strict=True
        )
    }
    # Orthogonal, so that all singular values are near one learning rate.
    for name in ("layers.0.weight", "layers.1.weight"):
        singular = np.linalg.svd(changes[name], compute_uv=False) / 0.01
        assert singular.min() > 0.6
        assert singular.max() < 1.3
    for name in ("embedding.weight", "layers.1.experts", "norm.weight"):
        before = dict(tree_flatten(start.parameters()))[name]
        gradient = dict(tree_flatten(grads))[name]
        rate = 0.01 * 0.015
        expected = -rate * (0.1 * np.array(before) + np.sign(np.array(gradient)))
        # The first step of AdamW is the sign of the gradient.
        np.testing.assert_allclose(changes[name], expected, atol=rate * 1e-2)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
@pytest.mark.parametrize("name", NAMES)
def test_state_comes_back_to_the_bit(name: str, dtype: mx.Dtype, tmp_path: Path) -> None:
    given = {"momentum": 0.9, "nesterov": True} if name == "sgd" else OTHER[name]
    section = Optimization(optimizer=name, optimizer_config={name: given})
    model, optimizer = moved(section, dtype=dtype)
    checkpoints.save(tmp_path, TrainerState(step=3), model, optimizer, {}, lambda folder: None)
    for step in (3, 4):
        one_more(model, optimizer, step)
    other = Net()
    other.set_dtype(dtype)
    resumed = make_optimizer(section)
    resumed.init(other.trainable_parameters())
    checkpoints.restore(tmp_path / "checkpoint-3", other, resumed)
    for step in (3, 4):
        one_more(other, resumed, step)
    ours, theirs = (dict(tree_flatten(tree)) for tree in (optimizer.state, resumed.state))
    assert ours.keys() == theirs.keys()
    assert all(mx.array_equal(ours[key], theirs[key]) for key in ours)
    for (key, a), (_, b) in zip(tree_flatten(model.parameters()), tree_flatten(other.parameters()), strict=True):
        assert a.dtype == b.dtype == dtype
        assert mx.array_equal(a, b), key


@pytest.mark.parametrize("name", ["muon", "adafactor", "sgd"])
def test_runs_that_train_every_weight_resume_to_the_bit(tmp_path: Path, name: str) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    config = tiny.sft_config(
        adapter_type="full", optimization_optimizer=name, optimization_optimizer_config={"sgd": {"momentum": 0.9}},
        training_max_steps=3, training_eval_steps=3, training_save_steps=3, training_warmup_steps=0,
    )  # fmt: skip
    whole, parted = (submit(space, db, "sft", config) for _ in range(2))
    execute(space, db, whole.id, sft_run.run, None)
    with pytest.raises(Stopped):
        execute(space, db, parted.id, sft_run.run, 1)
    mx.random.seed(99)
    execute(space, db, parted.id, sft_run.run, None)
    one, other = (space.path(runs.get(db, run.id).output_dir) / "checkpoint-3" for run in (whole, parted))
    assert digest(one / checkpoints.WEIGHTS) == digest(other / checkpoints.WEIGHTS)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_weights_lose_no_small_updates(name: str) -> None:
    """Forty updates, each less than bfloat16 can tell from nothing near 1, add up."""
    section = Optimization(optimizer=name, weight_decay=0.0, optimizer_config={"adadelta": {"eps": 1e-2}})
    found = {}
    for dtype in (mx.float32, mx.bfloat16):
        model = Net()
        # Weights that both types have.
        model.set_dtype(mx.bfloat16)
        start = weights_of(model)
        model.set_dtype(dtype)
        optimizer = make_optimizer(section)
        optimizer.init(model.trainable_parameters())
        grads = tree_map(lambda w: mx.ones_like(w) * 0.5, model.trainable_parameters())
        for _ in range(40):
            optimizer.learning_rate = 1e-3
            optimizer.update(model, grads)
        mx.eval(model.parameters(), optimizer.state)
        found[dtype] = weights_of(model) - start
        if dtype == mx.bfloat16:
            assert {value.dtype for _, value in tree_flatten(model.parameters())} == {mx.bfloat16}
    exact = found[mx.float32]
    # Each weight is where float32 has it, rounded once.
    np.testing.assert_allclose(found[mx.bfloat16] + start, start + exact, rtol=1.01 * 2**-8, atol=1e-6)
    floats = [value for key, value in tree_flatten(optimizer.state) if not key.endswith("step")]
    assert {value.dtype for value in floats} == {mx.float32}


def test_weights_in_float32_have_no_copy() -> None:
    _, optimizer = moved(Optimization())
    assert not any(key.startswith("master") for key, _ in tree_flatten(optimizer.state))
    # Only what is in half precision has one.
    model = Net()
    model.layers[0].set_dtype(mx.bfloat16)
    optimizer = make_optimizer(Optimization())
    optimizer.init(model.trainable_parameters())
    one_more(model, optimizer, 0)
    assert [key for key, _ in tree_flatten(optimizer.state) if key.startswith("master")] == ["master.layers.0.weight"]
    assert model.layers[0].weight.dtype == mx.bfloat16
    assert model.layers[1].weight.dtype == mx.float32
