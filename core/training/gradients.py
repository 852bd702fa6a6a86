"""The gradient of one update: of all examples of its micro-batches, summed in float32.

With float16 the loss is scaled: of gradients below 6e-8 nothing would be left, and above 65,504 they are infinite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map

from core.training.optimization import float32

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
    objective: Objective, gradients: Callable[..., Any], batches: list[list[int]], scale: float = 0.0
) -> tuple[Any, dict[str, Array]]:
    """The gradient of the mean loss over all examples of these batches; and loss, metrics and examples, summed."""
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
    divisor = sums["examples"] * (scale or 1.0)
    return tree_map(lambda g: g / divisor, total), sums
