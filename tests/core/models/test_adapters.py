"""Adapters: nothing at first, on the layers asked for, and what mlx-lm makes of the files."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx_lm
import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.config.models import Adapter
from core.errors import UserError
from core.models.adapters import (
    adapter_weights,
    adapters_off,
    add_adapters,
    base_names,
    fuse,
    make_trainable,
    save_adapters,
)
from core.models.load import LanguageModel, load
from core.models.save import save
from tests.core.models.architectures import VOCABULARY, build
from tests.core.models.folders import IDS, write_folder


def logits(model: nn.Module) -> np.ndarray:
    return np.array(model(IDS))


def moved(model: nn.Module, adapter: Adapter) -> nn.Module:
    """With an adapter that changes the answers."""
    mx.random.seed(3)
    add_adapters(model, adapter)
    for name, value in adapter_weights(model).items():
        model.load_weights([(name, value + 0.1 * mx.random.normal(value.shape))], strict=False)
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("models") / "base", tie_word_embeddings=False)


def test_a_new_adapter_changes_nothing_and_only_it_is_trained(folder: Path) -> None:
    model = load(folder).model
    base = logits(model)
    add_adapters(model, Adapter(rank=3, num_layers=-1))
    assert np.array_equal(logits(model), base)
    names = adapter_weights(model)
    assert list(names) == sorted(names)
    assert {name.rsplit(".", 1)[1] for name in names} == {"lora_a", "lora_b"}
    # Seven linear layers in each of two blocks.
    assert len(names) == 2 * 7 * 2
    assert {value.shape[1] for name, value in names.items() if name.endswith("lora_a")} == {3}


def test_the_last_blocks(folder: Path) -> None:
    model = load(folder).model
    add_adapters(model, Adapter(num_layers=1))
    assert {name.split(".")[2] for name in adapter_weights(model)} == {"1"}


def test_more_blocks_than_there_are(folder: Path) -> None:
    model = load(folder).model
    add_adapters(model, Adapter(num_layers=16))
    assert {name.split(".")[2] for name in adapter_weights(model)} == {"0", "1"}


def test_keys_choose_layers(folder: Path) -> None:
    model = load(folder).model
    add_adapters(model, Adapter(num_layers=-1, keys=["self_attn.q_proj", "mlp.down_proj"]))
    assert {name.split(".", 3)[3] for name in adapter_weights(model)} == {
        f"{layer}.{matrix}" for layer in ("self_attn.q_proj", "mlp.down_proj") for matrix in ("lora_a", "lora_b")
    }


def test_what_is_trainable(folder: Path) -> None:
    model = load(folder).model
    make_trainable(model, Adapter(type="full"))
    assert adapter_weights(model).keys() == dict(tree_flatten(model.parameters())).keys()
    model = load(folder).model
    make_trainable(model, Adapter(type="lora"))
    assert all("lora_" in name for name in adapter_weights(model))
    model = load(folder).model
    make_trainable(model, Adapter(type="dora", num_layers=1))
    assert {name.rsplit(".", 1)[1] for name in adapter_weights(model)} == {"lora_a", "lora_b", "m"}
    assert {name.split(".")[2] for name in adapter_weights(model)} == {"1"}


def test_quantized_weights_take_an_adapter_only(tmp_path: Path) -> None:
    model = load(write_folder(tmp_path / "base", hidden_size=64, intermediate_size=128)).model
    nn.quantize(model, group_size=32, bits=4)
    with pytest.raises(UserError, match=r"adapter\.type: full cannot train quantized weights: set it to lora"):
        make_trainable(model, Adapter(type="full"))
    make_trainable(model, Adapter(type="lora"))
    assert all("lora_" in name for name in adapter_weights(model))


@pytest.mark.parametrize(
    ("keys", "unknown"),
    [
        (["attention.query"], "attention.query"),
        (["self_attn.k_proj", "self_attn.Q_proj"], "self_attn.Q_proj"),
        (["self_attn"], "self_attn"),  # holds linear layers, is none
        (["input_layernorm"], "input_layernorm"),
    ],
)
def test_unknown_keys_are_named_with_those_there_are(folder: Path, keys: list[str], unknown: str) -> None:
    with pytest.raises(UserError) as refused:
        add_adapters(load(folder).model, Adapter(keys=keys))
    assert str(refused.value) == (
        f"adapter.keys: no layer that can have an adapter is called {unknown}: this model's blocks have mlp.down_proj, "
        "mlp.gate_proj, mlp.up_proj, self_attn.k_proj, self_attn.o_proj, self_attn.q_proj, self_attn.v_proj"
    )


@pytest.mark.parametrize(
    "adapter",
    [
        Adapter(rank=3, alpha=7.0, dropout=0.2, num_layers=-1),
        Adapter(rank=2, scale=3.5, num_layers=1),
        Adapter(rank=2, num_layers=16, keys=["self_attn.v_proj", "mlp.up_proj"]),
        Adapter(rank=2, num_layers=1, keys=["self_attn.v_proj", "lm_head"]),
        Adapter(type="dora", rank=3, alpha=7.0, dropout=0.2, num_layers=-1),
        Adapter(type="dora", rank=2, num_layers=1, keys=["self_attn.v_proj", "lm_head"]),
    ],
)
def test_mlx_lm_loads_what_is_saved(folder: Path, tmp_path: Path, adapter: Adapter) -> None:
    model = moved(load(folder).model, adapter)
    assert not np.allclose(logits(model), logits(load(folder).model), atol=1e-2)
    save_adapters(model, adapter, folder, tmp_path)
    theirs, _ = mlx_lm.load(str(folder), adapter_path=str(tmp_path))
    np.testing.assert_allclose(logits(theirs), logits(model), rtol=1e-4, atol=1e-4)
    # And so do we, fused.
    ours = load(tmp_path).model
    np.testing.assert_allclose(logits(ours), logits(model), rtol=1e-4, atol=1e-4)
    assert not any("lora_a" in module for _, module in ours.named_modules())


@pytest.mark.parametrize("quantized", [False, True])
def test_a_fused_model_answers_as_before(tmp_path: Path, quantized: bool) -> None:
    folder = write_folder(tmp_path / "base", hidden_size=64, intermediate_size=128)
    loaded = load(folder)
    if quantized:
        nn.quantize(loaded.model, group_size=32, bits=8)
        loaded.config["quantization"] = {"group_size": 32, "bits": 8}
    model = moved(loaded.model, Adapter(rank=2, num_layers=-1))
    before = logits(model)
    fuse(model)
    difference = np.linalg.norm(logits(model) - before) / np.linalg.norm(before)
    # Quantized weights are rounded again.
    assert difference < (0.1 if quantized else 1e-5)
    target = tmp_path / "fused"
    target.mkdir()
    save(LanguageModel(model, loaded.tokenizer, loaded.config, loaded.path), target)
    theirs, tokenizer = mlx_lm.load(str(target))
    assert np.array_equal(logits(theirs), logits(model))
    assert tokenizer.encode("say red") == loaded.tokenizer.encode("say red")
    assert tokenizer.chat_template == loaded.tokenizer.chat_template
    assert np.array_equal(logits(load(target).model), logits(model))


def test_fusing_without_adapters_does_nothing() -> None:
    model = build("llama")
    before = dict(tree_flatten(model.parameters()))
    fuse(model)
    assert all(np.array_equal(before[name], value) for name, value in tree_flatten(model.parameters()))


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_configuration_that_mlx_lm_reads(folder: Path, tmp_path: Path, kind: str) -> None:
    adapter = Adapter(type=kind, rank=4, alpha=8.0, dropout=0.1, num_layers=2)
    save_adapters(moved(load(folder).model, adapter), adapter, folder, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text()) == {
        "fine_tune_type": kind,
        "model": str(folder),
        "num_layers": 2,
        "lora_parameters": {"rank": 4, "scale": 2.0, "dropout": 0.1},
    }


# Every kind of layer that an adapter can stand on; the head is the embedding's where none is named.
EVERYWHERE = {
    "lora": ["self_attn.q_proj", "mlp.down_proj", "model.embed_tokens"],
    "dora": ["self_attn.q_proj", "mlp.down_proj", "model.embed_tokens"],
    "lora quantized": ["self_attn.q_proj", "mlp.down_proj", "model.embed_tokens"],
    "dora quantized": ["self_attn.q_proj", "mlp.down_proj"],
    "lora experts": ["self_attn.q_proj", "block_sparse_moe.switch_mlp.up_proj", "block_sparse_moe.gate"],
    "lora experts quantized": ["self_attn.q_proj", "block_sparse_moe.switch_mlp.up_proj", "lm_head"],
    "lora biased": ["self_attn.k_proj", "lm_head"],
    "dora biased": ["self_attn.k_proj", "lm_head"],
}


def answers(model: nn.Module) -> np.ndarray:
    return np.array(model(IDS % VOCABULARY))


def a_model(what: str) -> nn.Module:
    mx.random.seed(2)  # of the biases
    shape = {"hidden_size": 64, "intermediate_size": 128}
    if "experts" in what:
        model = build("mixtral", num_local_experts=4, num_experts_per_tok=2, **shape)
    elif "biased" in what:
        model = build("qwen2", tie_word_embeddings=False, **shape)
    else:
        model = build("llama", tie_word_embeddings=True, **shape)
    if "quantized" in what:
        nn.quantize(model, group_size=32, bits=4)
    return model


def with_adapter(what: str, dropout: float = 0.5) -> nn.Module:
    adapter = Adapter(type=what.split()[0], rank=2, alpha=8.0, dropout=dropout, num_layers=-1, keys=EVERYWHERE[what])
    model = moved(a_model(what), adapter)
    for name, value in adapter_weights(model).items():
        if name.endswith(".m"):
            model.load_weights([(name, value * 1.2)], strict=False)
    return model.train()


@pytest.mark.parametrize("what", list(EVERYWHERE))
def test_switched_off_it_is_the_base_model_to_the_bit(what: str) -> None:
    base = answers(a_model(what))
    model = with_adapter(what)
    state = {name: np.array(value) for name, value in tree_flatten(model)}
    classes = [type(module) for module in model.modules()]
    assert not np.allclose(answers(model), base, atol=1e-2)
    with adapters_off(model):
        assert np.array_equal(answers(model), base)
        assert not model.training
        with adapters_off(model):
            assert np.array_equal(answers(model), base)
        assert np.array_equal(answers(model), base)
        assert not model.training
        # Weights that training saves are found under the same names.
        assert dict(tree_flatten(model.parameters())).keys() <= state.keys()
    assert model.training
    assert not np.allclose(answers(model), base, atol=1e-2)
    assert [type(module) for module in model.modules()] == classes
    after = dict(tree_flatten(model))
    assert after.keys() == state.keys()
    assert all(np.array_equal(np.array(value), state[name]) for name, value in after.items())


def test_switched_on_again_after_an_error() -> None:
    model = with_adapter("dora", dropout=0.0)
    before = answers(model)
    with pytest.raises(RuntimeError), adapters_off(model):
        raise RuntimeError
    assert np.array_equal(answers(model), before)
    assert model.training


def test_an_inner_error_leaves_the_outer_one_off() -> None:
    model = with_adapter("lora", dropout=0.0)
    base = answers(a_model("lora"))
    with adapters_off(model):
        with pytest.raises(RuntimeError), adapters_off(model):
            raise RuntimeError
        assert np.array_equal(answers(model), base)


def test_a_compiled_function_is_traced_anew_inside() -> None:
    # MLX's compiler writes C++ on a CPU; traced without it, the question is the same.
    model = with_adapter("lora", dropout=0.0)
    traced = []

    def forward(ids: mx.array) -> mx.array:
        traced.append(1)
        return model(ids)

    state = [model.state]
    compiled = mx.compile(forward, inputs=state, outputs=state)
    mx.disable_compile()
    try:
        on = answers(model)
        with adapters_off(model):
            off = answers(model)
    finally:
        mx.enable_compile()
    for _ in range(2):
        np.testing.assert_allclose(np.array(compiled(IDS % VOCABULARY)), on, rtol=1e-4, atol=1e-4)
        with adapters_off(model):
            np.testing.assert_allclose(np.array(compiled(IDS % VOCABULARY)), off, rtol=1e-4, atol=1e-4)
    assert len(traced) == 2
    assert not np.allclose(on, off, atol=1e-2)


def test_two_models_are_switched_on_their_own() -> None:
    model, other = with_adapter("lora", dropout=0.0), with_adapter("lora", dropout=0.0)
    before = answers(other)
    with adapters_off(model):
        assert np.array_equal(answers(other), before)


@pytest.mark.parametrize("what", list(EVERYWHERE))
def test_names_of_the_model_s_own_weights(what: str) -> None:
    base = dict(tree_flatten(a_model(what).parameters()))
    model = with_adapter(what)
    names = base_names(model)
    now = dict(tree_flatten(model.parameters()))
    assert names.keys() == base.keys()
    assert all(np.array_equal(np.array(base[name]), np.array(now[names[name]])) for name in base)


def refusal(what: str, **changes: object) -> str:
    with pytest.raises(UserError) as refused:
        add_adapters(a_model(what), Adapter(type="dora", num_layers=-1, **changes))
    return str(refused.value)


def test_layers_that_dora_cannot_stand_on_are_named() -> None:
    rest = "self_attn.k_proj, self_attn.o_proj, self_attn.q_proj, self_attn.v_proj, or type to lora"
    assert refusal("lora experts").startswith(
        "adapter.type: dora cannot stand on block_sparse_moe.switch_mlp.down_proj (a SwitchLinear): "
        "set adapter.keys to some of block_sparse_moe.gate, self_attn.k_proj"
    )
    assert refusal("lora experts").endswith(rest)
    assert refusal("lora quantized", keys=["model.embed_tokens"]).startswith(
        "adapter.type: dora cannot stand on model.embed_tokens (a quantized embedding): "
    )
    model = a_model("lora")
    nn.quantize(model, group_size=32, bits=6)
    with pytest.raises(UserError, match=r"dora cannot stand on .* \(6-bit weights\): take lora"):
        add_adapters(model, Adapter(type="dora", num_layers=-1))
