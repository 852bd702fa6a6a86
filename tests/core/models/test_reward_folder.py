"""Reward models as folders: what is written is what is read, transformers' folders open, and broken ones say why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.config.models import Adapter
from core.errors import UserError
from core.models.adapters import make_trainable
from core.models.load import load
from core.models.reward_folder import (
    HEAD,
    SETTINGS,
    LoadedReward,
    RewardSettings,
    is_reward,
    load_reward,
    save_reward,
    start_reward,
)
from core.models.reward_head import RewardModel, new_score, padding, width
from tests.core.models.architectures import build
from tests.core.models.folders import IDS, write_folder

LORA = Adapter(rank=2, num_layers=-1)
DORA = Adapter(type="dora", rank=2, num_layers=-1)
FULL = Adapter(type="full")
SETTINGS_HERE = RewardSettings(format=1, apply_chat_template=True, max_prompt_length=9)
# The last token of both rows.
LAST = mx.array([8, 17])


def rewards(loaded: LoadedReward) -> list[float]:
    return loaded.model(IDS, LAST).tolist()


def trained(base: Path, adapter: Adapter) -> LoadedReward:
    """A reward model on `base` that was changed everywhere where training changes it."""
    loaded = start_reward(base, SETTINGS_HERE, seed=3)
    make_trainable(loaded.model.language_model, adapter)
    keys = iter(mx.random.split(mx.random.key(1), 200))
    moved = [
        (name, value + 0.1 * mx.random.normal(value.shape, key=next(keys)))
        for name, value in tree_flatten(loaded.model.trainable_parameters())
    ]
    loaded.model.load_weights(moved, strict=False)
    loaded.model.eval()
    return loaded


def written(tmp_path: Path, adapter: Adapter, **changes: Any) -> tuple[Path, LoadedReward]:
    loaded = trained(write_folder(tmp_path / "base", **changes), adapter)
    folder = tmp_path / "reward"
    folder.mkdir()
    save_reward(loaded, adapter, folder)
    return folder, loaded


@pytest.mark.parametrize("adapter", [LORA, DORA, FULL])
@pytest.mark.parametrize("tied", [True, False])
def test_what_was_written_is_read(tmp_path: Path, adapter: Adapter, tied: bool) -> None:
    folder, before = written(tmp_path, adapter, tie_word_embeddings=tied)
    after = load_reward(folder)
    assert np.allclose(rewards(after), rewards(before), atol=1e-6)
    assert not np.allclose(rewards(after), rewards(start_reward(tmp_path / "base", SETTINGS_HERE, seed=3)), atol=1e-3)
    assert not after.model.training
    assert after.vocabulary == before.vocabulary == 300
    assert after.tokenizer.encode("say red") == before.tokenizer.encode("say red")
    assert (after.settings.apply_chat_template, after.settings.max_prompt_length) == (True, 9)
    assert after.model.pad_token_id == before.model.pad_token_id == 1
    assert after.model.score.weight.dtype == mx.float32


def test_files_of_an_adapter(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, LORA)
    assert {path.name for path in folder.iterdir()} == {
        "adapters.safetensors", "adapter_config.json", HEAD, SETTINGS,
    }  # fmt: skip
    settings = json.loads((folder / SETTINGS).read_text())
    assert settings == {
        "format": 1, "base_model": str(tmp_path / "base"), "pad_token_id": 1, "apply_chat_template": True,
        "max_prompt_length": 9,
    }  # fmt: skip
    assert {name: value.shape for name, value in mx.load(str(folder / HEAD)).items()} == {"score.weight": (1, 32)}
    assert all("lora" in name for name in mx.load(str(folder / "adapters.safetensors")))


def test_a_whole_folder_is_transformers_own(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, FULL, tie_word_embeddings=False, torch_dtype="bfloat16")
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert (config["num_labels"], config["id2label"], config["label2id"]) == (1, {"0": "LABEL_0"}, {"LABEL_0": 0})
    assert (config["pad_token_id"], config["dtype"]) == (1, "float32")
    assert "torch_dtype" not in config
    names = set(mx.load(str(folder / "model.safetensors")))
    assert "score.weight" in names
    assert all(name.startswith("model.") for name in names - {"score.weight"})
    assert json.loads((folder / SETTINGS).read_text())["base_model"] is None


def test_a_folder_that_transformers_wrote(tmp_path: Path) -> None:
    folder, before = written(tmp_path, FULL)
    (folder / SETTINGS).unlink()
    after = load_reward(folder)
    assert np.allclose(rewards(after), rewards(before), atol=1e-6)
    assert after.settings == RewardSettings(format=1, pad_token_id=1)


def test_weights_in_several_files_and_an_output_head_beside(tmp_path: Path) -> None:
    folder, before = written(tmp_path, FULL, tie_word_embeddings=False)
    weights = mx.load(str(folder / "model.safetensors"))
    mx.eval(weights)
    (folder / "model.safetensors").unlink()
    score = {"score.weight": weights.pop("score.weight"), "lm_head.weight": mx.ones((300, 32))}
    mx.save_safetensors(str(folder / "model-00001-of-00002.safetensors"), weights)
    mx.save_safetensors(str(folder / "model-00002-of-00002.safetensors"), score)
    assert np.allclose(rewards(load_reward(folder)), rewards(before), atol=1e-6)


def test_an_adapter_on_quantized_weights(tmp_path: Path) -> None:
    base = write_folder(tmp_path / "base", hidden_size=64, intermediate_size=128)
    model = load(base).model
    nn.quantize(model, group_size=32, bits=4)
    mx.save_safetensors(str(base / "model.safetensors"), dict(tree_flatten(model.parameters())))
    edit(base / "config.json", quantization={"group_size": 32, "bits": 4})
    before = trained(base, LORA)
    folder = tmp_path / "reward"
    folder.mkdir()
    save_reward(before, LORA, folder)
    after = load_reward(folder)
    assert np.allclose(rewards(after), rewards(before), atol=1e-5)
    assert any(hasattr(module, "bits") for module in after.model.modules())


def test_half_precision_leaves_the_score_alone(tmp_path: Path) -> None:
    folder, before = written(tmp_path, LORA)
    after = load_reward(folder, dtype=mx.bfloat16)
    assert after.model.language_model.model.norm.weight.dtype == mx.bfloat16
    assert after.model.score.weight.dtype == mx.float32
    assert np.allclose(rewards(after), rewards(before), atol=0.3)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "mistral", "cohere"])
def test_a_head_on_every_architecture(name: str) -> None:
    language_model = build(name)
    hidden = language_model.model(IDS % 60)
    weight = new_score({}, width(language_model), 0)
    model = RewardModel(language_model, weight, None)
    expected = (hidden[[0, 1], [8, 3]] * weight).sum(-1)
    assert np.allclose(np.array(model(IDS % 60, mx.array([8, 12]))), np.array(expected), atol=1e-5)
    assert not any("lm_head" in name for name, _ in tree_flatten(model.parameters()))


def test_a_fresh_score_is_of_the_seed_and_of_the_configured_spread() -> None:
    weight = new_score({"initializer_range": 0.5}, 4096, 7)
    assert weight.shape == (1, 4096)
    assert np.array(weight).std() == pytest.approx(0.5, rel=0.05)
    mx.random.seed(99)  # whatever was drawn before
    assert mx.array_equal(weight, new_score({"initializer_range": 0.5}, 4096, 7))
    assert not mx.array_equal(weight, new_score({"initializer_range": 0.5}, 4096, 8))
    for config in ({}, {"initializer_range": "wide"}, {"initializer_range": -1.0}, {"initializer_range": 1e9}):
        assert np.array(new_score(config, 4096, 7)).std() == pytest.approx(0.02, rel=0.05)


def test_the_last_token_is_the_last_that_is_no_padding() -> None:
    model = RewardModel(build("llama"), mx.zeros((1, 32)), 3)
    assert [model.last(ids) for ids in ([5, 6, 7], [5, 6, 3], [5, 3, 6, 3, 3], [3, 3], [5])] == [2, 1, 2, 0, 0]
    model.pad_token_id = None
    assert [model.last(ids) for ids in ([5, 6, 3], [3])] == [2, 0]


def test_padding_is_the_tokenizer_s_else_eos(tmp_path: Path) -> None:
    tokenizer = load(write_folder(tmp_path / "base")).tokenizer
    assert padding(tokenizer) == 1
    tokenizer._tokenizer.pad_token = None
    assert padding(tokenizer) == tokenizer.eos_token_id == 0


def test_a_whole_reward_model_goes_on_from_its_own_score(tmp_path: Path) -> None:
    folder, before = written(tmp_path, FULL)
    again = start_reward(folder, RewardSettings(format=1), seed=0)
    assert np.allclose(rewards(again), rewards(before), atol=1e-6)
    assert again.settings == RewardSettings(format=1, pad_token_id=1)
    # An adapter on it names it.
    make_trainable(again.model.language_model, LORA)
    target = tmp_path / "further"
    target.mkdir()
    save_reward(again, LORA, target)
    assert np.allclose(rewards(load_reward(target)), rewards(before), atol=1e-6)


def test_an_adapter_on_an_adapter_folder(tmp_path: Path) -> None:
    """An SFT adapter that was not fused: the reward model stands on both."""
    base = write_folder(tmp_path / "base")
    sft = tmp_path / "sft"
    sft.mkdir()
    (sft / "adapter_config.json").write_text(
        json.dumps(
            {"fine_tune_type": "lora", "model": str(base), "num_layers": 1,
             "lora_parameters": {"rank": 2, "scale": 2.0, "dropout": 0.0}}
        )
    )  # fmt: skip
    name = "model.layers.1.self_attn.q_proj.lora_"
    weights = {f"{name}a": mx.ones((32, 2)), f"{name}b": mx.ones((2, 32))}
    mx.save_safetensors(str(sft / "adapters.safetensors"), weights)
    before = trained(sft, LORA)
    target = tmp_path / "reward"
    target.mkdir()
    save_reward(before, LORA, target)
    assert json.loads((target / SETTINGS).read_text())["base_model"] == str(sft)
    assert np.allclose(rewards(load_reward(target)), rewards(before), atol=1e-5)


# Folders that are none


def refusal(call: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(UserError) as refused:
        call(*args, **options)
    text = str(refused.value)
    assert "\n" not in text
    return text


def edit(file: Path, **changes: Any) -> None:
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


def test_a_language_model_is_no_reward_model(tmp_path: Path) -> None:
    base = write_folder(tmp_path / "base")
    assert not is_reward(base)
    assert "is no reward model (no reward_config.json" in refusal(load_reward, base)
    assert "is no reward model" in refusal(load_reward, tmp_path / "nowhere")
    # Nor if it says so.
    edit(base / "config.json", architectures=["LlamaForSequenceClassification"])
    assert "has no score.weight: a reward model has score.weight alone" in refusal(load_reward, base)


@pytest.mark.parametrize("adapter", [LORA, FULL])
def test_a_reward_model_is_no_language_model(tmp_path: Path, adapter: Adapter) -> None:
    folder, _ = written(tmp_path, adapter)
    text = refusal(load, folder)
    assert str(folder) in text
    assert "is a reward model" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": [1, 2]}, "shape: unknown key; allowed here: format, base_model"),
        ({"base_modle": "x"}, "unknown key; did you mean base_model?"),
        ({"format": 2}, "format: must be one of 1, not 2"),
        ({"format": ...}, "format: is missing"),
        ({"pad_token_id": -1}, "pad_token_id: must be a whole number ≥ 0"),
        ({"pad_token_id": "many"}, "pad_token_id: must be"),
        ({"apply_chat_template": "yes"}, "apply_chat_template: must be true or false"),
        ({"max_prompt_length": 0}, "max_prompt_length: must be a whole number ≥ 1"),
        ({"base_model": 7}, "base_model: must be text"),
        ({"base_model": "/nowhere/at/all"}, "its model ('/nowhere/at/all') is not a folder here: edit base_model"),
        ({"base_model": "a\x1b[31mb"}, "base_model: must be text"),
        ({"base_model": ...}, "names no base_model, and"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    folder, _ = written(tmp_path, LORA)
    edit(folder / SETTINGS, **changes)
    text = refusal(load_reward, folder)
    assert words in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"x"', b"\x00", b"\xff\xfe{}", pytest.param(b"[" * 100_000, id="deep"), b"{}"]
)
def test_settings_that_are_none(tmp_path: Path, content: bytes) -> None:
    folder, _ = written(tmp_path, LORA)
    (folder / SETTINGS).write_bytes(content)
    assert SETTINGS in refusal(load_reward, folder)


@pytest.mark.parametrize("name", [HEAD, "adapters.safetensors", "adapter_config.json"])
def test_a_file_is_missing(tmp_path: Path, name: str) -> None:
    folder, _ = written(tmp_path, LORA)
    (folder / name).unlink()
    assert f"has no {name}" in refusal(load_reward, folder)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"score.weight": mx.zeros((2, 32))}, "score.weight has shape (2, 32), (1, 32) is wanted"),
        ({"score.weight": mx.zeros((1, 31))}, "score.weight has shape (1, 31), (1, 32) is wanted"),
        ({"score.weight": mx.zeros((32,))}, "score.weight has shape (32,), (1, 32) is wanted"),
        ({"score.weight": mx.zeros((1, 32), mx.int32)}, "score.weight has"),
        ({"score.weight": mx.full((1, 32), float("nan"))}, "values that are no numbers"),
        ({"v_head.weight": mx.zeros((1, 32))}, "holds v_head.weight, not score.weight"),
        ({"score.weight": mx.zeros((1, 32)), "score.bias": mx.zeros(1)}, "holds score.bias, score.weight"),
    ],
)
def test_a_head_that_does_not_fit(tmp_path: Path, weights: dict[str, mx.array], words: str) -> None:
    folder, _ = written(tmp_path, LORA)
    mx.save_safetensors(str(folder / HEAD), weights)
    assert words in refusal(load_reward, folder)


@pytest.mark.parametrize("content", [b"", b"not a tensor file at all", b"\xff" * 64])
def test_a_head_that_is_no_tensor_file(tmp_path: Path, content: bytes) -> None:
    folder, _ = written(tmp_path, LORA)
    (folder / HEAD).write_bytes(content)
    assert f"{HEAD} cannot be read" in refusal(load_reward, folder)


def test_a_head_that_is_another_file(tmp_path: Path) -> None:
    """Pickles and NumPy files are not read, whatever they are called."""
    folder, _ = written(tmp_path, LORA)
    np.save(folder / "x.npy", np.zeros((1, 32), np.float32))
    (folder / "x.npy").rename(folder / HEAD)
    assert HEAD in refusal(load_reward, folder)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"score.weight": mx.zeros((5, 32))}, "score.weight has shape (5, 32), (1, 32) is wanted"),
        ({"score.weight": mx.zeros((1, 32)), "score.bias": mx.zeros(1)}, "has score.bias, score.weight: a reward"),
        ({"score.0.weight": mx.zeros((1, 32)), "score.2.weight": mx.zeros((1, 1))}, "has score.0.weight, score.2"),
        ({"v_head.weight": mx.zeros((1, 32))}, "v_head.weight"),
    ],
)
def test_a_whole_model_with_another_head(tmp_path: Path, weights: dict[str, mx.array], words: str) -> None:
    folder, _ = written(tmp_path, FULL)
    file = folder / "model.safetensors"
    kept = mx.load(str(file))
    kept.pop("score.weight")
    mx.eval(kept)
    mx.save_safetensors(str(file), kept | weights)
    assert words in refusal(load_reward, folder)


def test_a_whole_model_lacks_a_weight(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, FULL)
    weights = mx.load(str(folder / "model.safetensors"))
    weights.pop("model.norm.weight")
    mx.eval(weights)
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    assert "model.norm.weight" in refusal(load_reward, folder)


def test_padding_that_contradicts_itself(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, FULL)
    edit(folder / "config.json", pad_token_id=5)
    assert "pad_token_id is 1 in reward_config.json and 5 in config.json" in refusal(load_reward, folder)


def test_an_adapter_that_does_not_fit(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, LORA)
    other = write_folder(tmp_path / "other", num_hidden_layers=1)
    edit(folder / SETTINGS, base_model=str(other))
    assert "does not fit the model" in refusal(load_reward, folder)
    edit(folder / SETTINGS, base_model=str(tmp_path / "base"))
    weights = mx.load(str(folder / "adapters.safetensors"))
    name = sorted(weights)[0]
    weights.pop(name)
    mx.eval(weights)
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)
    assert f"{name} is not in adapters.safetensors" in refusal(load_reward, folder)


def test_reward_models_that_stand_on_each_other(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, LORA)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    edit(folder / SETTINGS, base_model=str(copy))
    edit(copy / SETTINGS, base_model=str(folder))
    assert "is a reward model made of an adapter, which no other can stand on" in refusal(load_reward, folder)
    assert "which no other can stand on" in refusal(start_reward, folder, SETTINGS_HERE, seed=0)


@pytest.mark.parametrize("key", ["model_file", "auto_map"])
def test_code_of_its_own_runs_only_when_asked(tmp_path: Path, key: str) -> None:
    folder, _ = written(tmp_path, FULL)
    marker = folder / "ran"
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    edit(folder / "config.json", **{key: "evil.py" if key == "model_file" else {"AutoConfig": "evil.Config"}})
    assert "wants to run code of its own" in refusal(load_reward, folder)
    assert not marker.exists()
