"""Several examples in one row: attention within each alone, in models that take mlx-lm's cache objects."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache

from core.models.body import evaluating
from core.models.head import Head

Array = mx.array

# Largest relative difference of hidden states that two ways to compute them may have, by the size of a float.
TOLERANCE = {4: 1e-3, 2: 5e-2}

# Examples of the probe; their lengths are apart, so that what one sees of another shows.
_PROBE = ([1, 2, 3, 4, 5, 6, 7], [3, 2, 1], [5, 6, 7, 8, 9])


class PackedRows:
    """Stands where mlx-lm's models take a layer's cache, one object for all: it keeps nothing and gives the mask.

    Positions run on through a row. Rotary embeddings know differences of positions only, so that an example is the same
    wherever it stands, to the float; a model that counts otherwise is found out by `obstacle`.

    Args:
        segments: (R, T) the number of the example that each token belongs to, in its row; padding is one of its own.
    """

    offset = 0

    def __init__(self, segments: Array) -> None:
        self._segments = segments
        self._masks: dict[int | None, Array] = {}

    def update_and_fetch(self, keys: Array, values: Array) -> tuple[Array, Array]:
        return keys, values

    def make_mask(self, tokens: int, return_array: bool = False, window_size: int | None = None) -> Array:
        """(R, 1, T, T): causal, within an example, and no further back than `window_size`."""
        if window_size is not None and window_size >= tokens:
            window_size = None
        if window_size not in self._masks:
            queries, keys = mx.arange(tokens)[:, None], mx.arange(tokens)[None]
            mask = queries >= keys
            if window_size is not None:
                mask = mask & (queries < keys + window_size)
            same = self._segments[:, :, None] == self._segments[:, None, :]
            self._masks[window_size] = (mask & same)[:, None]
        return self._masks[window_size]


def caches(model: nn.Module, segments: Array) -> list[Any]:
    """What a model is called with beside packed rows."""
    return [PackedRows(segments)] * len(model.layers)


def obstacle(model: nn.Module, head: Head, rows: int = 1) -> str:
    """Why this model's examples cannot be packed, so many rows at a time; empty where they can.

    Found out by computing both ways. Some models take one mask for all rows, and not one for each.
    """
    kinds = {type(layer).__name__ for layer in make_prompt_cache(model)}
    if others := kinds - {KVCache.__name__, RotatingKVCache.__name__}:
        return f"its layers keep more than keys and values ({', '.join(sorted(others))})"
    # Every row has the examples in another order.
    orders = [_PROBE[number:] + _PROBE[:number] for number in range(rows)]
    ids = mx.array([[token for example in order for token in example] for order in orders])
    segments = mx.array([[number for number, example in enumerate(order) for _ in example] for order in orders])
    try:
        with evaluating(model):
            packed = head.features(ids, mx.arange(ids.size), caches(model, segments))
            alone = [head.features(mx.array([e]), mx.arange(len(e))) for order in orders for e in order]
            plain = mx.concatenate(alone)
            difference = float(mx.abs(packed - plain).max() / mx.abs(plain).max())
    except Exception as error:  # a model's code raises what it likes when its cache is another
        return f"its code takes no other cache ({type(error).__name__})"
    return "" if difference <= TOLERANCE[plain.itemsize] else f"its hidden states would differ by {difference:.1e}"
