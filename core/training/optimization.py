"""Optimizers, learning-rate schedules, clipping."""

from __future__ import annotations

import math
import re
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_map_with_path

from core.config.models import Optimization
from core.config.optimizers import options

Array = mx.array


def learning_rate(peak: float, scheduler: str, warmup_steps: int, max_steps: int, step: int) -> float:
    """The rate of the update that follows `step` earlier ones, as transformers' schedulers of these names have it.

    Linear warm-up from 0 (so the very first update of a run with warm-up has rate 0), then constant, linear to 0 or
    half a cosine to 0 at `max_steps`.
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    progress = (step - warmup_steps) / max(1, max_steps - warmup_steps)
    if scheduler == "linear":
        return peak * max(0.0, 1 - progress)
    if scheduler == "cosine":
        return peak * max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))
    return peak


def make_optimizer(section: Optimization) -> optim.Optimizer:
    """An optimizer of MLX by its name there, lower case, computing in float32 whatever the weights are.

    Where MLX leaves the choice, it is torch's: Adam's moments are bias-corrected, and so are Adamax's.
    """
    given = options(section.optimizer, section.optimizer_config)
    return Float32(_optimizer(section.optimizer, section.weight_decay, given))


def _optimizer(name: str, decay: float, given: dict[str, Any]) -> optim.Optimizer:
    # The rate of each update is set before it.
    match name:
        case "adamw":
            return optim.AdamW(0.0, weight_decay=decay, **given)
        case "adam":
            return optim.Adam(0.0, **given)
        case "sgd":
            return optim.SGD(0.0, weight_decay=decay, **given)
        case "muon":
            return _muon(decay, **given)
        case "adafactor":
            return optim.Adafactor(0.0, relative_step=False, weight_decay=decay, **given)
        case "lion":
            return optim.Lion(0.0, weight_decay=decay, **given)
        case "rmsprop":
            return optim.RMSprop(0.0, **given)
        case "adagrad":
            return optim.Adagrad(0.0, **given)
        case "adadelta":
            return optim.AdaDelta(0.0, **given)
        case "adamax":
            return Adamax(0.0, **given)
    raise AssertionError(f"optimizer {name} passed the configuration")


class Adamax(optim.Adamax):  # type: ignore[misc]  # MLX's optimizers come without types
    """Adamax with the bias correction that its paper and torch have and MLX leaves out."""

    def __init__(self, learning_rate: float, betas: list[float], eps: float, bias_correction: bool) -> None:
        super().__init__(learning_rate, betas, eps)
        self.bias_correction = bias_correction

    def apply_single(self, gradient: Array, parameter: Array, state: dict[str, Array]) -> Array:
        b1, b2 = self.betas
        state["m"] = b1 * state["m"] + (1 - b1) * gradient
        state["v"] = mx.maximum(b2 * state["v"], mx.abs(gradient) + self.eps)
        rate = self.learning_rate / (1 - b1**self.step) if self.bias_correction else self.learning_rate
        moved: Array = parameter - rate.astype(gradient.dtype) * state["m"] / state["v"]
        return moved


# Weights of a block have its number in their name; embeddings, output head and last norm have none.
_IN_BLOCK = re.compile(r"\.\d+\.")


def _muon(decay: float, adamw_ratio: float, **given: Any) -> optim.Optimizer:
    """Muon for the matrices of the blocks, AdamW for the rest, as Muon's author has it."""

    def hidden_matrix(name: str, weight: Array) -> bool:
        return weight.ndim == 2 and _IN_BLOCK.search(name) is not None

    adamw = _Slower(adamw_ratio, weight_decay=decay, bias_correction=True)
    return optim.MultiOptimizer([optim.Muon(0.0, weight_decay=decay, **given), adamw], [hidden_matrix])


class _Slower(optim.AdamW):  # type: ignore[misc]
    """AdamW at a share of the learning rate that it is given."""

    def __init__(self, share: float, **given: Any) -> None:
        self.share = share
        super().__init__(0.0, **given)

    @property
    def learning_rate(self) -> Array:
        rate: Array = self.state["learning_rate"] * self.share
        return rate

    @learning_rate.setter
    def learning_rate(self, rate: float | Array) -> None:
        self.state["learning_rate"] = mx.array(rate)


class Float32(optim.Optimizer):  # type: ignore[misc]
    """Another optimizer, which sees and keeps everything in float32.

    Of weights in half precision it holds a float32 copy that the updates go to; the model gets it rounded. An update
    of less than 1/256 of a weight would be lost in bfloat16, and most are.
    """

    def __init__(self, inner: optim.Optimizer) -> None:
        super().__init__()
        self.inner = inner
        self._master: dict[str, Array] = {}

    def init(self, parameters: dict[str, Any]) -> None:
        flat = tree_flatten(parameters)
        self._master = {name: value.astype(mx.float32) for name, value in flat if value.dtype != mx.float32}
        self.inner.init(self._exact(parameters, parameters))

    def apply_gradients(self, gradients: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
        exact: dict[str, Any] = self.inner.apply_gradients(float32(gradients), self._exact(gradients, parameters))
        if not self._master:
            return exact
        self._master = {name: value for name, value in tree_flatten(exact) if name in self._master}
        rounded: dict[str, Any] = tree_map(lambda value, old: value.astype(old.dtype), exact, parameters)
        return rounded

    def _exact(self, like: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters that `like` has, in float32."""
        if not self._master:
            return parameters
        exact: dict[str, Any] = tree_map_with_path(
            lambda name, _, value: self._master.get(name, value), like, parameters
        )
        return exact

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.inner.state
        return {**state, "master": dict(self._master)} if self._master else state

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._master = dict(tree_flatten(state.get("master", {})))
        self.inner.state = {key: value for key, value in state.items() if key != "master"}

    @property
    def learning_rate(self) -> Array:
        rate: Array = self.inner.learning_rate
        return rate

    @learning_rate.setter
    def learning_rate(self, rate: float | Array) -> None:
        self.inner.learning_rate = rate


def float32(tree: Any) -> Any:
    """The same arrays in float32."""
    return tree_map(lambda value: value.astype(mx.float32), tree)


def global_norm(grads: Any) -> mx.array:
    """The L2 norm over all gradients, in float32."""
    squares = [mx.square(g.astype(mx.float32)).sum() for _, g in tree_flatten(grads)]
    return mx.sqrt(sum(squares[1:], squares[0]))


def clip(grads: Any, norm: mx.array, limit: float) -> Any:
    """Scale the gradients so that their global norm is at most `limit` , as torch has it; 0: no clipping."""
    if not limit:
        return grads
    scale = mx.minimum(limit / (norm + 1e-6), 1.0)
    return tree_map(lambda g: g * scale.astype(g.dtype), grads)
