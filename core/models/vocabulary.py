"""Log-probs and KL from logits over a vocabulary, in float32, with one exponential of each logit."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from core.models.eager import Floats, numbers, with_vjp

Array = mx.array

# Entries of the vocabulary that are added up one after the other.
BLOCK = 256


def target_logps(logits: Array, targets: Array) -> tuple[Array, Array]:
    """log p of each target, and log Σ_v p_v² (without gradient), in nats; (N, V) float32 and (N,) -> two of (N,).

    The gradient with regard to the logits is onehot - p.
    """
    if numbers(logits) is not None:
        return _on_cpu(logits, targets)

    def forward(logits: Array) -> tuple[Array, Array, Array]:
        normalizer = log_sum_exp(logits)
        picked = mx.take_along_axis(logits, targets[:, None], axis=-1)
        squares = log_sum_exp(2 * (logits - normalizer))[:, 0]
        return (picked - normalizer)[:, 0], squares, normalizer

    def backward(logits: Array, cotangents: Any, outputs: Any) -> Array:
        cotangent = cotangents[0][:, None]
        gradient = -cotangent * mx.exp(logits - outputs[2])
        return mx.put_along_axis(
            gradient, targets[:, None], mx.take_along_axis(gradient, targets[:, None], axis=-1) + cotangent, axis=-1
        )

    logps, squares, _ = with_vjp(forward, backward)(logits)
    return logps, mx.stop_gradient(squares)


def log_sum_exp(values: Array) -> Array:
    """log Σ_v exp(values_v) of (N, V) float32 -> (N, 1).

    MLX on the CPU adds a row up one by one, which over a vocabulary of 49k is off by 5e-5 and more, always to one side;
    blocks of it are not.
    """
    if mx.default_device() == mx.Device(mx.gpu):
        return mx.logsumexp(values, axis=-1, keepdims=True)
    largest = values.max(axis=-1, keepdims=True)
    terms = mx.exp(values - largest)
    whole = terms.shape[-1] // BLOCK * BLOCK
    total = terms[:, :whole].reshape(terms.shape[0], -1, BLOCK).sum(axis=-1).sum(axis=-1, keepdims=True)
    return largest + mx.log(total + terms[:, whole:].sum(axis=-1, keepdims=True))


def _on_cpu(logits: Array, targets: Array) -> tuple[Array, Array]:
    rows, columns = np.arange(len(targets)), np.array(targets)
    kept: list[Floats] = []

    def forward(logits: Array) -> tuple[Array, Array]:
        values = np.asarray(logits)
        largest = values.max(axis=-1, keepdims=True)
        p = np.exp(values - largest)
        total = p.sum(axis=-1, keepdims=True)
        logps = values[rows, columns] - largest[:, 0] - np.log(total[:, 0])
        p /= total
        kept.append(p)
        with np.errstate(divide="ignore"):
            squares = np.log(np.einsum("nv,nv->n", p, p))
        return mx.array(logps), mx.array(squares)

    def backward(logits: Array, cotangents: Any, outputs: Any) -> Array:
        cotangent = np.asarray(cotangents[0])
        gradient = kept.pop()
        gradient *= -cotangent[:, None]
        gradient[rows, columns] += cotangent
        return mx.array(gradient)

    logps, squares = with_vjp(forward, backward)(logits)
    return logps, mx.stop_gradient(squares)


def exact_kl(policy: Array, reference: Array) -> Array:
    """KL(p ‖ q) = Σ_v p_v (log p_v - log q_v) in nats for each row of (N, V) float32 logits -> (N,); no gradient.

    The mean of log π - log π_ref on given text is something else and can even be negative; it is not used.
    """
    ours, theirs = numbers(policy), numbers(reference)
    if ours is None or theirs is None:
        log_p = policy - mx.logsumexp(policy, axis=-1, keepdims=True)
        log_q = reference - mx.logsumexp(reference, axis=-1, keepdims=True)
        kl = (mx.exp(log_p) * (log_p - log_q)).sum(axis=-1)
    else:
        p, normalizer = _normalized(ours)
        _, other = _normalized(theirs)
        # Σ p (a - b) - (log Z_a - log Z_b) with a, b the logits.
        difference = ours - theirs
        difference -= normalizer - other
        kl = mx.array(np.einsum("nv,nv->n", p, difference))
    # Rounding can leave a sum of -1e-8; KL is never negative.
    return mx.maximum(kl, 0.0)


def _normalized(logits: Floats) -> tuple[Floats, Floats]:
    """p and log Σ exp of each row."""
    largest = logits.max(axis=-1, keepdims=True)
    p = np.exp(logits - largest)
    total = p.sum(axis=-1, keepdims=True)
    p /= total
    return p, largest + np.log(total)
