"""The gradient of one update: of all examples of its micro-batches, summed in float32.

With float16 the loss is scaled: of gradients below 6e-8 nothing would be left, and above 65,504 they are infinite.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map

from core.training.optimization import float32
from core.training.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from core.training.loop import Objective

Array = mx.array

FIRST_SCALE = 2.0**10
SMALLEST_SCALE, LARGEST_SCALE = 2.0**-6, 2.0**20
# Updates without an overflow after which the scale is doubled.
GROWS_AFTER = 200


@dataclass
class LossScale:
    """What the loss is multiplied by before its gradient is taken, and the gradient divided by afterwards.

    Powers of two, so that nothing is rounded. Part of a checkpoint.

    Attributes:
        value: 0 where nothing is scaled.
        held: updates since it changed.
    """

    value: float = 0.0
    held: int = 0

    @classmethod
    def of(cls, model: nn.Module) -> LossScale:
        half = any(value.dtype == mx.float16 for _, value in tree_flatten(model.parameters()))
        return cls(FIRST_SCALE if half else 0.0)

    def shrink(self) -> bool:
        """After an overflow; False where it is not for the scale that there was one."""
        if self.value <= SMALLEST_SCALE:
            return False
        self.value, self.held = self.value / 2, 0
        return True

    def keep(self) -> None:
        """After an update."""
        self.held += 1
        if self.held >= GROWS_AFTER and 0 < self.value < LARGEST_SCALE:
            self.value, self.held = self.value * 2, 0


def gradient_function(objective: Objective, *, compiled: bool, scaled: bool = False) -> Callable[..., Any]:
    """Of a batch: ((loss, number of examples, metrics), gradients); `scaled`: its first argument is the scale."""
    plain = nn.value_and_grad(objective.model, objective.loss)

    def scaled_loss(scale: Array, *arrays: Any) -> tuple[Array, Array, dict[str, Array]]:
        loss, count, metrics = objective.loss(*arrays)
        return loss * scale, count, metrics

    function = nn.value_and_grad(objective.model, scaled_loss) if scaled else plain

    def with_metrics(*arrays: Any) -> Any:
        # value_and_grad differentiates the first of what the loss returns.
        return function(*arrays)

    if compiled:
        # Without the random state as input and output, dropout would draw one mask for ever.
        shared = [objective.model.state, mx.random.state]
        return mx.compile(with_metrics, inputs=shared, outputs=shared)
    return with_metrics


def sum_gradients(
    objective: Objective,
    gradients: Callable[..., Any],
    batches: list[list[int]],
    scale: float = 0.0,
    ranks: Ranks = ALONE,
) -> tuple[Any, Mapping[str, Array | float]]:
    """The gradient of the mean loss over all examples of these batches; and loss, metrics and examples, summed.

    Args:
        ranks: which compute other examples of the same update. A rank may have none.
    """
    started = time.perf_counter()
    total: Any = None
    sums: dict[str, Array] = {}
    first = (mx.array(scale),) if scale else ()
    for indices in batches:
        (loss, count, metrics), grads = gradients(*first, *objective.batch(indices))
        if scale:
            loss = loss / scale
        grads = float32(grads)
        total = grads if total is None else tree_map(mx.add, total, grads)
        for key, value in {"loss": loss, "examples": count, **metrics}.items():
            sums[key] = sums[key] + value if key in sums else value
        mx.eval(total, sums)
    found: Mapping[str, Array | float] = sums
    if not ranks.alone:
        ranks.computed = time.perf_counter() - started
        total, found = ranks.sum_step(total, sums, sum(map(len, batches)), objective.model.trainable_parameters())
    divisor = found["examples"] * (scale or 1.0)
    return tree_map(lambda g: g / divisor, total), found


def norms_by_module(grads: Any) -> dict[str, float]:
    """The L2 norm of the gradient of each module's own weights, in the model's order; together they are the norm of
    all. Both matrices of an adapter are one module's, as are a weight and its bias."""
    squares: dict[str, Array] = {}
    for name, gradient in tree_flatten(grads):
        module = name.rpartition(".")[0] or name
        square = mx.square(gradient.astype(mx.float32)).sum()
        squares[module] = squares[module] + square if module in squares else square
    mx.eval(squares)
    return {module: math.sqrt(value) if (value := float(square)) >= 0 else value for module, square in squares.items()}


def broken_in(modules: Mapping[str, float]) -> str:
    """In which modules a gradient is no number, in words."""
    lost = [module for module, norm in modules.items() if not math.isfinite(norm)]
    if not lost:
        return "in no module by itself, of all together"
    return f"in {len(lost)} of {len(modules)} modules, such as {lost[-1]}"
