"""A prompt run once for several responses: its keys and values are shared, gradients go through them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

Array = mx.array


class SharedPrompt:
    """Stands where mlx-lm's models take a layer's cache. One for each block, made anew for every pass.

    First come the prompts, (B, P), padded on their left; `then` turns to the responses, (copies*B, R), padded on
    their right, in which row i goes with prompt i mod B.

    Args:
        padding: (B,) tokens of padding before each prompt; None where there is none.
    """

    def __init__(self, padding: Array | None) -> None:
        self._padding = padding
        # Empty in a block that does not run.
        self._prompt: list[Array] = []
        self._width = 0
        self._copies = 0
        # Positions are those that the tokens have in their own sequence.
        self.offset: Any = 0 if padding is None else -padding

    def then(self, copies: int, width: int) -> None:
        """From the prompts, `width` tokens wide, to `copies` responses of each."""
        self._copies = copies
        self._width = width
        if self._padding is None:
            self.offset = width
        else:
            self._padding = mx.tile(self._padding, (copies,))
            self.offset = width - self._padding

    def update_and_fetch(self, keys: Array, values: Array) -> tuple[Array, Array]:
        """(rows, heads, tokens, size) keys and values of these tokens -> of all that they may attend to."""
        if not self._copies:
            self._prompt = [keys, values]
            return keys, values
        shared = (mx.concatenate([part] * self._copies, axis=0) for part in self._prompt)
        keys, values = (
            mx.concatenate([before, new], axis=2) for before, new in zip(shared, (keys, values), strict=True)
        )
        return keys, values

    def make_mask(self, tokens: int, return_array: bool = False, window_size: int | None = None) -> Any:
        """Causal, blind to padding, and no further back than `window_size`."""
        every = self._width + tokens
        if window_size is not None and every <= window_size:
            window_size = None
        if self._padding is None and window_size is None and not return_array:
            return "causal" if tokens > 1 else None
        queries = mx.arange(self._width, every)[:, None]
        keys = mx.arange(every)[None]
        mask = queries >= keys
        if window_size is not None:
            mask = mask & (queries < keys + window_size)
        if self._padding is not None:
            # A padded query sees itself: a row of a softmax without any entry is no number.
            mask = mask & ((keys >= self._padding[:, None, None, None]) | (keys == queries))
        return mask
