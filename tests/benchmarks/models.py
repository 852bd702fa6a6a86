"""Generated models of the shape of SmolLM2 with a vocabulary of any size, and a tokenizer with one word for each id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

END = "<|end|>"

# SmolLM2-135M but for what a caller says.
SHAPE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_act": "silu",
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "dtype": "float32",
}


def generate(folder: Path, *, seed: int, **shape: int) -> Path:
    """Write a model folder unless it is there; weights are a function of seed and shape alone."""
    config = SHAPE | shape
    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(folder, config["vocab_size"])
    _write_weights(folder / "model.safetensors", config, seed)
    # Last, so that a folder with it is whole.
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    return folder


def in_half(model: Path, folder: Path) -> Path:
    """The same model with bfloat16 weights, for a GPU; written unless it is there."""
    if (folder / "config.json").exists():
        return folder
    import mlx.core as mx

    folder.mkdir(parents=True, exist_ok=True)
    for file in model.iterdir():
        if file.suffix == ".safetensors":
            weights = {name: value.astype(mx.bfloat16) for name, value in mx.load(str(file)).items()}
            mx.save_safetensors(str(folder / file.name), weights, metadata={"format": "mlx"})
        elif file.is_file() and file.name != "config.json":
            (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text("utf-8"))
    config |= {"dtype": "bfloat16", "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    return folder


def _write_tokenizer(folder: Path, words: int) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {END: 0, **{f"w{i}": i + 1 for i in range(words - 1)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": END, "unk_token": END}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n", "utf-8")


def _write_weights(path: Path, config: dict[str, Any], seed: int) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]

    def matrix(rows: int, columns: int) -> Any:
        values = rng.standard_normal((rows, columns), dtype=np.float32)
        values *= np.float32(columns**-0.5)
        return values

    ones = np.ones(hidden, np.float32)
    weights = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden), "model.norm.weight": ones}
    for i in range(config["num_hidden_layers"]):
        block = f"model.layers.{i}"
        weights |= {
            f"{block}.self_attn.q_proj.weight": matrix(queries, hidden),
            f"{block}.self_attn.k_proj.weight": matrix(keys, hidden),
            f"{block}.self_attn.v_proj.weight": matrix(keys, hidden),
            f"{block}.self_attn.o_proj.weight": matrix(hidden, queries),
            f"{block}.mlp.gate_proj.weight": matrix(inner, hidden),
            f"{block}.mlp.up_proj.weight": matrix(inner, hidden),
            f"{block}.mlp.down_proj.weight": matrix(hidden, inner),
            f"{block}.input_layernorm.weight": ones,
            f"{block}.post_attention_layernorm.weight": ones,
        }
    save_file(weights, path, metadata={"format": "pt"})
