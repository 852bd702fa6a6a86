"""Adapters under PEFT's names: which layers, which multiplier, and which cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear
from safetensors.numpy import load_file

from core.config.models import Adapter
from core.errors import UserError
from core.handover import peft, peft_read
from core.models.adapters import add_adapters
from core.models.load import LanguageModel
from tests.core.models.architectures import build


def model_of(name: str) -> nn.Module:
    return build("llama", spread=0.1, tie_word_embeddings=False) if name == "untied" else build(name, spread=0.1)


def adapted(architecture: str = "llama", **settings: object) -> LanguageModel:
    model = model_of(architecture)
    add_adapters(model, Adapter.model_validate({"rank": 2, "num_layers": -1, **settings}))
    return LanguageModel(model, None, {}, Path())


def written(loaded: LanguageModel, folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    peft.write(loaded, "models/base", folder)
    return json.loads((folder / peft.CONFIG).read_text()), load_file(folder / peft.WEIGHTS)


def test_a_matrix_is_its_transpose(tmp_path: Path) -> None:
    loaded = adapted(num_layers=1, keys=["self_attn.q_proj"], alpha=3.0)
    (layer,) = [m for _, m in loaded.model.named_modules() if isinstance(m, LoRALinear)]
    layer.lora_b = mx.random.normal(layer.lora_b.shape)
    config, tensors = written(loaded, tmp_path)
    last = len(loaded.model.layers) - 1
    stem = f"base_model.model.model.layers.{last}.self_attn.q_proj"
    assert tensors.keys() == {f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"}
    np.testing.assert_array_equal(tensors[f"{stem}.lora_A.weight"], np.array(layer.lora_a).T)
    np.testing.assert_array_equal(tensors[f"{stem}.lora_B.weight"], np.array(layer.lora_b).T)
    assert (config["r"], config["lora_alpha"], config["layers_to_transform"]) == (2, 3, [last])
    assert config["lora_alpha"] / config["r"] == layer.scale
    assert (config["target_modules"], config["layers_pattern"]) == (["q_proj"], "layers")
    assert config["base_model_name_or_path"] == "models/base"


def test_a_scale_that_is_no_whole_alpha(tmp_path: Path) -> None:
    config, _ = written(adapted(rank=3, alpha=10.0, dropout=0.1), tmp_path)
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 10, 0.1)
    (tmp_path / "s").mkdir()
    config, _ = written(adapted(rank=3, scale=0.7), tmp_path / "s")
    assert config["lora_alpha"] / 3 == pytest.approx(0.7, rel=1e-12)


def test_ranks_of_their_own(tmp_path: Path) -> None:
    """Of layers that differ each has its own rank, and its own multiplier."""
    loaded = adapted(keys=["mlp.up_proj", "mlp.down_proj"], alpha=4.0)
    layer = loaded.model.layers[0].mlp.up_proj
    layer.lora_a, layer.lora_b = layer.lora_a[:, :1], layer.lora_b[:1]
    config, _ = written(loaded, tmp_path)
    assert config["rank_pattern"] == {"model.layers.0.mlp.up_proj": 1}
    assert config["alpha_pattern"] == {"model.layers.0.mlp.up_proj": 2}
    assert (config["r"], config["lora_alpha"]) == (2, 4)


def test_layers_outside_of_blocks_are_named_in_full(tmp_path: Path) -> None:
    loaded = adapted("untied", keys=["self_attn.q_proj", "lm_head"], num_layers=1)
    config, tensors = written(loaded, tmp_path)
    last = len(loaded.model.layers) - 1
    assert config["target_modules"] == ["lm_head", f"model.layers.{last}.self_attn.q_proj"]
    assert config["layers_to_transform"] is None
    assert "base_model.model.lm_head.lora_A.weight" in tensors


def test_an_embedding(tmp_path: Path) -> None:
    loaded = adapted("untied", keys=["model.embed_tokens"])
    layer = loaded.model.model.embed_tokens
    assert isinstance(layer, LoRAEmbedding)
    layer.lora_b = mx.random.normal(layer.lora_b.shape)
    config, tensors = written(loaded, tmp_path)
    stem = "base_model.model.model.embed_tokens.lora_embedding_"
    plain = np.array(layer.embedding.weight)
    change = config["lora_alpha"] / config["r"] * (tensors[f"{stem}B"] @ tensors[f"{stem}A"]).T
    np.testing.assert_allclose(plain + change, np.array(layer(mx.arange(plain.shape[0]))), atol=1e-5)
    # Its reader agrees.
    other = model_of("untied")
    other.model.embed_tokens.weight = layer.embedding.weight
    peft_read.merge(other, tmp_path)
    np.testing.assert_allclose(np.array(other.model.embed_tokens.weight), plain + change, atol=1e-5)


def test_what_peft_has_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.embed_tokens is the output head too \(tied\)"):
        written(adapted(keys=["model.embed_tokens"]), tmp_path)
    with pytest.raises(UserError, match="is a LoRASwitchLinear, for which PEFT has no adapter"):
        written(adapted("mixtral"), tmp_path)
    with pytest.raises(UserError, match="the model has no adapter"):
        written(LanguageModel(build("llama"), None, {}, Path()), tmp_path)


def test_a_configuration_that_selects_other_layers_is_caught(tmp_path: Path) -> None:
    loaded = adapted(num_layers=1)
    config, _ = written(loaded, tmp_path)
    (tmp_path / peft.CONFIG).write_text(json.dumps(config | {"layers_to_transform": [0, 1]}))
    with pytest.raises(UserError, match="selects 14 layers and has tensors of 7"):
        peft_read.merge(build("llama"), tmp_path)
