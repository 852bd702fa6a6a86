"""The size of a model from its headers is that of the model in memory, for every architecture and quantized too."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from core.config.models import Adapter
from core.errors import UserError
from core.model_folder import ModelShape, find_folder, read_config, read_shape
from core.models.adapters import adapter_weights, add_adapters
from core.workspace import Workspace
from tests.core.models.architectures import _COMMON, _MORE, build

WITH_HEADS = [name for name in _MORE if name != "mamba2"]


def written(folder: Path, name: str, model: nn.Module, **changes: Any) -> Path:
    """A model folder, without a tokenizer."""
    folder.mkdir()
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    config = {**_COMMON, **_MORE[name], "model_type": name, **changes}
    (folder / "config.json").write_text(json.dumps(config, default=list))
    return folder


def in_memory(model: nn.Module) -> int:
    return sum(value.nbytes for _, value in tree_flatten(model.parameters()))


@pytest.mark.parametrize("name", _MORE)
def test_weights_are_as_large_as_in_memory(tmp_path: Path, name: str) -> None:
    model = build(name)
    shape = read_shape(written(tmp_path / "m", name, model))
    assert shape.weights(4) == in_memory(model)
    assert shape.weights(2) == in_memory(model) // 2
    assert shape.parameters == sum(value.size for _, value in tree_flatten(model.parameters()))
    assert (shape.blocks, shape.hidden, shape.vocabulary) == (2, 32, 64)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_quantized_layers_stay_as_they_are(tmp_path: Path, bits: int) -> None:
    model = build("llama", hidden_size=64, intermediate_size=128)
    plain = sum(value.size for _, value in tree_flatten(model.parameters()))
    nn.quantize(model, group_size=32, bits=bits)
    settings = {"quantization": {"group_size": 32, "bits": bits}, "hidden_size": 64, "intermediate_size": 128}
    shape = read_shape(written(tmp_path / "m", "llama", model, **settings))
    assert shape.quantized
    assert shape.weights(4) == in_memory(model)
    norms = sum(value.size for name, value in tree_flatten(model.parameters()) if "norm" in name)
    assert shape.weights(2) == in_memory(model) - 2 * norms
    assert shape.parameters == plain


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("name", WITH_HEADS)
def test_the_layers_for_adapters_are_those_that_mlx_lm_takes(tmp_path: Path, name: str, quantized: bool) -> None:
    changes = {"hidden_size": 64, "intermediate_size": 128}
    model = build(name, **changes)
    if quantized:
        nn.quantize(model, group_size=8 * 4, bits=4, class_predicate=_wide)
        changes |= {"quantization": {"group_size": 32, "bits": 4}}  # type: ignore[dict-item]
    shape = read_shape(written(tmp_path / "m", name, model, **changes))
    for blocks in (1, 2):
        fresh = build(name, hidden_size=64, intermediate_size=128)
        add_adapters(fresh, Adapter(rank=3, num_layers=blocks))
        sizes = sum(value.size for value in adapter_weights(fresh).values())
        expected = [linear for linear in shape.linears if linear.block >= 2 - blocks]
        assert sum(3 * linear.experts * (linear.inputs + linear.outputs) for linear in expected) == sizes


def _wide(path: str, module: nn.Module) -> bool:
    return hasattr(module, "to_quantized") and module.weight.shape[-1] % 32 == 0


def test_a_tied_head_is_counted_once(tmp_path: Path) -> None:
    model = build("llama", tie_word_embeddings=False)
    folder = written(tmp_path / "m", "llama", model, tie_word_embeddings=True)
    assert read_shape(folder).weights(4) == in_memory(build("llama", tie_word_embeddings=True))


def test_experts_count_as_far_as_a_token_sees_them(tmp_path: Path) -> None:
    assert read_shape(written(tmp_path / "a", "mixtral", build("mixtral"))).inner == 2 * 48
    assert read_shape(written(tmp_path / "b", "qwen3_moe", build("qwen3_moe"))).inner == 2 * 24


def test_an_adapter_folder_is_the_model_it_stands_on(tmp_path: Path) -> None:
    base = written(tmp_path / "m", "llama", build("llama"))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps({"model": str(base)}))
    assert read_shape(tmp_path / "a") == read_shape(base)
    (tmp_path / "a" / "adapter_config.json").write_text("[]")
    with pytest.raises(UserError, match="names no model that the adapter stands on"):
        read_shape(tmp_path / "a")


def test_the_language_model_of_a_larger_one(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", "llama", build("llama"))
    text = json.loads((folder / "config.json").read_text())
    text.pop("model_type")
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    shape = read_shape(folder)
    assert (shape.model_type, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim) == ("gemma3", 32, 4, 2, 8)


def test_a_folder_that_changed_is_read_again(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", "llama", build("llama"))
    before: ModelShape = read_shape(folder)
    mx.save_safetensors(
        str(folder / "model.safetensors"), dict(tree_flatten(build("llama", vocab_size=128).parameters()))
    )
    assert read_shape(folder).weights(4) > before.weights(4)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        struct.pack("<Q", 2**60),
        struct.pack("<Q", 4) + b"nope",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 8) + b'{"a": 1}',
        struct.pack("<Q", 26) + b'{"a":{"dtype":"F32","x":1}}'[:26],
        struct.pack("<Q", 20000) + b"[" * 20000,
    ],
)
def test_what_is_no_safetensors_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    folder = written(tmp_path / "m", "llama", build("llama"))
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors is not a safetensors file") as caught:
        read_shape(folder)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(UserError, match=r"it has no config\.json"):
        read_shape(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match=r"no model\*\.safetensors"):
        read_shape(tmp_path / "m")
    mx.save_safetensors(str(tmp_path / "m" / "model.safetensors"), {"a": mx.zeros((1,))})
    with pytest.raises(UserError, match="names no hidden_size"):
        read_shape(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text("{nope")
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        read_config(tmp_path / "m")


def test_a_model_is_found_where_it_lies_and_never_fetched(tmp_path: Path) -> None:
    (tmp_path / "models" / "base").mkdir(parents=True)
    workspace = Workspace(tmp_path)
    assert find_folder(workspace, "models/base") == tmp_path / "models" / "base"
    assert find_folder(workspace, "models/other") is None
    assert find_folder(workspace, "one/two/three") is None
