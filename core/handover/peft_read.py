"""A PEFT adapter read back and merged by PEFT's own definition: what was written is measured, not what was meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from core.errors import UserError
from core.handover.peft import CONFIG, PREFIX, WEIGHTS, selected

Array = mx.array


def merge(model: nn.Module, folder: Path) -> None:
    """Put an adapter into the weights of the model it stands on: W + α/r B A, and of DoRA m (W + α/r B A) / ‖·‖.

    Raises:
        UserError: the configuration names other layers than the file has tensors of.
    """
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text("utf-8"))
    tensors = mx.load(str(folder / WEIGHTS))
    assert isinstance(tensors, dict)
    modules = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Embedding)}
    wanted = {name for name in modules if selected(name, config["target_modules"], config["layers_to_transform"])}
    there = {name.removeprefix(PREFIX).split(".lora_")[0] for name in tensors}
    if wanted != there:
        raise UserError(f"the PEFT adapter selects {len(wanted)} layers and has tensors of {len(there)}")
    for name in sorted(wanted):
        module, stem = modules[name], f"{PREFIX}{name}.lora_"
        scale = config["alpha_pattern"].get(name, config["lora_alpha"]) / config["rank_pattern"].get(name, config["r"])
        weight = module.weight.astype(mx.float32)
        if isinstance(module, nn.Embedding):
            merged = weight + scale * (tensors[f"{stem}embedding_B"] @ tensors[f"{stem}embedding_A"]).T
        else:
            merged = weight + scale * (tensors[f"{stem}B.weight"] @ tensors[f"{stem}A.weight"])
        if config["use_dora"]:
            merged = (tensors[f"{stem}magnitude_vector"] / mx.linalg.norm(merged, axis=1))[:, None] * merged
        module.weight = merged
    mx.eval(model.parameters())
