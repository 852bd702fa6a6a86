"""mlx-lm's adapter layers, computing in the number type of what comes in while their own weights stay float32.

mlx-lm multiplies a bfloat16 input by a float32 matrix, which makes a float32 copy of the input in every layer and keeps
it for the backward pass. Here the small matrix is rounded instead: a quarter less memory above the weights, matrix
units for half precision, and gradients as near to those of float32 (cosine 0.9999 both ways). In float32 the numbers
are the same but for rounding. Parameters and files are mlx-lm's.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tuner import dora, lora

Array = mx.array


class LoRALinear(lora.LoRALinear):  # type: ignore[misc]  # mlx-lm's layers come without types
    def __call__(self, x: Array) -> Array:
        # One operation for B, its scale and the sum: their results, each as large as y, are not kept for the gradient.
        y: Array = self.linear(x)
        return mx.addmm(y, self.dropout(x) @ self.lora_a.astype(x.dtype), self.lora_b.astype(x.dtype), self.scale)


class LoRASwitchLinear(lora.LoRASwitchLinear):  # type: ignore[misc]
    def __call__(self, x: Array, indices: Array, sorted_indices: bool = False) -> Array:
        y = self.linear(x, indices, sorted_indices=sorted_indices)
        options: dict[str, Any] = {"rhs_indices": indices, "sorted_indices": sorted_indices}
        z = mx.gather_mm(self.dropout(x), self.lora_a.astype(x.dtype).swapaxes(-1, -2), **options)
        z = mx.gather_mm(z, self.lora_b.astype(x.dtype).swapaxes(-1, -2), **options)
        return _sum(y, self.scale * z)


class LoRAEmbedding(lora.LoRAEmbedding):  # type: ignore[misc]
    def as_linear(self, x: Array) -> Array:
        z = (self.dropout(x) @ self.lora_b.T.astype(x.dtype)) @ self.lora_a.T.astype(x.dtype)
        return _sum(self.embedding.as_linear(x), self.scale * z)


class DoRALinear(dora.DoRALinear):  # type: ignore[misc]
    """DoRA (Liu et al. 2024): W' = m (W + s B A) / ‖W + s B A‖, norms by row and outside of the gradient (their 4.3).

    mlx-lm dequantizes W and writes W + s B A out in every call. Here W is used as it lies in memory, and the norm comes
    from ‖W + s B A‖² = ‖W‖² + 2 s ⟨W, B A⟩ + s² ‖B A‖², so that a call costs little more than LoRA's. The quotient
    m / norm is applied as its difference from 1, for near 1 bfloat16 has steps of 1/128; so, too, a new adapter is the
    base model to the bit.
    """

    def __call__(self, x: Array) -> Array:
        y: Array = self.linear(x)
        plain = y - self.linear.bias if "bias" in self.linear else y
        ratio = self.m / self._adapted_norm(x.dtype)
        return _sum(y, (ratio - 1) * plain + ratio * (self.scale * _low_rank(self, x)))

    def remember_norm(self) -> None:
        """Once, before the magnitude is trained: it is ‖W‖ now."""
        # A row of zeros, of a unit that was pruned, stays one: 0 / 1e-12 is no NaN.
        self._norm = mx.maximum(self.m, 1e-12)

    def _adapted_norm(self, dtype: mx.Dtype) -> Array:
        a, b = mx.stop_gradient(self.lora_a), mx.stop_gradient(self.lora_b)
        # W A as (rank, out). A correction of the norm needs no more digits than the weights have.
        product = self.linear(a.T.astype(dtype)).astype(mx.float32)
        if "bias" in self.linear:
            product = product - self.linear.bias
        squares = 2 * self.scale * (product * b).sum(axis=0) + self.scale**2 * (b * ((a.T @ a) @ b)).sum(axis=0)
        return mx.stop_gradient(self._norm * mx.sqrt(mx.maximum(1 + squares / mx.square(self._norm), 1e-12)))


def _sum(base: Array, change: Array) -> Array:
    return base + change.astype(base.dtype)


def _low_rank(layer: nn.Module, x: Array) -> Array:
    product: Array = (layer.dropout(x) @ layer.lora_a.astype(x.dtype)) @ layer.lora_b.astype(x.dtype)
    return product


_OURS: dict[Any, Any] = {
    lora.LoRALinear: LoRALinear,
    lora.LoRASwitchLinear: LoRASwitchLinear,
    lora.LoRAEmbedding: LoRAEmbedding,
    dora.DoRALinear: DoRALinear,
}


def take_over(layer: nn.Module) -> None:
    """Make a fresh adapter layer of mlx-lm one of these; layers that a model brings of its own stay what they are."""
    layer.__class__ = _OURS.get(type(layer), type(layer))
    if isinstance(layer, DoRALinear):
        layer.remember_norm()
