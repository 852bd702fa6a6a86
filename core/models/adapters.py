"""Adapters, LoRA and DoRA: add, switch off, save as mlx-lm saves them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tuner.utils import linear_to_lora_layers

from core.config.models import Adapter
from core.errors import UserError
from core.models.adapter_layers import take_over
from core.models.fusing import fuse as fuse
from core.workspace import name_from

# What mlx-lm makes adapters for.
_ADAPTABLE = (
    nn.Linear, nn.QuantizedLinear, nn.Embedding, nn.QuantizedEmbedding, SwitchLinear, QuantizedSwitchLinear,
)  # fmt: skip
# Under one of these names an adapter keeps the layer it stands on.
_BASE = ("linear", "embedding")
# The mark of a layer that is switched off. Names that begin with an underscore are state, and no parameters.
_OFF = "_off"


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
    """Leave trainable what `adapter.type` asks for: a fresh adapter, or every weight."""
    if adapter.type != "full":
        add_adapters(model, adapter)
        return
    if any(hasattr(module, "bits") for _, module in model.named_modules()):
        raise UserError("adapter.type: full cannot train quantized weights: set it to lora, or take a model without")
    model.unfreeze()


def add_adapters(model: nn.Module, adapter: Adapter) -> None:
    """Freeze the model and put a fresh adapter (B = 0, so nothing changes yet) into its last blocks.

    The adapter's weights are float32 whatever the model's are: an update of 1e-4 of a weight is lost in bfloat16.
    """
    _refuse_unknown_keys(model, adapter.keys or [])
    if adapter.type == "dora":
        _refuse_dora(model, adapter)
    model.freeze()
    settings = lora_parameters(adapter)
    # mlx-lm takes the last n blocks and counts "all" as 0.
    linear_to_lora_layers(model, max(adapter.num_layers, 0), settings, use_dora=adapter.type == "dora")
    if not tree_flatten(model.trainable_parameters()):
        raise UserError(
            f"adapter.num_layers: the last {adapter.num_layers} blocks have none of adapter.keys: name more blocks"
        )
    for _, layer, _ in adapted_layers(model):
        take_over(layer)


def _adaptable(module: nn.Module) -> bool:
    return hasattr(module, "to_lora") or isinstance(module, _ADAPTABLE)


def _refuse_unknown_keys(model: nn.Module, keys: list[str]) -> None:
    """Keys name layers as they are called within a block, or within the whole model."""
    in_blocks = _in_blocks(model)
    anywhere = {name for name, module in model.named_modules() if _adaptable(module)}
    unknown = [key for key in keys if key not in in_blocks.keys() | anywhere]
    if unknown:
        raise UserError(
            f"adapter.keys: no layer that can have an adapter is called {', '.join(unknown)}: "
            f"this model's blocks have {', '.join(sorted(in_blocks))}"
        )


def _in_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that can have an adapter, by their name in a block; one of each name."""
    return {name: module for block in model.layers for name, module in block.named_modules() if _adaptable(module)}


def _refuse_dora(model: nn.Module, adapter: Adapter) -> None:
    """mlx-lm's DoRA knows fewer kinds of layers than its LoRA, and fails on the others at the first forward pass."""
    blocks = _in_blocks(model)
    wanted = adapter.keys or list(blocks)
    anywhere = dict(model.named_modules())
    reasons = {name: _no_dora(blocks.get(name) or anywhere[name]) for name in wanted}
    for name, reason in reasons.items():
        if reason:
            possible = sorted(key for key, module in blocks.items() if not _no_dora(module))
            raise UserError(
                f"adapter.type: dora cannot stand on {name} ({reason}): "
                + (f"set adapter.keys to some of {', '.join(possible)}, or type to lora" if possible else "take lora")
            )


def _no_dora(module: nn.Module) -> str:
    """Why mlx-lm has no DoRA for a layer; empty where it has."""
    if isinstance(module, nn.QuantizedEmbedding):
        return "a quantized embedding"
    if isinstance(module, SwitchLinear | QuantizedSwitchLinear) or hasattr(module, "to_lora"):
        return f"a {type(module).__name__}"
    if isinstance(module, nn.QuantizedLinear) and 32 % module.bits:
        return f"{module.bits}-bit weights"
    return ""


def adapter_weights(model: nn.Module) -> dict[str, mx.array]:
    """The trainable parameters by name."""
    return dict(sorted(tree_flatten(model.trainable_parameters())))


def adapted_layers(model: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """The layers that have an adapter: name, layer, and the name under which it keeps what it stands on."""
    return [
        (name, module, base)
        for name, module in model.named_modules()
        if "lora_a" in module
        for base in _BASE
        if base in module
    ]


def base_names(model: nn.Module) -> dict[str, str]:
    """The names of the model's own parameters, as they are without adapters -> as they are with them."""
    bases = {layer: base for layer, _, base in adapted_layers(model)}
    found = {}
    for name, _ in tree_flatten(model.parameters()):
        parts = name.split(".")
        owners = (".".join(parts[:end]) for end in range(1, len(parts)))
        layer = next((owner for owner in owners if owner in bases), None)
        if layer is None:
            found[name] = name
        elif name.startswith(inside := f"{layer}.{bases[layer]}."):
            found[f"{layer}.{name.removeprefix(inside)}"] = name
    return found


@cache
def _off(adapted: Any, base: str) -> Any:
    """The same class of layer, but it answers as the layer it stands on; one for each class."""

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return self[base](*args, **kwargs)

    def as_linear(self: nn.Module, x: mx.array) -> Any:
        return self[base].as_linear(x)

    methods = {"__call__": call, "base": base, "adapted": adapted}
    if hasattr(adapted, "as_linear"):
        methods["as_linear"] = as_linear
    return type(f"{adapted.__name__}Off", (adapted,), methods)


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Inside, the model is the one the adapters were put on, to the bit and at its speed; dropout is off.

    A function that `mx.compile` traced over the model's state is traced once more inside: the state has a mark then.
    """
    # Within another `adapters_off` nothing is left to switch.
    layers = [(layer, base) for _, layer, base in adapted_layers(model) if _OFF not in layer]
    training = model.training
    model.eval()
    for layer, base in layers:
        kind: Any = type(layer)
        layer.__class__ = _off(kind, base)
        layer[_OFF] = mx.array(0)
    try:
        yield
    finally:
        for layer, _ in layers:
            layer.__class__ = layer.adapted
            del layer[_OFF]
        model.train(training)


def save_adapters(model: nn.Module, adapter: Adapter, base: Path, folder: Path) -> None:
    """Write `adapters.safetensors` and `adapter_config.json` so that `mlx_lm --adapter-path` takes the folder."""
    mx.save_safetensors(str(folder / "adapters.safetensors"), adapter_weights(model))
    config = {
        "fine_tune_type": adapter.type,
        "model": name_from(folder, base),
        "num_layers": adapter.num_layers,
        "lora_parameters": lora_parameters(adapter),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
