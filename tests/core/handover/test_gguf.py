"""A GGUF file read back: order of rows, numbers of the architecture, and the vocabulary as llama.cpp takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.errors import UserError
from core.handover import forms, gguf
from core.models.load import LanguageModel, load
from tests.core.training import tiny


@pytest.fixture
def loaded(tmp_path: Path) -> LanguageModel:
    space, _ = tiny.workspace(tmp_path / "w")
    return load(space.path("models/tiny"))


def read(loaded: LanguageModel, file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    assert gguf.write(loaded, "dpo-001", file) == 20
    tensors, metadata = mx.load(str(file), format="gguf", return_metadata=True)
    return {name: np.array(value) for name, value in tensors.items()}, metadata


def test_tensors(loaded: LanguageModel, tmp_path: Path) -> None:
    tensors, _ = read(loaded, tmp_path / "m.gguf")
    own = {name: np.array(value) for name, value in tree_flatten(loaded.model.parameters())}
    assert tensors["token_embd.weight"].dtype == np.float16
    assert tensors["blk.1.ffn_norm.weight"].dtype == np.float32
    np.testing.assert_array_equal(
        tensors["blk.1.ffn_down.weight"], own["model.layers.1.mlp.down_proj.weight"].astype("f2")
    )
    # llama.cpp rotates neighbours where transformers rotates halves: row 2i of a head is its i-th, row 2i + 1 the one
    # half a head further on.
    for ours, theirs, heads in (("q_proj", "attn_q", 4), ("k_proj", "attn_k", 2)):
        weight = own[f"model.layers.0.self_attn.{ours}.weight"].astype("f2").reshape(heads, 32, 128)
        found = tensors[f"blk.0.{theirs}.weight"].reshape(heads, 32, 128)
        for row in range(16):
            np.testing.assert_array_equal(found[:, 2 * row], weight[:, row])
            np.testing.assert_array_equal(found[:, 2 * row + 1], weight[:, 16 + row])


def test_metadata(loaded: LanguageModel, tmp_path: Path) -> None:
    # As transformers 5 writes it, a base that is not the default.
    config = {k: v for k, v in loaded.config.items() if k != "rope_theta"} | {"rope_parameters": {"rope_theta": 5e5}}
    _, metadata = read(LanguageModel(loaded.model, loaded.tokenizer, config, loaded.path), tmp_path / "m.gguf")
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.rope.freq_base"].item() == 5e5
    assert metadata["llama.rope.dimension_count"].item() == metadata["llama.attention.key_length"].item() == 32
    assert metadata["llama.attention.head_count_kv"].item() == 2
    tokenizer = json.loads((loaded.path / "tokenizer.json").read_text())
    tokens = metadata["tokenizer.ggml.tokens"]
    names = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    names |= {number: text for text, number in tokenizer["model"]["vocab"].items()}
    assert tokens[: len(names)] == [names[number] for number in range(len(names))]
    # The tiny tokenizer has fewer tokens than the model has rows: the rest is marked as unused.
    assert len(tokens) == 1024 > len(names)
    kinds = np.array(metadata["tokenizer.ggml.token_type"])
    assert set(kinds[: len(special_of(tokenizer))]) == {3}
    assert set(kinds[len(names) :]) == {5}
    assert (metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    merges = tokenizer["model"]["merges"]
    assert metadata["tokenizer.ggml.merges"] == [m if isinstance(m, str) else " ".join(m) for m in merges]
    assert metadata["tokenizer.ggml.eos_token_id"].item() == 0
    assert "<|assistant|>" in metadata["tokenizer.chat_template"]


def special_of(tokenizer: dict[str, Any]) -> list[str]:
    return [token["content"] for token in tokenizer["added_tokens"] if token["special"]]


def test_a_weight_beyond_float16(loaded: LanguageModel, tmp_path: Path) -> None:
    loaded.model.layers[0].mlp.up_proj.weight *= 1e7
    with pytest.raises(UserError, match=r"--gguf: model\.layers\.0\.mlp\.up_proj\.weight has values beyond float16"):
        gguf.write(loaded, "x", tmp_path / "m.gguf")


def test_what_llama_cpp_would_read_otherwise(loaded: LanguageModel) -> None:
    config = json.loads((loaded.path / "config.json").read_text())
    tokenizer = json.loads((loaded.path / "tokenizer.json").read_text())

    def why(changes: dict[str, Any] | None = None, pre: Any = None, **model: Any) -> str:
        (loaded.path / "config.json").write_text(json.dumps(config | (changes or {})))
        changed = {**tokenizer, "model": {**tokenizer["model"], **model}}
        changed |= {"pre_tokenizer": pre} if pre is not None else {}
        (loaded.path / "tokenizer.json").write_text(json.dumps(changed))
        return forms.no_gguf(loaded.path)

    assert why() == ""
    assert why({"model_type": "qwen2"}) == "mlx-lm writes GGUF of llama, mistral, not of 'qwen2'"
    assert "scaled by 'llama3'" in why({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}})
    assert why({"rope_scaling": {"type": "linear", "factor": 2.0}}) == ""
    assert "within a window" in why({"sliding_window": 4096})
    assert "biases" in why({"attention_bias": True})
    unknown = "cuts text in a way that is not known"
    assert unknown in why(byte_fallback=True)
    assert unknown in why(pre={"type": "Metaspace", "replacement": "▁"})
    assert unknown in why(pre={"type": "ByteLevel", "add_prefix_space": True, "use_regex": True})
    assert "cannot be read" in why(pre="nonsense")
    digits = {"type": "Digits", "individual_digits": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    assert why(pre={"type": "Sequence", "pretokenizers": [digits, level]}) == ""
    assert forms.pre_tokenizer(loaded.path) == "smollm"
    (loaded.path / "tokenizer.json").unlink()
    assert forms.no_gguf(loaded.path) == "the model's folder has no tokenizer.json"
