"""The reference π_ref: the same model in memory, made to answer as it did before training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from core.errors import UserError
from core.models.adapters import adapters_off, base_names


class Reference(Protocol):
    """`with reference.on():` the policy's model computes what π_ref computes; `head_on` is so for its head alone.

    Attributes:
        same_trunk: whether what enters the first trained block is the same for both.
    """

    same_trunk: bool

    def on(self) -> AbstractContextManager[None]: ...

    def head_on(self) -> AbstractContextManager[None]: ...


class AdapterOff:
    """Policy = frozen weights + adapter: the reference is the model with its adapter switched off, to the bit."""

    same_trunk = True

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    @contextmanager
    def on(self) -> Iterator[None]:
        with adapters_off(self._model):
            yield

    head_on = on


# The parameters of the output head, and of the embedding that may be it.
_HEAD = re.compile(r"(lm_head|model\.embed_tokens)\.")


class WeightsFromDisk:
    """The policy's weights differ from the reference's: inside, the model holds the reference's, read from its folder.

    The policy's own stay in memory meanwhile; nothing of the reference stays afterwards. Training asks for the
    reference once for each pair, so a copy is never kept.

    Args:
        model: the policy's model, without or with adapters (which are off inside).
        folder: a model folder of the same architecture.
        dtype: the type that floating weights get.
    """

    same_trunk = False

    def __init__(self, model: nn.Module, folder: Path, dtype: mx.Dtype | None, trust_remote_code: bool) -> None:
        self._model = model
        self._folder = folder
        self._dtype = dtype
        self._trust_remote_code = trust_remote_code
        self._head: list[tuple[str, mx.array]] | None = None

    @contextmanager
    def on(self) -> Iterator[None]:
        with self._swapped(self._read()):
            yield

    @contextmanager
    def head_on(self) -> Iterator[None]:
        """The reference's head is small and asked for at every evaluation: it is read once and kept."""
        if self._head is None:
            self._head = [(name, value) for name, value in self._read() if _HEAD.match(name)]
        with self._swapped(self._head):
            yield

    def _read(self) -> list[tuple[str, mx.array]]:
        """The reference's weights under the names they have in the policy's model."""
        from core.models.load import load

        reference = load(self._folder, dtype=self._dtype, trust_remote_code=self._trust_remote_code).model
        theirs = dict(tree_flatten(reference.parameters()))
        own, now = base_names(self._model), dict(tree_flatten(self._model.parameters()))
        if _shapes(theirs) != _shapes({name: now[adapted] for name, adapted in own.items()}):
            raise UserError(
                f"{self._folder} has other weights than the policy: reference and policy must be of one architecture"
            )
        return [(own[name], value) for name, value in theirs.items()]

    @contextmanager
    def _swapped(self, weights: list[tuple[str, mx.array]]) -> Iterator[None]:
        own = dict(tree_flatten(self._model.parameters()))
        with adapters_off(self._model):
            self._model.load_weights(weights, strict=False)
            try:
                yield
            finally:
                self._model.load_weights([(name, own[name]) for name, _ in weights], strict=False)


def _shapes(weights: dict[str, mx.array]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}
