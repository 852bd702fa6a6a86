"""The demo's model folder: a small Llama with weights from a seed and a byte-level BPE of its own text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.workspace import write_private

END, USER, ASSISTANT, SYSTEM, PAD = "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|pad|>"
SPECIAL = (END, PAD, SYSTEM, USER, ASSISTANT)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1024,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_act": "silu",
    "bos_token_id": None,
    "eos_token_id": SPECIAL.index(END),
    "pad_token_id": SPECIAL.index(PAD),
    "dtype": "float32",
    "use_cache": True,
}


def write_model(folder: Path, texts: Iterable[str], seed: int) -> None:
    """Write a model folder as mlx-lm and transformers read it.

    Args:
        folder: exists.
        texts: what the tokenizer is trained on.
        seed: of the weights.
    """
    _write_tokenizer(folder, texts)
    _write_weights(folder / "model.safetensors", seed)
    generation = {name: CONFIG[name] for name in ("eos_token_id", "pad_token_id")}
    write_private(folder / "generation_config.json", json.dumps(generation, indent=2) + "\n")
    # Last, so that a folder with it is whole.
    write_private(folder / "config.json", json.dumps(CONFIG, indent=2) + "\n")


def _write_tokenizer(folder: Path, texts: Iterable[str]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"],
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    write_private(folder / "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": [SYSTEM, USER, ASSISTANT],
        "model_max_length": CONFIG["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    write_private(folder / "tokenizer_config.json", json.dumps(settings, indent=2) + "\n")


def _write_weights(path: Path, seed: int) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    queries = CONFIG["num_attention_heads"] * CONFIG["head_dim"]
    keys = CONFIG["num_key_value_heads"] * CONFIG["head_dim"]

    def matrix(outputs: int, inputs: int, scale: float = 1.0) -> Any:
        return rng.normal(0.0, scale * inputs**-0.5, (outputs, inputs)).astype(np.float32)

    weights = {
        "model.embed_tokens.weight": rng.normal(0.0, 0.15, (CONFIG["vocab_size"], hidden)).astype(np.float32),
        "model.norm.weight": np.ones(hidden, np.float32),
    }
    # What adds to the residual stream starts smaller the deeper the model is (GPT-2).
    quiet = (2 * CONFIG["num_hidden_layers"]) ** -0.5
    for i in range(CONFIG["num_hidden_layers"]):
        block = f"model.layers.{i}"
        weights |= {
            f"{block}.self_attn.q_proj.weight": matrix(queries, hidden),
            f"{block}.self_attn.k_proj.weight": matrix(keys, hidden),
            f"{block}.self_attn.v_proj.weight": matrix(keys, hidden),
            f"{block}.self_attn.o_proj.weight": matrix(hidden, queries, quiet),
            f"{block}.mlp.gate_proj.weight": matrix(inner, hidden),
            f"{block}.mlp.up_proj.weight": matrix(inner, hidden),
            f"{block}.mlp.down_proj.weight": matrix(hidden, inner, quiet),
            f"{block}.input_layernorm.weight": np.ones(hidden, np.float32),
            f"{block}.post_attention_layernorm.weight": np.ones(hidden, np.float32),
        }
    save_file(weights, path, metadata={"format": "mlx"})
    path.chmod(0o600)
