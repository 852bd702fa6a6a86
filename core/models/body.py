"""The blocks of a model between embedding and output head, run whole or in parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import mlx.core as mx
import mlx.nn as nn

Array = mx.array


class _Slot:
    """What a stand-in gives or takes; beside the module, so that it is no part of the model's state."""

    def __init__(self) -> None:
        self.given: Any = None
        self.taken: Any = None


class Body:
    """`body(ids)` is what enters the model's output head.

    mlx-lm's models differ in what they do between their blocks (masks, windows, scaled embeddings), so a part of a
    body is run by the model's own code, with stand-ins in the place of the blocks that are left out: one hands on what
    it is given, one keeps what it is given, the others let pass. The class of a block is changed for the time of one
    call, on this instance alone.

    Attributes:
        found: whether the model has such a body. Where it has none there is nothing to call.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._module = _owner_of_blocks(model)
        self._slot = _Slot()
        self._head_slot = _Slot()
        self._stand_ins: dict[tuple[type, str], type] = {}

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self._model.layers)

    @cached_property
    def found(self) -> bool:
        """By computing both ways once; to the bit, since it is the same computation."""
        if self._module is None:
            return False
        probe = mx.arange(1, 9)[None]
        with evaluating(self._model):
            try:
                features = self(probe)
                return isinstance(features, mx.array) and bool(
                    mx.array_equal(self.head(features[0]), self._model(probe)[0])
                )
            except (TypeError, ValueError, AttributeError, KeyError, IndexError, RuntimeError):
                return False

    def divisible(self, at: int) -> bool:
        """Whether blocks before and from `at` on, run one after the other, are the whole, to the bit."""
        if not self.found or not 0 < at < len(self.blocks):
            return False
        probe = mx.arange(1, 9)[None]
        with evaluating(self._model):
            try:
                return bool(mx.array_equal(self(probe, hidden=self.before(at, probe), start=at), self(probe)))
            except (TypeError, ValueError, AttributeError, KeyError, IndexError, RuntimeError):
                return False

    def __call__(
        self, ids: Array, cache: list[Any] | None = None, *, hidden: Array | None = None, start: int = 0
    ) -> Array:
        """(R, T) token ids -> (R, T, D).

        Args:
            cache: one object a block, as mlx-lm has it.
            hidden: (R, T, D) that enters block `start`; the blocks before it do not run.
        """
        assert self._module is not None
        if hidden is None:
            result: Array = self._module(ids) if cache is None else self._module(ids, cache)
            return result
        blocks = self.blocks
        self._slot.given = hidden
        with self._replaced([*((block, "pass") for block in blocks[: start - 1]), (blocks[start - 1], "give")]):
            try:
                result = self._module(ids) if cache is None else self._module(ids, cache)
            finally:
                self._slot.given = None
        return result

    def before(self, stop: int, ids: Array, cache: list[Any] | None = None) -> Array:
        """What enters block `stop`, (R, T, D)."""
        assert self._module is not None
        blocks = self.blocks
        with self._replaced([(blocks[stop], "take"), *((block, "pass") for block in blocks[stop + 1 :])]):
            try:
                # What comes after is never evaluated.
                self._module(ids) if cache is None else self._module(ids, cache)
                result: Array = self._slot.taken
            finally:
                self._slot.taken = None
        return result

    def head(self, features: Array) -> Array:
        """(N, D) that enter the output head -> (N, V) logits: the model's own code after its body, caps and all."""
        assert self._module is not None
        self._head_slot.given = features[None]
        with self._replaced([(self._module, "head")]):
            try:
                logits: Array = self._model(mx.zeros((1, features.shape[0]), mx.int32))
            finally:
                self._head_slot.given = None
        return logits[0]

    @contextmanager
    def _replaced(self, changes: list[tuple[nn.Module, str]]) -> Iterator[None]:
        classes = [(module, type(module)) for module, _ in changes]
        for module, kind in changes:
            module.__class__ = self._stand_in(type(module), kind)
        try:
            yield
        finally:
            for module, cls in classes:
                module.__class__ = cls

    def _stand_in(self, cls: type, kind: str) -> type:
        if (cls, kind) not in self._stand_ins:
            slot, head_slot = self._slot, self._head_slot

            def let_pass(self: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
                return x

            def give(self: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
                return slot.given

            def take(self: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
                slot.taken = x
                return x

            def give_to_head(self: Any, *args: Any, **kwargs: Any) -> Any:
                return head_slot.given

            call = {"pass": let_pass, "give": give, "take": take, "head": give_to_head}[kind]
            self._stand_ins[cls, kind] = type(cls.__name__, (cls,), {"__call__": call})
        return self._stand_ins[cls, kind]


def _owner_of_blocks(model: nn.Module) -> nn.Module | None:
    """The module that has the list of blocks; not the model itself, whose call ends with logits."""
    try:
        first = model.layers[0]
    except (AttributeError, IndexError, TypeError):
        return None
    for _, module in model.named_modules():
        if module is not model and any(isinstance(v, list) and v and v[0] is first for v in module.values()):
            return module if callable(module) else None
    return None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
