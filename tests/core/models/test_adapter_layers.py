"""Adapter layers: mlx-lm's numbers in float32, its files, float32 weights on half-precision models."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.switch_layers import SwitchLinear
from mlx_lm.tuner import dora, lora

from core.models import adapter_layers
from core.models.adapter_layers import take_over

X = mx.random.normal((2, 3, 64), key=mx.random.key(1))
INDICES = mx.array([[[0, 2], [1, 1], [2, 0]], [[1, 0], [0, 0], [2, 1]]])


def base(kind: str, dtype: mx.Dtype = mx.float32) -> nn.Module:
    mx.random.seed(5)
    made: dict[str, Any] = {
        "linear": lambda: nn.Linear(64, 32, bias=False),
        "biased": lambda: nn.Linear(64, 32, bias=True),
        "embedding": lambda: nn.Embedding(32, 64),
        "switch": lambda: SwitchLinear(64, 32, 3),
    }
    layer = made[kind.removeprefix("quantized ")]()
    layer.set_dtype(dtype)
    return layer.to_quantized(group_size=32, bits=4) if kind.startswith("quantized") else layer


def adapted(kind: str, form: str, dtype: mx.Dtype = mx.float32, moved: bool = True, dropout: float = 0.0) -> nn.Module:
    """An adapter of mlx-lm on a layer; `moved`: it does something."""
    name = kind.split()[-1]
    classes = {
        "lora": {"embedding": lora.LoRAEmbedding, "switch": lora.LoRASwitchLinear}.get(name, lora.LoRALinear),
        "dora": dora.DoRALinear,
    }
    mx.random.seed(6)
    layer = classes[form].from_base(base(kind, dtype), r=3, scale=2.0, dropout=dropout)
    if moved:
        layer.lora_b = 0.2 * mx.random.normal(layer.lora_b.shape)
        if form == "dora":
            layer.m = layer.m * (1 + 0.1 * mx.random.normal(layer.m.shape))
    return layer


def answer(layer: nn.Module, x: mx.array, kind: str) -> mx.array:
    if "switch" in kind:
        return layer(x[:, :, None, None], INDICES)
    return layer.as_linear(x) if "embedding" in kind else layer(x)


def ours(kind: str, form: str, *args: Any, **options: Any) -> nn.Module:
    """The same adapter, taken over while it was fresh."""
    layer = adapted(kind, form, *args, **options | {"moved": False})
    take_over(layer)
    theirs = adapted(kind, form, *args, **options)
    layer.load_weights(tree_flatten(theirs.parameters()))
    return layer


KINDS = [
    (kind, form)
    for form, kinds in {
        "lora": ["linear", "biased", "embedding", "switch"],
        "dora": ["linear", "biased"],
    }.items()
    for plain in kinds
    for kind in (plain, f"quantized {plain}")
]


@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_float32_is_mlx_lms(kind: str, form: str) -> None:
    layer, theirs = ours(kind, form), adapted(kind, form)
    assert type(layer) is getattr(adapter_layers, type(theirs).__name__)
    found, expected = np.array(answer(layer, X, kind)), np.array(answer(theirs, X, kind))
    assert not np.allclose(expected, np.array(answer(adapted(kind, form, moved=False), X, kind)), atol=1e-2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_gradients_are_mlx_lms(kind: str, form: str) -> None:
    target = mx.random.normal(answer(ours(kind, form), X, kind).shape, key=mx.random.key(9))

    def gradients(layer: nn.Module) -> dict[str, np.ndarray]:
        layer.freeze()
        layer.unfreeze(keys=["lora_a", "lora_b", "m"], recurse=False)
        _, grads = nn.value_and_grad(layer, lambda x: (answer(layer, x, kind) * target).sum())(X)
        return {name: np.array(value) for name, value in tree_flatten(grads)}

    expected, found = gradients(adapted(kind, form)), gradients(ours(kind, form))
    assert found.keys() == expected.keys() == ({"lora_a", "lora_b", "m"} if form == "dora" else {"lora_a", "lora_b"})
    for name, value in expected.items():
        assert np.abs(value).max() > 1e-3
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5 * np.abs(value).max(), err_msg=name)


@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_a_fresh_adapter_is_the_layer_it_stands_on_to_the_bit(kind: str, form: str) -> None:
    layer = adapted(kind, form, moved=False)
    take_over(layer)
    assert np.array_equal(np.array(answer(layer, X, kind)), np.array(answer(base(kind), X, kind)))


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_half_precision(kind: str, form: str, dtype: mx.Dtype) -> None:
    """Answers in the model's type, near those of float32; the adapter stays float32, and so do its gradients."""
    if "switch" in kind and mx.default_device() == mx.Device(mx.cpu):
        pytest.skip("MLX multiplies experts in float32 only on a CPU")
    layer = ours(kind, form, dtype)
    x = X.astype(dtype)
    found = answer(layer, x, kind)
    assert found.dtype == dtype
    # The same rounded weights, computed with in float32.
    exact = ours(kind, form, dtype)
    exact.set_dtype(mx.float32)
    expected = np.array(answer(exact, x.astype(mx.float32), kind))
    error = np.linalg.norm(np.array(found.astype(mx.float32)) - expected) / np.linalg.norm(expected)
    assert error < (0.02 if dtype == mx.bfloat16 else 0.003)
    layer.freeze()
    layer.unfreeze(keys=["lora_a", "lora_b", "m"], recurse=False)
    _, grads = nn.value_and_grad(layer, lambda x: answer(layer, x, kind).astype(mx.float32).sum())(x)
    assert {value.dtype for _, value in tree_flatten(grads)} == {mx.float32}


def test_a_small_change_of_the_magnitude_acts_in_bfloat16() -> None:
    """As a factor near 1 it would be rounded to 1: bfloat16 has steps of 1/128 there."""
    layer = adapted("linear", "dora", mx.bfloat16, moved=False)
    take_over(layer)
    x = mx.random.normal((512, 64), key=mx.random.key(2)).astype(mx.bfloat16)
    before = layer(x).astype(mx.float32)
    layer.m = layer.m * 1.003
    after = layer(x).astype(mx.float32)
    # Least squares: by what the answers grew.
    assert ((before * after).sum() / mx.square(before).sum()).item() == pytest.approx(1.003, abs=5e-4)


def test_a_row_of_zeros_is_no_nan() -> None:
    layer = dora.DoRALinear.from_base(base("biased"), r=2, scale=1.0)
    layer.linear.weight = layer.linear.weight.at[3].multiply(0.0)
    layer.set_linear(layer.linear)
    take_over(layer)
    assert np.isfinite(np.array(layer(X))).all()
    assert np.array_equal(np.array(layer(X)), np.array(layer.linear(X)))


def test_layers_of_a_model_s_own_stay_what_they_are() -> None:
    class Own(lora.LoRALinear):
        pass

    layer = Own(8, 8)
    take_over(layer)
    assert type(layer) is Own
