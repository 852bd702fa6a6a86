"""A prompt run once for several responses: its keys and values are shared, gradients go through them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

Array = mx.array


class SharedPrompt:
    """Stands where mlx-lm's models take a layer's cache. One for each block, made anew for every pass.

    First come the prompts, (B, P), padded on their left; `then(copies)` turns to the responses, (copies*B, R), padded
    on their right, in which row i goes with prompt i mod B.
    """

    def __init__(self, left_padding: list[int]) -> None:
        self._padding = left_padding
        self._padded = any(left_padding)
        self._keys: Array | None = None
        self._values: Array | None = None
        self._width = 0
        self._copies = 0
        # Positions are those that the tokens have in their own sequence.
        self.offset: Any = mx.array([-n for n in left_padding]) if self._padded else 0

    def then(self, copies: int) -> None:
        assert self._keys is not None
        self._copies = copies
        self._width = self._keys.shape[2]
        self.offset = self._width + (mx.tile(self.offset, (copies,)) if self._padded else 0)

    def update_and_fetch(self, keys: Array, values: Array) -> tuple[Array, Array]:
        """(rows, heads, tokens, size) keys and values of these tokens -> of all that they may attend to."""
        if not self._copies:
            self._keys, self._values = keys, values
            return keys, values
        shared_keys = mx.concatenate([self._keys] * self._copies, axis=0)
        shared_values = mx.concatenate([self._values] * self._copies, axis=0)
        return mx.concatenate([shared_keys, keys], axis=2), mx.concatenate([shared_values, values], axis=2)

    def make_mask(self, tokens: int, return_array: bool = False, window_size: int | None = None) -> Any:
        """Causal, blind to padding, and no further back than `window_size`."""
        every = self._width + tokens
        cut = window_size is not None and every > window_size
        if not (self._padded or cut or return_array):
            return "causal" if tokens > 1 else None
        queries = mx.arange(self._width, every)[:, None]
        keys = mx.arange(every)[None]
        mask = queries >= keys
        if cut:
            mask = mask & (queries < keys + window_size)
        if self._padded:
            padding = mx.array(self._padding * max(self._copies, 1))[:, None, None, None]
            # A padded query sees itself: a row of a softmax without any entry is no number.
            mask = mask & ((keys >= padding) | (keys == queries))
        return mask
