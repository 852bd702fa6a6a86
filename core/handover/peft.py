"""An adapter as PEFT has it: `adapter_config.json` and `adapter_model.safetensors`, for transformers.

mlx-lm keeps A as (in, r) and B as (r, out), and multiplies by `scale`; PEFT keeps their transposes, and multiplies by
lora_alpha / r. DoRA's magnitude is one number for each row of W in both. Of an embedding both keep A by token.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tuner import dora, lora

from core.errors import UserError
from core.models.adapters import adapted_layers
from core.models.load import LanguageModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
# The list of blocks under its name in mlx-lm's models of these architectures, and in transformers'.
_IN_BLOCK = re.compile(r"(?P<prefix>.*)\.layers\.(?P<block>\d+)\.(?P<name>.+)")


def write(loaded: LanguageModel, base: str, folder: Path) -> dict[str, Any]:
    """Write the adapter of a model into an existing folder; returns its adapter_config.json.

    Args:
        loaded: with the adapter beside its weights.
        base: the name of the model that it stands on, as whoever takes it will find it.

    Raises:
        UserError: PEFT has no such adapter.
    """
    layers = {name: layer for name, layer, _ in adapted_layers(loaded.model)}
    if not layers:
        raise UserError("--peft: the model has no adapter: leave it out")
    tensors: dict[str, mx.array] = {}
    for name, layer in layers.items():
        _refuse(name, layer, loaded.model)
        kind = "lora_embedding_" if isinstance(layer, lora.LoRAEmbedding) else "lora_"
        # Of an embedding PEFT's parameters are no layers, and their names have no ".weight".
        end = "" if isinstance(layer, lora.LoRAEmbedding) else ".weight"
        tensors[f"{PREFIX}{name}.{kind}A{end}"] = layer.lora_a.T
        tensors[f"{PREFIX}{name}.{kind}B{end}"] = layer.lora_b.T
        if isinstance(layer, dora.DoRALinear):
            tensors[f"{PREFIX}{name}.lora_magnitude_vector"] = layer.m
    tensors = {name: mx.contiguous(value.astype(mx.float32)) for name, value in sorted(tensors.items())}
    config = _config(layers, [name for name, _ in loaded.model.named_modules()], base)
    mx.save_safetensors(str(folder / WEIGHTS), tensors, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    return config


def _refuse(name: str, layer: nn.Module, model: nn.Module) -> None:
    if isinstance(layer, lora.LoRAEmbedding) and "lm_head" not in model:
        # mlx-lm's adapter of a tied embedding acts on the output head too, PEFT's on what goes in alone.
        raise UserError(
            f"--peft: {name} is the output head too (tied), where PEFT's adapter would not act: leave it out"
        )
    if not isinstance(layer, lora.LoRALinear | dora.DoRALinear | lora.LoRAEmbedding):
        raise UserError(f"--peft: {name} is a {type(layer).__name__}, for which PEFT has no adapter: leave it out")


def _config(layers: dict[str, nn.Module], every: list[str], base: str) -> dict[str, Any]:
    ranks = {name: int(layer.lora_a.shape[-1]) for name, layer in layers.items()}
    alphas = {name: _whole(float(layer.scale) * ranks[name]) for name, layer in layers.items()}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    first = next(iter(layers.values()))
    targets, blocks = _targets(list(layers), every)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": round(1.0 - first.dropout._p_1, 9),
        "use_dora": isinstance(first, dora.DoRALinear),
        "target_modules": targets,
        "layers_to_transform": blocks,
        "layers_pattern": "layers" if blocks is not None else None,
        "rank_pattern": {name: value for name, value in ranks.items() if value != rank},
        "alpha_pattern": {name: value for name, value in alphas.items() if value != alpha},
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "inference_mode": True,
    }


def _whole(number: float) -> float:
    """16.0 as 16; alpha / rank times rank may miss a whole number by a rounding."""
    near = round(number)
    return near if abs(number - near) < 1e-9 * max(1.0, abs(number)) else number


def _targets(names: list[str], every: list[str]) -> tuple[list[str], list[int] | None]:
    """target_modules and layers_to_transform: the same layers of some blocks, or else each by its whole name."""
    found = [_IN_BLOCK.fullmatch(name) for name in names]
    places = [(match["prefix"], int(match["block"]), match["name"]) for match in found if match]
    blocks = sorted({block for _, block, _ in places})
    inside = sorted({name for *_, name in places})
    regular = len(places) == len(names) == len(blocks) * len(inside) and len({prefix for prefix, *_ in places}) == 1
    if not regular:
        return sorted(names), None
    short = sorted({name.rsplit(".", 1)[-1] for name in inside})
    chosen = {name for name in every if selected(name, short, blocks)}
    return (short if chosen == set(names) else inside), blocks


def selected(name: str, targets: list[str], blocks: list[int] | None) -> bool:
    """Whether PEFT puts an adapter on a module: `check_target_module_exists` of peft 0.21."""
    if name in targets:
        return True
    if not any(name.endswith(f".{target}") for target in targets):
        return False
    place = _IN_BLOCK.fullmatch(name)
    return blocks is None or (place is not None and int(place["block"]) in blocks)
