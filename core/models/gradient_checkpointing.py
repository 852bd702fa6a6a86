"""Recompute a block's activations in the backward pass instead of keeping them: less memory, more time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn


@cache
def _checkpointed(block: Any) -> Any:
    """The same class of block, but recomputing; one for each class, so that compiled traces are shared."""

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        def inner(parameters: dict[str, Any], *inner_args: Any, **inner_kwargs: Any) -> Any:
            self.update(parameters)
            return block.__call__(self, *inner_args, **inner_kwargs)

        return mx.checkpoint(inner)(self.trainable_parameters(), *args, **kwargs)

    return type(f"Checkpointed{block.__name__}", (block,), {"__call__": call})


@contextmanager
def gradient_checkpointing(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Inside, the blocks of this model recompute. Other models of the same class are untouched; afterwards so is this.

    (mlx-lm's `grad_checkpoint` changes the class for the life of the process.)
    """
    blocks = list(model.layers) if enabled else []
    classes: list[Any] = [type(block) for block in blocks]
    for block, cls in zip(blocks, classes, strict=True):
        block.__class__ = _checkpointed(cls)
    try:
        yield
    finally:
        for block, cls in zip(blocks, classes, strict=True):
            block.__class__ = cls
