"""Model folders with random weights, as mlx-lm reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from core.demo.model import _write_tokenizer
from tests.core.models.architectures import build

VOCABULARY = 1024  # of the tokenizer's settings
IDS = mx.random.randint(0, 300, (2, 9), key=mx.random.key(0))


def write_folder(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A tiny Llama with a byte-level tokenizer; `changes` are keys of its config.json."""
    config = {
        "model_type": "llama",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rms_norm_eps": 1e-6,
        "vocab_size": 300,
        "max_position_embeddings": 256,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "eos_token_id": 0,
        **changes,
    }
    folder.mkdir(parents=True)
    model = build("llama", seed, 0.2, **{k: v for k, v in config.items() if k != "model_type"})
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    _write_tokenizer(folder, ["red green blue", "say red", "say blue"])
    (folder / "config.json").write_text(json.dumps(config))
    return folder
