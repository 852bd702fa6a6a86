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

from core.models.eager import Floats, fresh, numbers, with_vjp

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
        product = values * sigmoid
        product *= np.asarray(x)
        return mx.array(product)

    def backward(primals: Any, cotangent: Any, output: Any) -> Any:
        gate, x = primals
        s = mx.array(sigmoid)
        silu = gate * s
        return cotangent * x * (s + silu * (1 - s)), cotangent * silu

    found: Array = with_vjp(forward, backward)(gate, x)
    return found


def attention(q: Array, k: Array, v: Array, *, scale: float, mask: Any = None, **options: Any) -> Array:
    """As MLX's: (B, heads, L, D) queries on (B, fewer heads, S, D) keys and values."""
    plain = not any(option is not None for option in options.values()) and q.dtype == k.dtype == v.dtype == mx.float32
    if not plain or numbers(q) is None:
        result: Array = _attention(q, k, v, scale=scale, mask=mask, **options)
        return result
    batch, heads, length, _ = q.shape
    groups, keys = k.shape[1], k.shape[2]
    hidden = _additive(mask, (batch, groups, heads // groups, length, keys))
    kept: list[Array] = []

    def grouped(array: Array) -> Array:
        """(B, heads, L, ...) -> (B, groups, heads of a group, L, ...)."""
        return array.reshape(batch, groups, heads // groups, length, -1)

    def forward(q: Array, k: Array, v: Array) -> Array:
        # Without their history, or MLX keeps the scores too for the backward pass.
        q, k, v = fresh(q), fresh(k), fresh(v)
        scores = grouped(scale * q) @ k[:, :, None].swapaxes(-1, -2)
        p = mx.array(_softmax(np.asarray(scores if hidden is None else scores + hidden)))
        kept.append(p)
        return fresh((p @ v[:, :, None]).reshape(batch, heads, length, -1))

    def backward(primals: Any, cotangent: Any, output: Any) -> Any:
        q, k, v = primals
        p, cotangent = kept.pop(), grouped(cotangent)
        to_p = cotangent @ v[:, :, None].swapaxes(-1, -2)
        to_p = p * to_p
        to_scores = scale * (to_p - p * to_p.sum(axis=-1, keepdims=True))
        return (
            (to_scores @ k[:, :, None]).reshape(q.shape),
            (to_scores.swapaxes(-1, -2) @ grouped(q)).sum(axis=2),
            (p.swapaxes(-1, -2) @ cotangent).sum(axis=2),
        )

    found: Array = with_vjp(forward, backward)(q, k, v)
    return found


def _softmax(scores: Floats) -> Floats:
    p: Floats = scores - scores.max(axis=-1, keepdims=True)
    np.exp(p, out=p)
    p /= p.sum(axis=-1, keepdims=True)
    return p


def _additive(mask: Any, shape: tuple[int, int, int, int, int]) -> Array | None:
    """A mask as what is added to the scores of this shape (B, groups, heads of a group, L, S); None: nothing is."""
    batch, groups, of_group, length, keys = shape
    if isinstance(mask, str):
        # The last query stands where the last key does.
        mask = mx.arange(keys - length, keys)[:, None] >= mx.arange(keys)[None]
    if mask is None:
        return None
    added: Array = mx.where(mask, 0.0, -mx.inf) if mask.dtype == mx.bool_ else mask
    if added.ndim > 2 and added.shape[-3] > 1:  # one for each head
        return mx.broadcast_to(added, (batch, groups * of_group, length, keys)).reshape(shape)
    return mx.expand_dims(added, -3) if added.ndim > 2 else added


if sys.platform == "linux":
    activations.swiglu = swiglu
    mx.fast.scaled_dot_product_attention = attention
    # Those that were imported before hold the original.
    for name, module in list(sys.modules.items()):
        if name.startswith("mlx_lm.models.") and getattr(module, "swiglu", None) is _swiglu:
            module.swiglu = swiglu  # type: ignore[attr-defined]
