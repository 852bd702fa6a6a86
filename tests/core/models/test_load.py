"""What a model folder may lack, and the one line that says so."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.errors import UserError
from core.models.load import cast, load, resolve
from core.workspace import Workspace
from tests.core.models.folders import IDS, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "base")


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(UserError) as refused:
        load(folder, **options)
    text = str(refused.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


def test_loads_frozen_nothing_and_in_evaluation(folder: Path) -> None:
    loaded = load(folder)
    assert not loaded.model.training
    assert loaded.path == folder
    assert loaded.config["model_type"] == "llama"
    assert loaded.tokenizer.encode("red")
    assert {str(v.dtype) for _, v in tree_flatten(loaded.model.parameters())} == {"mlx.core.float32"}


def test_no_errors_are_foretold_of_texts_that_are_cut_later(folder: Path) -> None:
    tokenizer = load(folder).tokenizer
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    speaker = logging.getLogger("transformers.tokenization_utils_base")
    speaker.addHandler(handler)
    try:
        tokenizer._tokenizer.model_max_length = 4
        assert len(tokenizer.encode("red green blue " * 8)) > 4
    finally:
        speaker.removeHandler(handler)
    assert said == []


def test_a_type_is_given_to_floating_weights(folder: Path) -> None:
    model = load(folder, dtype=mx.bfloat16).model
    assert {str(v.dtype) for _, v in tree_flatten(model.parameters())} == {"mlx.core.bfloat16"}


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
@pytest.mark.parametrize("mode", ["affine", "mxfp4", "nvfp4"])
def test_quantized_weights_stay_so_and_compute_in_the_type_asked_for(
    tmp_path: Path, mode: str, dtype: mx.Dtype
) -> None:
    model = load(write_folder(tmp_path / "base", hidden_size=64, intermediate_size=128)).model
    nn.quantize(model, mode=mode, **({"group_size": 32, "bits": 4} if mode == "affine" else {}))
    before = {name: value.dtype for name, value in tree_flatten(model.parameters())}
    assert mx.uint32 in before.values()
    cast(model, dtype)
    for name, value in tree_flatten(model.parameters()):
        assert value.dtype == (dtype if before[name] == mx.float32 else before[name]), name
    # Embeddings of 4-bit floats speak bfloat16, which with float16 makes float32.
    assert model(IDS).dtype == (mx.float32 if mode != "affine" and dtype == mx.float16 else dtype)


def test_weights_that_a_model_wants_as_they_are() -> None:
    class Model(nn.Module):
        cast_predicate = staticmethod(lambda name: "bias" not in name)

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.ids = mx.arange(3)

    model = Model()
    cast(model, mx.bfloat16)
    assert (model.linear.weight.dtype, model.linear.bias.dtype, model.ids.dtype) == (mx.bfloat16, mx.float32, mx.int32)


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "has no config.json" in refusal(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "has no config.json" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "{}", "\x00", '{"hidden_size": 3}'])
def test_broken_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)


def test_config_that_is_no_utf8(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe{}")
    assert "config.json cannot be read" in refusal(folder)


def test_no_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "no model*.safetensors: other formats are not read" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"not a tensor file at all", b"\xff" * 64])
def test_broken_safetensors(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert "cannot be loaded as a language model" in refusal(folder)


def test_truncated_safetensors(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "cannot be loaded as a language model" in refusal(folder)


def test_a_weight_is_missing(folder: Path) -> None:
    weights = mx.load(str(folder / "model.safetensors"))
    weights.pop("model.norm.weight")
    mx.eval(weights)
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    assert "model.norm.weight" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model_type": "no_such_model"}, "no_such_model"),
        ({"model_type": 7}, ""),
        ({"hidden_size": "many"}, ""),
        ({"hidden_size": 48}, ""),
        ({"num_attention_heads": 0}, ""),
        ({"rope_scaling": {"type": "no such"}}, ""),
        ({"quantization": "yes"}, ""),
    ],
)
def test_a_config_that_fits_no_model(folder: Path, changes: dict[str, Any], word: str) -> None:
    edit(folder, **changes)
    text = refusal(folder)
    assert "cannot be loaded as a language model" in text
    assert word in text


def test_a_key_of_the_architecture_is_missing(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.pop("intermediate_size")
    (folder / "config.json").write_text(json.dumps(config))
    assert "intermediate_size" in refusal(folder)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"model": {"type": "BPE"}}', "[]"])
def test_broken_tokenizer(folder: Path, content: str | None) -> None:
    file = folder / "tokenizer.json"
    file.unlink() if content is None else file.write_text(content)
    assert "cannot be loaded as a language model" in refusal(folder)


@pytest.mark.parametrize("key", ["model_file", "auto_map"])
def test_code_of_its_own_runs_only_when_asked(folder: Path, key: str) -> None:
    marker = folder / "ran"
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    edit(folder, **{key: "evil.py" if key == "model_file" else {"AutoConfig": "evil.Config"}})
    text = refusal(folder)
    assert "model.trust_remote_code: true only if you trust who made it" in text
    assert not marker.exists()


def test_code_in_the_tokenizer_s_folder_does_not_run(folder: Path) -> None:
    marker = folder / "ran"
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    file.write_text(
        json.dumps(settings | {"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}, "tokenizer_class": "T"})
    )
    with pytest.raises(UserError):
        load(folder)
    assert not marker.exists()


def test_pickles_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.npz")
    assert "no model*.safetensors" in refusal(folder)


def adapter_folder(tmp_path: Path, base: Any, **changes: Any) -> Path:
    target = tmp_path / "adapter"
    target.mkdir()
    config = {
        "fine_tune_type": "lora", "model": base, "num_layers": 1,
        "lora_parameters": {"rank": 2, "scale": 2.0, "dropout": 0.0}, **changes,
    }  # fmt: skip
    (target / "adapter_config.json").write_text(json.dumps(config))
    a, b = mx.ones((32, 2)), mx.ones((2, 32))
    weights = {"model.layers.1.self_attn.q_proj.lora_a": a, "model.layers.1.self_attn.q_proj.lora_b": b}
    mx.save_safetensors(str(target / "adapters.safetensors"), weights)
    return target


def test_an_adapter_folder_is_its_model_with_the_adapter_in_it(folder: Path, tmp_path: Path) -> None:
    adapted = load(adapter_folder(tmp_path, str(folder))).model
    assert not np.allclose(np.array(adapted(IDS)), np.array(load(folder).model(IDS)), atol=1e-3)


@pytest.mark.parametrize("base", [None, "", "/nowhere/at/all", 7])
def test_an_adapter_without_its_model(tmp_path: Path, base: Any) -> None:
    assert "edit 'model' in it" in refusal(adapter_folder(tmp_path, base))


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_broken_adapter_config(tmp_path: Path, text: str) -> None:
    target = adapter_folder(tmp_path, "x")
    (target / "adapter_config.json").write_text(text)
    assert "adapter_config.json cannot be read" in refusal(target)


@pytest.mark.parametrize(
    "changes",
    [{"num_layers": None}, {"lora_parameters": {"rank": 5, "scale": 1.0, "dropout": 0.0}}, {"lora_parameters": {}}],
)
def test_an_adapter_that_does_not_fit(folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    assert "does not fit the model" in refusal(adapter_folder(tmp_path, str(folder), **changes))


def test_an_adapter_without_weights(folder: Path, tmp_path: Path) -> None:
    target = adapter_folder(tmp_path, str(folder))
    (target / "adapters.safetensors").unlink()
    assert "does not fit the model" in refusal(target)


def test_a_folder_in_the_workspace(workspace: Workspace) -> None:
    (workspace.root / "models" / "here").mkdir()
    assert resolve(workspace, "models/here") == workspace.root / "models" / "here"
    assert resolve(workspace, str(workspace.root / "models")) == workspace.root / "models"


@pytest.mark.parametrize("name", ["models/none", "checkpoints/sft", "outputs/x", "nowhere", "/nowhere/x", "a/b/c", ""])
def test_a_missing_folder_is_not_looked_for_on_the_hub(
    workspace: Workspace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    if name == "":
        # The workspace itself is a folder; that it is no model is said when it is loaded.
        assert resolve(workspace, name) == workspace.root
        return
    with pytest.raises(UserError, match="train or copy it there, or name another one"):
        resolve(workspace, name)


def test_the_hub_without_a_network(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(workspace.root / "cache"))
    started = time.monotonic()
    with pytest.raises(UserError, match="check the name and the network, or copy the model folder") as refused:
        resolve(workspace, "someone/some-model")
    assert time.monotonic() - started < 5
    assert "\n" not in str(refused.value)


def test_from_the_hub_come_no_code_and_no_pickles(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import fnmatch

    import huggingface_hub

    asked: dict[str, Any] = {}

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, patterns=allow_patterns)
        return str(workspace.root)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve(workspace, "someone/some-model") == workspace.root
    assert asked["name"] == "someone/some-model"

    def wanted(file: str) -> bool:
        return any(fnmatch.fnmatch(file, pattern) for pattern in asked["patterns"])

    assert all(map(wanted, ["config.json", "model-00001-of-00002.safetensors", "tokenizer.model", "merges.txt"]))
    assert not any(map(wanted, ["modeling_x.py", "pytorch_model.bin", "model.pkl", "weights.npz", "x.pt"]))
