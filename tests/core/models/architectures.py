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
    "gemma3_text": {"sliding_window": 5, "sliding_window_pattern": 2, "query_pre_attn_scalar": 8},
    "cohere": {"layer_norm_eps": 1e-5},
    "granite": {
        "logits_scaling": 8.0,
        "attention_multiplier": 0.3,
        "embedding_multiplier": 12.0,
        "residual_multiplier": 0.22,
        "attention_bias": False,
        "mlp_bias": False,
    },
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": 24,
        "tie_word_embeddings": False,
        "norm_topk_prob": True,
    },
    "mamba2": {
        "num_heads": 8,
        "state_size": 8,
        "conv_kernel": 4,
        "n_groups": 1,
        "use_bias": False,
        "use_conv_bias": True,
        "tie_word_embeddings": True,
        "time_step_limit": (0.0, 100.0),
        "time_step_rank": "auto",
        "layer_norm_epsilon": 1e-5,
    },
}

# What decides how a model is run: everything beside is in `build`'s arguments.
MISTRAL_WINDOW = {"sliding_window": 5, "layer_types": ["full_attention", "sliding_attention"]}


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
