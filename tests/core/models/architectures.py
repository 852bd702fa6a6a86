"""Tiny models of mlx-lm's architectures with random weights, made from their ModelArgs."""

from __future__ import annotations

import importlib
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path

VOCABULARY = 64

_COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "vocab_size": VOCABULARY,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "rope_theta": 10000.0,
}

# What each architecture needs beyond.
_MORE: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},  # mlx-lm takes it for a llama
    "qwen2": {},
    "qwen3": {"tie_word_embeddings": True},
    "phi3": {"rope_scaling": None},
    "gemma": {},
    "gemma2": {},
    "cohere": {"layer_norm_eps": 1e-5},
    "granite": {
        "logits_scaling": 8.0,
        "attention_multiplier": 0.3,
        "embedding_multiplier": 12.0,
        "residual_multiplier": 0.22,
        "attention_bias": False,
        "mlp_bias": False,
    },
}


def build(name: str, seed: int = 0, spread: float = 0.3, **changes: Any) -> nn.Module:
    """A model with float32 weights; matrices have the standard deviation `spread`, the rest what its maker chose."""
    module = importlib.import_module(f"mlx_lm.models.{'llama' if name == 'mistral' else name}")
    args = module.ModelArgs.from_dict({**_COMMON, **_MORE[name], "model_type": name, **changes})
    model: nn.Module = module.Model(args)
    keys = iter(mx.random.split(mx.random.key(seed), 1000))

    def fill(path: str, value: mx.array) -> mx.array:
        return spread * mx.random.normal(value.shape, key=next(keys)) if value.ndim > 1 else value

    model.update(tree_map_with_path(fill, model.parameters()))
    mx.eval(model.parameters())
    model.eval()
    return model
