"""Log-probs of responses, accumulated in float32."""

from __future__ import annotations

import mlx.core as mx

from core.models.head import Logits, log_normalizer

Array = mx.array


def token_logps(logits: Array, targets: Array) -> Array:
    """log p of each target (nats), (N, V) float32 logits and (N,) targets -> (N,)."""
    picked = mx.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return picked - log_normalizer(logits)[:, 0]


def row_sums(values: Array, rows: Array, weights: Array, count: int) -> Array:
    """Sum (N,) values into the (count,) rows they belong to; padding has weight 0."""
    return mx.zeros(count, mx.float32).at[rows].add(values * weights)


def response_logps(
    logits: Logits, ids: Array, positions: Array, targets: Array, rows: Array, weights: Array
) -> tuple[Array, Array]:
    """Summed log-probs of the response of each row, and its number of tokens, both (R,)."""
    logps = token_logps(logits(ids, positions), targets)
    return row_sums(logps, rows, weights, ids.shape[0]), row_sums(mx.ones_like(logps), rows, weights, ids.shape[0])
