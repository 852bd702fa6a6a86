"""Adapters with weights drawn at random on a tiny model, and exports of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from safetensors.numpy import load_file

from core.config.models import Adapter
from core.handover import export_run
from core.handover.request import Wish, submit
from core.models.adapters import adapted_layers, add_adapters, save_adapters
from core.models.load import load
from core.store import Database, runs
from core.store.runs import Run
from core.workspace import Workspace
from tests.core.training.test_resume import execute


def adapter(space: Workspace, name: str, *, base: str = "models/tiny", **settings: Any) -> Path:
    """An adapter folder whose matrices are all far from nothing."""
    loaded = load(space.path(base))
    asked = Adapter.model_validate({"rank": 4, "alpha": 6.0, "num_layers": 1, **settings})
    mx.random.seed(7)
    add_adapters(loaded.model, asked)
    for _, layer, _ in adapted_layers(loaded.model):
        layer.lora_b = mx.random.normal(layer.lora_b.shape) * 0.05
        if "m" in layer:
            layer.m = layer.m * mx.random.uniform(0.8, 1.2, layer.m.shape)
    folder = space.path(name)
    folder.mkdir(parents=True)
    save_adapters(loaded.model, asked, space.path(base).resolve(), folder)
    return folder


def export(space: Workspace, db: Database, what: str, **wishes: Any) -> Run:
    run = submit(space, db, Wish(what, **{"pairs": "data/pairs_val.jsonl", **wishes}))
    execute(space, db, run.id, export_run.run, None)
    return runs.get(db, run.id)


def merged_by_peft(base: Path, peft: Path) -> dict[str, np.ndarray]:
    """The weights that an adapter makes of a model, by PEFT's definition and none of our code: the layers that
    `target_modules` and `layers_to_transform` select, W + lora_alpha / r B A, DoRA's rows scaled to their magnitude."""
    import re

    config = json.loads((peft / "adapter_config.json").read_text())
    tensors = load_file(peft / "adapter_model.safetensors")
    weights = load_file(base / "model.safetensors")
    used = set()
    for name in weights:
        module = name.removesuffix(".weight")
        targets = config["target_modules"]
        found = module in targets
        if not found and any(module.endswith(f".{target}") for target in targets):
            block = re.match(rf".*\.{config['layers_pattern']}\.(\d+)\.", f"{module}.")
            found = config["layers_to_transform"] is None or int(block[1]) in config["layers_to_transform"]
        if not found:
            continue
        stem = f"base_model.model.{module}"
        a, b = tensors[f"{stem}.lora_A.weight"], tensors[f"{stem}.lora_B.weight"]
        used |= {f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"}
        rank = config["rank_pattern"].get(module, config["r"])
        assert a.shape[0] == b.shape[1] == rank
        whole = weights[name] + config["alpha_pattern"].get(module, config["lora_alpha"]) / rank * (b @ a)
        if config["use_dora"]:
            magnitude = tensors[f"{stem}.lora_magnitude_vector"]
            used.add(f"{stem}.lora_magnitude_vector")
            whole = (magnitude / np.linalg.norm(whole, axis=1))[:, None] * whole
        weights[name] = whole
    assert used == set(tensors), "a tensor that PEFT would not take"
    return weights
