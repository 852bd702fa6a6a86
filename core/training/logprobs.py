"""Log-probs of responses, accumulated in float32."""

from __future__ import annotations

import mlx.core as mx

from core.models.head import Head

Array = mx.array


def row_sums(values: Array, rows: Array, weights: Array, count: int) -> Array:
    """Sum (N,) values into the (count,) rows they belong to; padding has weight 0."""
    return mx.zeros(count, mx.float32).at[rows].add(values * weights)


def response_logps(
    head: Head, ids: Array, positions: Array, targets: Array, rows: Array, weights: Array
) -> tuple[Array, Array]:
    """Summed log-probs of the response of each row, and its number of tokens, both (R,); without gradient."""
    logps, _ = head.measure(head.features(ids, positions), targets)
    return row_sums(logps, rows, weights, ids.shape[0]), row_sums(mx.ones_like(logps), rows, weights, ids.shape[0])
