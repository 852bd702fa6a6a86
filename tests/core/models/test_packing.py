"""Packed rows: loss and every gradient are those of the examples alone, on every kind of model that can do it."""

from __future__ import annotations

import importlib
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.config.models import Adapter
from core.data.packing import Packed
from core.data.tokenize import Tokens
from core.models.adapters import add_adapters
from core.models.gradient_checkpointing import gradient_checkpointing
from core.models.head import Head
from core.models.packing import PackedRows, obstacle
from core.training.gradients import gradient_function, sum_gradients
from core.training.sft import SFT
from tests.core.models.architectures import MISTRAL_WINDOW, VOCABULARY, build

RNG = np.random.default_rng(0)
# Longer than the windows of the models below, and of many lengths.
EXAMPLES = [
    Tokens(RNG.integers(1, VOCABULARY, p).tolist(), (RNG.integers(1, VOCABULARY, r).tolist(),))
    for p, r in [(9, 14), (3, 5), (1, 7), (12, 4), (2, 2), (6, 9), (4, 11)]
]
WIDTH = 32
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "mistral with windows": ("mistral", MISTRAL_WINDOW),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "phi3": ("phi3", {}),
    "gemma": ("gemma", {}),
    "gemma2": ("gemma2", {}),
    "gemma3": ("gemma3_text", {}),
    "cohere": ("cohere", {}),
    "granite": ("granite", {}),
    "mixtral": ("mixtral", {}),
    "qwen3_moe": ("qwen3_moe", {}),
}


def objective(model: nn.Module, packed: bool) -> SFT:
    return SFT(
        model, EXAMPLES, EXAMPLES, batch_size=8, write_model=lambda folder: None,
        packed=Packed(3, WIDTH) if packed else None,
    )  # fmt: skip


def results(model: nn.Module, packed: bool, whole: bool = False) -> tuple[float, float, dict[str, np.ndarray]]:
    """Loss and gradient; `whole`: all rows at a time, which is for a GPU."""
    made = objective(model, packed)
    assert (made.why_not_packed, made.size) == ("", Packed(3, WIDTH) if packed else 8)
    every = list(range(len(EXAMPLES)))
    pieces = [every] if whole else made.pieces(every)
    # Some are computed row by row.
    assert len(pieces) == (1 if whole else 3 if packed else len(pieces))
    gradients = gradient_function(made, compiled=False)
    grads, sums = sum_gradients(made, gradients, pieces)
    return sums["loss"].item(), sums["examples"].item(), {k: np.array(v) for k, v in tree_flatten(grads)}


def model_of(name: str, trained: str) -> nn.Module:
    architecture, changes = MODELS[name]
    model = build(architecture, spread=0.1, **changes)
    if trained == "full":
        model.unfreeze()
        return model
    mx.random.seed(1)
    add_adapters(model, Adapter(rank=2, alpha=4.0, num_layers=-1))
    for path, value in tree_flatten(model.trainable_parameters()):
        model.load_weights([(path, value + 0.1 * mx.random.normal(value.shape))], strict=False)
    return model


def compare(model: nn.Module, whole: bool = False) -> None:
    loss, count, grads = results(model, packed=True, whole=whole)
    expected_loss, expected_count, expected = results(model, packed=False)
    assert count == expected_count == sum(len(example.responses[0]) for example in EXAMPLES)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert grads.keys() == expected.keys()
    largest = max(np.abs(value).max() for value in expected.values())
    for path, value in expected.items():
        np.testing.assert_allclose(grads[path], value, rtol=1e-3, atol=1e-4 * largest, err_msg=path)


@pytest.mark.parametrize("trained", ["lora", "full"])
@pytest.mark.parametrize("name", list(MODELS))
def test_loss_and_every_gradient(name: str, trained: str) -> None:
    compare(model_of(name, trained))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "gemma2"])
def test_all_rows_at_a_time(name: str) -> None:
    compare(model_of(name, "lora"), whole=True)


# With as many rows as heads its one mask would be read as the heads' without a word.
@pytest.mark.parametrize("heads", [1, 2])
def test_a_model_with_one_mask_for_all_rows_takes_them_one_by_one(heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("gemma2", spread=0.1, num_key_value_heads=heads)
    assert obstacle(model, Head(model)) == ""
    assert obstacle(model, Head(model), rows=2) != ""
    made = objective(model, packed=True)
    monkeypatch.setattr("core.training.sft.mx.default_device", lambda: mx.Device(mx.gpu))
    assert len(made.pieces(list(range(len(EXAMPLES))))) == 3
    assert len(objective(build("llama"), packed=True).pieces(list(range(len(EXAMPLES))))) == 1


@pytest.mark.parametrize("name", ["llama", "gemma3", "mistral with windows"])
def test_with_gradient_checkpointing(name: str) -> None:
    model = model_of(name, "lora")
    with gradient_checkpointing(model, True):
        compare(model)


def test_quantized() -> None:
    model = build("llama", spread=0.1, hidden_size=64, intermediate_size=128)
    nn.quantize(model, group_size=32, bits=4)
    add_adapters(model, Adapter(rank=2, num_layers=-1))
    compare(model)


def test_windows_matter_to_this_test() -> None:
    """Else the comparison above would pass without them."""
    for name in ("gemma3", "mistral with windows"):
        model = model_of(name, "full")
        loss, _, _ = results(model, packed=True)
        architecture, changes = MODELS[name]
        wide = build(architecture, spread=0.1, **{**changes, "sliding_window": 1000})
        assert abs(results(wide, packed=False)[0] - loss) > 1e-3 * loss


@pytest.mark.parametrize("window", [None, 1, 3, 8, 100])
def test_the_mask(window: int | None) -> None:
    segments = [[1, 1, 1, 1, 2, 2, 0, 0], [1, 2, 2, 2, 2, 2, 2, 3]]
    mask = np.array(PackedRows(mx.array(segments)).make_mask(8, return_array=True, window_size=window))
    assert mask.shape == (2, 1, 8, 8)
    for row in range(2):
        for query in range(8):
            for key in range(8):
                sees = key <= query and segments[row][query] == segments[row][key]
                assert mask[row, 0, query, key] == (sees and (window is None or query - key < window))


def test_layers_that_keep_more_than_keys_and_values() -> None:
    model = build("mamba2")
    reason = "its layers keep more than keys and values (ArraysCache)"
    assert obstacle(model, Head(model)) == reason
    made = objective(model, packed=True)
    assert (made.why_not_packed, made.size) == (reason, 8)
    assert len(made.batch([0, 1])) == 5


def test_absolute_positions() -> None:
    module = importlib.import_module("mlx_lm.models.gpt2")
    args = module.ModelArgs(
        model_type="gpt2", n_ctx=64, n_embd=32, n_head=4, n_layer=2, n_positions=64, layer_norm_epsilon=1e-5,
        vocab_size=VOCABULARY, num_key_value_heads=4,
    )  # fmt: skip
    model = module.Model(args)
    assert obstacle(model, Head(model)).startswith("its hidden states would differ by ")


def test_code_that_takes_no_other_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    head = Head(model)
    # As a model does that asks its cache for more than masks, keys and values.
    monkeypatch.setattr(PackedRows, "update_and_fetch", None)
    assert obstacle(model, head) == "its code takes no other cache (TypeError)"


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_half_precision(dtype: mx.Dtype) -> None:
    model = build("gemma3_text", spread=0.1)
    model.set_dtype(dtype)
    assert obstacle(model, Head(model)) == ""
