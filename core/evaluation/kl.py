"""Exact KL(π_θ ‖ π_ref) per response token, over the whole vocabulary."""

from __future__ import annotations

import mlx.core as mx

from core.models.head import log_normalizer, vocabulary_sum

Array = mx.array

# Positions whose two (N, V) tables of log-probs are held at a time.
CHUNK = 256


def exact_kl(policy: Array, reference: Array) -> Array:
    """KL(p ‖ q) = Σ_v p_v (log p_v - log q_v) in nats for each row of (N, V) float32 logits -> (N,).

    The mean of log π - log π_ref on given text is something else and can even be negative; it is not used.
    """
    log_p = policy - log_normalizer(policy)
    log_q = reference - log_normalizer(reference)
    # Rounding can leave a sum of -1e-8; KL is never negative.
    return mx.maximum(vocabulary_sum(mx.exp(log_p) * (log_p - log_q))[:, 0], 0.0)
