"""SwiGLU and attention with NumPy's exponentials are MLX's own, with every gradient."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models import activations

from core.models import linux_cpu

KEYS = mx.random.split(mx.random.key(0), 8)
Q = mx.random.normal((2, 9, 7, 16), key=KEYS[0])
K = mx.random.normal((2, 3, 10, 16), key=KEYS[1])
V = mx.random.normal((2, 3, 10, 16), key=KEYS[2])

MASKS = [
    None,
    "causal",
    mx.random.uniform(shape=(7, 10), key=KEYS[3]) > 0.3,
    mx.random.uniform(shape=(2, 1, 7, 10), key=KEYS[4]) > 0.3,
    mx.random.uniform(shape=(2, 9, 7, 10), key=KEYS[5]) > 0.3,
    mx.random.uniform(shape=(1, 9, 1, 10), key=KEYS[5]) > 0.3,
    mx.random.normal((2, 9, 7, 10), key=KEYS[6]),
    mx.random.normal((7, 10), key=KEYS[6]),
]


def with_gradients(function: Callable[..., mx.array], *inputs: mx.array) -> list[np.ndarray]:
    weights = mx.random.normal((16,), key=KEYS[7])

    def total(*inputs: mx.array) -> mx.array:
        return (function(*inputs) * weights).sum()

    value, gradients = mx.value_and_grad(total, argnums=tuple(range(len(inputs))))(*inputs)
    return [np.array(array) for array in (function(*inputs), value, *gradients)]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(b).max())))


@pytest.mark.parametrize("mask", MASKS)
def test_attention(mask: Any) -> None:
    def of(attention: Callable[..., mx.array]) -> list[np.ndarray]:
        return with_gradients(lambda q, k, v: attention(q, k, v, scale=0.3, mask=mask), Q, K, V)

    same(of(linux_cpu.attention), of(linux_cpu._attention))


def test_attention_with_large_scores() -> None:
    found = linux_cpu.attention(1e4 * Q, K, V, scale=1.0, mask="causal")
    np.testing.assert_allclose(
        np.array(found), np.array(linux_cpu._attention(1e4 * Q, K, V, scale=1.0, mask="causal")), rtol=1e-3, atol=1e-3
    )


def test_attention_that_is_handed_on() -> None:
    half = [x.astype(mx.bfloat16) for x in (Q, K, V)]
    assert mx.array_equal(linux_cpu.attention(*half, scale=0.3), linux_cpu._attention(*half, scale=0.3))
    sinks = mx.ones(9)
    found = linux_cpu.attention(Q, K, V, scale=0.3, mask="causal", sinks=sinks)
    assert mx.array_equal(found, linux_cpu._attention(Q, K, V, scale=0.3, mask="causal", sinks=sinks))


def test_swiglu() -> None:
    gate, x = (5 * mx.random.normal((4, 16), key=key) for key in KEYS[:2])
    gate[0, :2] = mx.array([-1e4, 1e4])
    same(with_gradients(linux_cpu.swiglu, gate, x), with_gradients(linux_cpu._swiglu, gate, x))
    assert linux_cpu.swiglu(gate.astype(mx.bfloat16), x.astype(mx.bfloat16)).dtype == mx.bfloat16


def test_a_compiled_step_has_the_originals() -> None:
    gate, x = (mx.random.normal((4, 16), key=key) for key in KEYS[:2])

    def step(gate: mx.array, x: mx.array, q: mx.array) -> mx.array:
        return linux_cpu.swiglu(gate, x).sum() + linux_cpu.attention(q, K, V, scale=0.3).sum()

    assert mx.compile(step)(gate, x, Q).item() == pytest.approx(step(gate, x, Q).item(), rel=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="a Mac keeps MLX's own")
def test_models_use_them() -> None:
    from mlx_lm.models import llama

    assert activations.swiglu is llama.swiglu is linux_cpu.swiglu
    assert mx.fast.scaled_dot_product_attention is linux_cpu.attention
    assert nn.silu is not linux_cpu.swiglu
