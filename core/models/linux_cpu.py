"""On Linux, where MLX computes exponentials on the CPU one by one, let NumPy compute those of mlx-lm's models.

MLX's exp takes 10 ns an entry there and NumPy's 0.4, so that activations and attention took as long as all matrix
products of a block. Replaced are mlx-lm's SwiGLU and MLX's attention, for float32 on the CPU and outside of compiled
steps; everything else is handed to the originals. On a Mac nothing is replaced.
"""

from __future__ import annotations

import sys
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models import activations

from core.models.eager import numbers, with_vjp

Array = mx.array

_swiglu = activations.swiglu
_attention = mx.fast.scaled_dot_product_attention


def swiglu(gate: Array, x: Array) -> Array:
    """silu(gate) x."""
    values = numbers(gate) if gate.dtype == x.dtype == mx.float32 else None
    if values is None:
        result: Array = _swiglu(gate, x)
        return result
    with np.errstate(over="ignore"):
        # exp(-gate) becomes inf where the sigmoid is 0.
        sigmoid = np.negative(values)
        np.exp(sigmoid, out=sigmoid)
    sigmoid += 1
    np.reciprocal(sigmoid, out=sigmoid)

    def forward(gate: Array, x: Array) -> Array:
        return gate * mx.array(sigmoid) * x

    def backward(primals: Any, cotangent: Any, output: Any) -> Any:
        gate, x = primals
        s = mx.array(sigmoid)
        silu = gate * s
        return cotangent * x * (s + silu * (1 - s)), cotangent * silu

    found: Array = with_vjp(forward, backward)(gate, x)
    return found


def softmax(scores: Array) -> Array:
    """Over the last axis; float32 that NumPy can see."""

    def forward(scores: Array) -> Array:
        values = np.asarray(scores)
        p = values - values.max(axis=-1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=-1, keepdims=True)
        return mx.array(p)

    def backward(scores: Any, cotangent: Any, p: Any) -> Array:
        weighted = cotangent * p
        gradient: Array = weighted - p * weighted.sum(axis=-1, keepdims=True)
        return gradient

    found: Array = with_vjp(forward, backward)(scores)
    return found


def attention(q: Array, k: Array, v: Array, *, scale: float, mask: Any = None, **options: Any) -> Array:
    """As MLX's: (B, heads, L, D) queries on (B, fewer heads, S, D) keys and values."""
    plain = not any(option is not None for option in options.values()) and q.dtype == k.dtype == v.dtype == mx.float32
    if not plain or numbers(q) is None:
        result: Array = _attention(q, k, v, scale=scale, mask=mask, **options)
        return result
    batch, heads, length, size = q.shape
    groups, keys = k.shape[1], k.shape[2]
    grouped = (scale * q).reshape(batch, groups, heads // groups, length, size)
    scores = grouped @ k[:, :, None].swapaxes(-1, -2)
    if isinstance(mask, str):
        # The last query stands where the last key does.
        mask = mx.arange(keys - length, keys)[:, None] >= mx.arange(keys)[None]
    if mask is not None:
        mask = mx.where(mask, 0.0, -mx.inf) if mask.dtype == mx.bool_ else mask
        if mask.ndim > 2 and mask.shape[-3] > 1:  # one for each head
            mask = mx.broadcast_to(mask, (batch, heads, length, keys)).reshape(scores.shape)
        elif mask.ndim > 2:
            mask = mx.expand_dims(mask, -3)
        scores = scores + mask
    found: Array = softmax(scores) @ v[:, :, None]
    return found.reshape(batch, heads, length, v.shape[-1])


if sys.platform == "linux":
    activations.swiglu = swiglu
    mx.fast.scaled_dot_product_attention = attention
    # Those that were imported before hold the original.
    for name, module in list(sys.modules.items()):
        if name.startswith("mlx_lm.models.") and getattr(module, "swiglu", None) is _swiglu:
            module.swiglu = swiglu  # type: ignore[attr-defined]
