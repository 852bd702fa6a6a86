"""Merge adapters into the weights they stand on; turn quantized weights into plain ones."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tuner import dora, lora

from core.errors import UserError

Array = mx.array

_PLAIN: dict[Any, Any] = {
    nn.QuantizedLinear: nn.Linear,
    nn.QuantizedEmbedding: nn.Embedding,
    QuantizedSwitchLinear: SwitchLinear,
}


def fuse(model: nn.Module, *, dequantize: bool = False) -> None:
    """Merge the adapters into the weights they stand on, summed in float32 and rounded once.

    Args:
        dequantize: leave plain weights where quantized ones were, in all layers; else they are rounded again.
    """
    fused = [(name, _fused(module, dequantize)) for name, module in model.named_modules() if hasattr(module, "fuse")]
    if fused:
        model.update_modules(tree_unflatten(fused))
    if dequantize:
        plain = [(name, plain_layer(module)) for name, module in model.named_modules() if type(module) in _PLAIN]
        if plain:
            model.update_modules(tree_unflatten(plain))
        left = [type(module).__name__ for _, module in model.named_modules() if hasattr(module, "bits")]
        if left:
            raise UserError(f"model.dequantize: weights of a {left[0]} cannot be written out: set it to false")


def plain_layer(layer: nn.Module) -> nn.Module:
    """A layer without quantization: the same one, or one of its weights written out."""
    if type(layer) not in _PLAIN:
        return layer
    return _layer(_PLAIN[type(layer)], plain_weight(layer).astype(number_type(layer)), layer)


def plain_weight(layer: nn.Module) -> Array:
    """A layer's weight in float32, whether quantized or not."""
    if not hasattr(layer, "bits"):
        weight: Array = layer.weight.astype(mx.float32)
        return weight
    options = {"group_size": layer.group_size, "bits": layer.bits, "mode": layer.mode, "dtype": mx.float32}
    tensor_scale = getattr(layer, "global_scale", None)
    if tensor_scale is None:
        return mx.dequantize(layer.weight, layer.scales, layer.get("biases"), **options)
    # One for each expert; mx.dequantize takes one.
    parts = zip(layer.weight, layer.scales, tensor_scale, strict=True)
    return mx.stack([mx.dequantize(w, s, global_scale=g, **options) for w, s, g in parts])


def number_type(layer: nn.Module) -> mx.Dtype:
    """The type that a layer's weight has, or had before it was quantized."""
    if not hasattr(layer, "bits"):
        dtype: mx.Dtype = layer.weight.dtype
        return dtype
    # The scales of the 4- and 8-bit floats are no numbers of the model's type.
    scales: mx.Dtype = layer.scales.dtype
    return scales if mx.issubdtype(scales, mx.floating) else mx.bfloat16


def _fused(adapted: nn.Module, dequantize: bool) -> nn.Module:
    base = adapted["linear" if "linear" in adapted else "embedding"]
    kind: Any
    if isinstance(adapted, lora.LoRALinear | dora.DoRALinear):
        kind, delta = nn.Linear, (adapted.lora_a @ adapted.lora_b).T
    elif isinstance(adapted, lora.LoRASwitchLinear):
        kind, delta = SwitchLinear, adapted.lora_b @ adapted.lora_a
    elif isinstance(adapted, lora.LoRAEmbedding | dora.DoRAEmbedding):
        kind, delta = nn.Embedding, adapted.lora_a @ adapted.lora_b
    else:  # a layer that a model brings of its own, with its own fuse
        return adapted.fuse(dequantize=dequantize)
    weight = plain_weight(base) + adapted.scale * delta.astype(mx.float32)
    if isinstance(adapted, dora.DoRALinear | dora.DoRAEmbedding):
        norm = mx.maximum(mx.linalg.norm(weight, axis=1), 1e-12)
        weight = (adapted.m / norm)[:, None] * weight
    fused = _layer(kind, weight.astype(number_type(base)), base)
    if not hasattr(base, "bits") or dequantize:
        return fused
    options = {"group_size": base.group_size, "bits": base.bits, "mode": base.mode}
    if getattr(base, "global_scale", None) is not None:
        options["global_scale"] = True
    return fused.to_quantized(**options)


def _layer(kind: Any, weight: Array, like: nn.Module) -> nn.Module:
    """A plain layer with this weight and the bias of another."""
    # Its constructor would draw random weights, only to have them replaced.
    layer = kind.__new__(kind)
    nn.Module.__init__(layer)
    layer.weight = weight
    if "bias" in like:
        layer.bias = like.bias
    return layer
