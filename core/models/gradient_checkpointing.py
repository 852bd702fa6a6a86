"""Recompute a block's activations in the backward pass instead of keeping them: less memory, more time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from core.models.eager import lazily


class _Dropout(nn.Dropout):  # type: ignore[misc]  # MLX's layers come without types
    """Dropout with a mask from a key that it is given: recomputed, it must be the same one."""

    def __call__(self, x: mx.array) -> Any:
        key = self.__dict__.get("key")
        if key is None or not self.training:
            return super().__call__(x)
        mask = mx.random.bernoulli(p=self._p_1, shape=x.shape, key=key)
        return (mask * x) * (1 / self._p_1)


def _dropouts(block: nn.Module) -> list[nn.Module]:
    return [module for module in block.modules() if isinstance(module, _Dropout)]


@cache
def _checkpointed(block: Any) -> Any:
    """The same class of block, but recomputing; one for each class, so that compiled traces are shared."""

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        dropouts = _dropouts(self) if self.training else []

        def inner(parameters: dict[str, Any], keys: list[mx.array], *inner_args: Any, **inner_kwargs: Any) -> Any:
            self.update(parameters)
            # Beside the module's own dictionary, so that a key is no part of the model's state.
            for dropout, key in zip(dropouts, keys, strict=True):
                object.__setattr__(dropout, "key", mx.stop_gradient(key))
            try:
                with lazily(self.training):
                    return block.__call__(self, *inner_args, **inner_kwargs)
            finally:
                for dropout in dropouts:
                    object.__delattr__(dropout, "key")

        # Drawn from the state that a checkpoint holds, outside of what is computed twice.
        keys = [mx.random.randint(0, 2**32 - 1, (2,), mx.uint32) for _ in dropouts]
        return mx.checkpoint(inner)(self.trainable_parameters(), keys, *args, **kwargs)

    return type(f"Checkpointed{block.__name__}", (block,), {"__call__": call, "recomputes": True})


def checkpointed(block: nn.Module) -> bool:
    """Whether this block recomputes."""
    return getattr(type(block), "recomputes", False)


@contextmanager
def gradient_checkpointing(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Inside, the blocks of this model recompute. Other models of the same class are untouched; afterwards so is this.

    (mlx-lm's `grad_checkpoint` changes the class for the life of the process, and draws another dropout mask when it
    recomputes, so that the gradient is not that of the loss.)
    """
    blocks = list(model.layers) if enabled else []
    dropouts = [module for block in blocks for module in block.modules() if type(module) is nn.Dropout]
    classes: list[Any] = [type(block) for block in blocks]
    changed = [(block, cls, _checkpointed(cls)) for block, cls in zip(blocks, classes, strict=True)]
    changed += [(dropout, nn.Dropout, _Dropout) for dropout in dropouts]
    for module, _, new in changed:
        module.__class__ = new
    try:
        yield
    finally:
        for module, old, _ in changed:
            module.__class__ = old
