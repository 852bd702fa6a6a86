"""The reference π_ref: the same model in memory, made to answer as it did before training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from core.models.adapters import adapters_off


class Reference(Protocol):
    """`with reference.on():` the policy's model computes what π_ref computes."""

    def on(self) -> AbstractContextManager[None]: ...


class AdapterOff:
    """Policy = frozen weights + adapter: the reference is the model with its adapter switched off, to the bit."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    @contextmanager
    def on(self) -> Iterator[None]:
        with adapters_off(self._model):
            yield


class WeightsFromDisk:
    """The policy's weights differ from the reference's: inside, the model holds the reference's, read from its folder.

    The policy's own stay in memory meanwhile; nothing of the reference stays afterwards. Training asks for the
    reference once for each pair, so a copy is never kept.

    Args:
        model: the policy's model, without or with adapters (which are off inside).
        folder: a model folder of the same architecture.
        dtype: the type that floating weights get.
    """

    def __init__(self, model: nn.Module, folder: Path, dtype: mx.Dtype | None, trust_remote_code: bool) -> None:
        self._model = model
        self._folder = folder
        self._dtype = dtype
        self._trust_remote_code = trust_remote_code

    @contextmanager
    def on(self) -> Iterator[None]:
        from core.models.load import load

        own = dict(tree_flatten(self._model.parameters()))
        theirs = dict(
            tree_flatten(
                load(self._folder, dtype=self._dtype, trust_remote_code=self._trust_remote_code).model.parameters()
            )
        )
        # Under an adapter the same weight is called ....linear.weight
        renamed = {name: name if name in theirs else name.replace(".linear.", ".") for name in own}
        swapped = [(name, theirs[renamed[name]]) for name in own if renamed[name] in theirs]
        assert len(swapped) == len(theirs), "the reference has weights that the policy has not"
        with adapters_off(self._model):
            self._model.load_weights(swapped, strict=False)
            del theirs, swapped
            try:
                yield
            finally:
                self._model.load_weights(list(own.items()), strict=False)
