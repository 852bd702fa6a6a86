"""A GGUF file in float16: tensors under the names and in the order of rows that mlx-lm's own converter gives them.

mlx-lm's metadata says of every tokenizer that it is SentencePiece's, takes a base of RoPE that stands under
transformers' newer name for the default, and the dimension of a head for hidden / heads. llama.cpp would read other
tokens and compute other numbers, so the metadata is written here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.gguf import TokenType, permute_weights, translate_weight_names

from core.errors import UserError
from core.handover.forms import pre_tokenizer
from core.models.load import LanguageModel
from core.models.rope_names import older_names
from core.text import one_line

_MOSTLY_F16 = 1
_LARGEST = 65504.0  # of a float16


def write(loaded: LanguageModel, name: str, file: Path) -> int:
    """Write it; returns the number of tensors. The model's weights are plain.

    Raises:
        UserError: a weight is beyond float16, or the file read back is not what was written.
    """
    config = {**loaded.config, **older_names(loaded.config)}
    heads = int(config["num_attention_heads"])
    of_keys = int(config.get("num_key_value_heads") or heads)
    tensors = {}
    for own, value in tree_flatten(loaded.model.parameters()):
        if own.endswith("self_attn.q_proj.weight"):
            value = permute_weights(value, heads, heads)
        elif own.endswith("self_attn.k_proj.weight"):
            value = permute_weights(value, heads, of_keys)
        # Norms are few and small; llama.cpp multiplies by them in float32.
        wide = value.ndim == 1
        if not wide and float(mx.abs(value).max()) > _LARGEST:
            raise UserError(f"--gguf: {own} has values beyond float16's range: leave it out")
        tensors[translate_weight_names(own)] = mx.contiguous(value.astype(mx.float32 if wide else mx.float16))
    rows = tensors["token_embd.weight"].shape[0]
    mx.save_gguf(str(file), tensors, {**_architecture(config, heads, of_keys, name), **_tokenizer(loaded, rows)})
    back = mx.load(str(file), format="gguf")
    assert isinstance(back, dict)
    if back.keys() != tensors.keys() or not all(bool(mx.array_equal(back[key], tensors[key])) for key in tensors):
        raise UserError(
            f"{file.name}, read back, does not hold the tensors that were written: the disk may be full or failing"
        )
    return len(tensors)


def _architecture(config: dict[str, Any], heads: int, of_keys: int, name: str) -> dict[str, Any]:
    head = int(config.get("head_dim") or config["hidden_size"] // heads)
    numbers = {
        "context_length": config.get("max_position_embeddings", 2048),
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "vocab_size": config["vocab_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": of_keys,
        "attention.key_length": head,
        "attention.value_length": head,
        "rope.dimension_count": head,
    }
    found: dict[str, Any] = {f"llama.{key}": mx.array(int(value), mx.uint32) for key, value in numbers.items()}
    found["llama.attention.layer_norm_rms_epsilon"] = mx.array(float(config.get("rms_norm_eps", 1e-6)), mx.float32)
    found["llama.rope.freq_base"] = mx.array(float(config.get("rope_theta") or 10000.0), mx.float32)
    scaling = config.get("rope_scaling")
    if isinstance(scaling, dict) and scaling.get("factor"):
        found["llama.rope.scaling.type"] = "linear"
        found["llama.rope.scaling.factor"] = mx.array(float(scaling["factor"]), mx.float32)
    return found | {
        "general.architecture": "llama",
        "general.name": one_line(name, 80),
        "general.file_type": mx.array(_MOSTLY_F16, mx.uint32),
        "general.alignment": mx.array(32, mx.uint32),
    }


def _tokenizer(loaded: LanguageModel, rows: int) -> dict[str, Any]:
    """The vocabulary as a byte-level BPE; rows of the embedding without a token are marked as unused."""
    read = json.loads((loaded.path / "tokenizer.json").read_text("utf-8"))
    texts: dict[int, tuple[str, TokenType]] = {
        int(number): (text, TokenType.NORMAL) for text, number in read["model"]["vocab"].items()
    }
    for token in read.get("added_tokens") or []:
        kind = TokenType.CONTROL if token.get("special") else TokenType.USER_DEFINED
        texts[int(token["id"])] = (str(token["content"]), kind)
    if max(texts) >= rows:
        raise UserError(f"--gguf: the tokenizer has token {max(texts)}, the model {rows} rows: its folder is not whole")
    every = [texts.get(number, (f"[PAD{number}]", TokenType.UNUSED)) for number in range(rows)]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in read["model"]["merges"]]
    found: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre_tokenizer(loaded.path),
        "tokenizer.ggml.tokens": [text for text, _ in every],
        "tokenizer.ggml.token_type": mx.array([int(kind) for _, kind in every], mx.int32),
        "tokenizer.ggml.merges": merges,
    }
    tokenizer = loaded.tokenizer
    for key, number in (
        ("bos", tokenizer.bos_token_id),
        ("eos", tokenizer.eos_token_id),
        ("unknown", tokenizer.unk_token_id),
        ("padding", tokenizer.pad_token_id),
    ):
        if number is not None:
            found[f"tokenizer.ggml.{key}_token_id"] = mx.array(int(number), mx.uint32)
    if isinstance(tokenizer.chat_template, str):
        found["tokenizer.chat_template"] = tokenizer.chat_template
    return found
