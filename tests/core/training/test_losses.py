"""The losses against their formulas in float64."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.training.losses import LOSSES

# Log-ratios of long responses reach hundreds of nats.
RATIOS = st.lists(
    st.tuples(
        st.floats(-2000, 2000, width=32), st.floats(-2000, 2000, width=32), st.integers(1, 900), st.integers(1, 900)
    ),
    min_size=1,
    max_size=8,
)


def log_sigmoid(z: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0.0, -z)


def formula(name: str, rows: list[tuple[float, float, int, int]], beta: float, smoothing: float) -> np.ndarray:
    chosen, rejected, chosen_tokens, rejected_tokens = np.array(rows, np.float64).T
    z = beta * (chosen - rejected)
    if name == "sigmoid":
        return -(1 - smoothing) * log_sigmoid(z) - smoothing * log_sigmoid(-z)
    if name == "ipo":
        return (chosen / chosen_tokens - rejected / rejected_tokens - 1 / (2 * beta)) ** 2
    return np.maximum(0.0, 1 - z)


def both(name: str, rows: list[tuple[float, float, int, int]], beta: float, smoothing: float) -> tuple[np.ndarray, ...]:
    chosen, rejected, *tokens = (mx.array(column) for column in np.array(rows, np.float32).T)
    found = LOSSES[name](chosen, rejected, tuple(tokens), beta, smoothing)
    assert found.shape == (len(rows),)
    return np.array(found, np.float64), formula(name, rows, beta, smoothing)


@pytest.mark.parametrize("name", LOSSES)
@given(rows=RATIOS, beta=st.sampled_from([0.01, 0.1, 0.5, 2.0]))
def test_formula(name: str, rows: list, beta: float) -> None:
    found, expected = both(name, rows, beta, 0.0)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)
    assert (found >= 0).all()


@given(rows=RATIOS, smoothing=st.sampled_from([0.05, 0.1, 0.4]))
def test_label_smoothing_is_conservative_dpo(rows: list, smoothing: float) -> None:
    found, expected = both("sigmoid", rows, 0.1, smoothing)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.49])
def test_sigmoid_of_equal_log_ratios_is_log_two(smoothing: float) -> None:
    found, _ = both("sigmoid", [(-3.25, -3.25, 5, 9), (0.0, 0.0, 1, 1)], 0.1, smoothing)
    np.testing.assert_allclose(found, math.log(2), rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("margin", [1e5, -1e5])
def test_huge_margins_do_not_overflow(name: str, margin: float) -> None:
    def loss(chosen: mx.array) -> mx.array:
        ones = mx.ones((1,))
        return LOSSES[name](chosen, mx.zeros((1,)), (ones, ones), 0.5, 0.1 if name == "sigmoid" else 0.0).sum()

    value, gradient = mx.value_and_grad(loss)(mx.array([margin]))
    assert math.isfinite(value.item())
    assert math.isfinite(gradient.item())


def test_gradient_of_sigmoid_is_the_known_one() -> None:
    # d/dΔ of -log σ(βΔ) is -β σ(-βΔ): a pair that is won hardly pulls, one that is lost pulls with β.
    ones = mx.ones((4,))
    delta = mx.array([-80.0, -1.0, 0.0, 80.0])
    found = mx.grad(lambda d: LOSSES["sigmoid"](d, mx.zeros((4,)), (ones, ones), 0.5, 0.0).sum())(delta)
    expected = -0.5 / (1 + np.exp(0.5 * np.array(delta, np.float64)))
    np.testing.assert_allclose(np.array(found), expected, rtol=1e-5, atol=1e-9)


def test_hinge_is_zero_from_margin_one_on() -> None:
    found, _ = both("hinge", [(10.0, 0.0, 1, 1), (9.0, 0.0, 1, 1), (20.0, 0.0, 1, 1)], 0.1, 0.0)
    np.testing.assert_allclose(found, [0.0, 0.1, 0.0], atol=1e-6)
