"""LoRA adapters: add, switch off, fuse, save as mlx-lm saves them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tuner.utils import linear_to_lora_layers

from core.config.models import Adapter
from core.errors import UserError

# What mlx-lm makes adapters for.
_ADAPTABLE = (
    nn.Linear, nn.QuantizedLinear, nn.Embedding, nn.QuantizedEmbedding, SwitchLinear, QuantizedSwitchLinear,
)  # fmt: skip


def lora_parameters(adapter: Adapter) -> dict[str, Any]:
    """The settings as mlx-lm names them; its `scale` is our alpha / rank."""
    settings: dict[str, Any] = {
        "rank": adapter.rank,
        "scale": adapter.multiplier,
        "dropout": adapter.dropout,
    }
    if adapter.keys:
        settings["keys"] = list(adapter.keys)
    return settings


def make_trainable(model: nn.Module, adapter: Adapter) -> None:
    """Leave trainable what `adapter.type` asks for: a fresh LoRA adapter, or every weight."""
    if adapter.type == "lora":
        add_adapters(model, adapter)
        return
    if any(hasattr(module, "bits") for _, module in model.named_modules()):
        raise UserError("adapter.type: full cannot train quantized weights: set it to lora, or take a model without")
    model.unfreeze()


def add_adapters(model: nn.Module, adapter: Adapter) -> None:
    """Freeze the model and put a fresh LoRA adapter (B = 0, so nothing changes yet) into its last blocks."""
    _refuse_unknown_keys(model, adapter.keys or [])
    model.freeze()
    settings = lora_parameters(adapter)
    # mlx-lm takes the last n blocks and counts "all" as 0.
    linear_to_lora_layers(model, max(adapter.num_layers, 0), settings)
    if not tree_flatten(model.trainable_parameters()):
        raise UserError(
            f"adapter.num_layers: the last {adapter.num_layers} blocks have none of adapter.keys: name more blocks"
        )


def _refuse_unknown_keys(model: nn.Module, keys: list[str]) -> None:
    """Keys name layers as they are called within a block, or within the whole model."""

    def adaptable(module: nn.Module) -> bool:
        return hasattr(module, "to_lora") or isinstance(module, _ADAPTABLE)

    in_blocks = {name for block in model.layers for name, module in block.named_modules() if adaptable(module)}
    anywhere = {name for name, module in model.named_modules() if adaptable(module)}
    unknown = [key for key in keys if key not in in_blocks | anywhere]
    if unknown:
        raise UserError(
            f"adapter.keys: no layer that can have an adapter is called {', '.join(unknown)}: "
            f"this model's blocks have {', '.join(sorted(in_blocks))}"
        )


def adapter_weights(model: nn.Module) -> dict[str, mx.array]:
    """The trainable parameters by name."""
    return dict(sorted(tree_flatten(model.trainable_parameters())))


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Inside, the model is the one the adapters were put on, to the bit (scale 0 adds exact zeros), dropout off."""
    layers = [module for _, module in model.named_modules() if hasattr(module, "lora_a")]
    scales = [layer.scale for layer in layers]
    training = model.training
    model.eval()
    for layer in layers:
        layer.scale = 0.0
    try:
        yield
    finally:
        for layer, scale in zip(layers, scales, strict=True):
            layer.scale = scale
        model.train(training)


def save_adapters(model: nn.Module, adapter: Adapter, base: Path, folder: Path) -> None:
    """Write `adapters.safetensors` and `adapter_config.json` so that `mlx_lm --adapter-path` takes the folder."""
    mx.save_safetensors(str(folder / "adapters.safetensors"), adapter_weights(model))
    config = {
        "fine_tune_type": "lora",
        "model": str(base),
        "num_layers": adapter.num_layers,
        "lora_parameters": lora_parameters(adapter),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def fuse(model: nn.Module) -> None:
    """Merge the adapters into the weights they stand on."""
    fused = [(name, module.fuse()) for name, module in model.named_modules() if hasattr(module, "fuse")]
    if fused:
        model.update_modules(tree_unflatten(fused))
