"""Log-probs and exact KL against float64, with NumPy's functions and, in a compiled step, with MLX's."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models.eager import numbers
from core.models.vocabulary import exact_kl, target_logps


def log_softmax(logits: mx.array) -> np.ndarray:
    x = np.array(logits).astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def naive(policy: mx.array, reference: mx.array) -> np.ndarray:
    p, q = log_softmax(policy), log_softmax(reference)
    return (np.exp(p) * (p - q)).sum(-1)


@pytest.mark.parametrize("vocabulary", [5, 1000, 49152])
@pytest.mark.parametrize("distance", [1e-3, 0.1, 1.0, 5.0])
def test_against_float64(vocabulary: int, distance: float) -> None:
    a, b = mx.random.split(mx.random.key(0))
    policy = 3 * mx.random.normal((6, vocabulary), key=a)
    reference = policy + distance * mx.random.normal((6, vocabulary), key=b)
    np.testing.assert_allclose(np.array(exact_kl(policy, reference)), naive(policy, reference), rtol=1e-5, atol=3e-6)


def test_the_direction_is_from_policy_to_reference() -> None:
    policy, reference = mx.log(mx.array([[0.5, 0.5]])), mx.log(mx.array([[0.9, 0.1]]))
    assert exact_kl(policy, reference).item() == pytest.approx(0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(5), rel=1e-6)
    assert exact_kl(reference, policy).item() == pytest.approx(0.9 * np.log(1.8) + 0.1 * np.log(0.2), rel=1e-6)


@given(st.integers(0, 2**31), st.floats(0, 1e-4), st.floats(0.01, 50))
def test_never_negative_and_zero_of_itself(seed: int, distance: float, scale: float) -> None:
    a, b = mx.random.split(mx.random.key(seed))
    policy = scale * mx.random.normal((16, 300), key=a)
    assert (np.array(exact_kl(policy, policy)) == 0).all()
    # So near that rounding decides the sign of the sum.
    near = policy + distance * mx.random.normal(policy.shape, key=b)
    assert (np.array(exact_kl(policy, near)) >= 0).all()


def test_a_shift_of_all_logits_is_no_difference() -> None:
    policy = mx.random.normal((4, 100), key=mx.random.key(0))
    assert np.array(exact_kl(policy + 100.0, policy)).max() < 1e-4


def test_not_a_number_stays_one() -> None:
    assert np.isnan(np.array(exact_kl(mx.array([[np.nan, 1.0]]), mx.array([[0.0, 1.0]])))).all()


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_large_logits_do_not_overflow(scale: float) -> None:
    logits = scale * mx.random.normal((5, 40), key=mx.random.key(0))
    targets = mx.array([0, 1, 2, 3, 39])
    found = np.array(target_logps(logits, targets)[0])
    naive = log_softmax(logits)[np.arange(5), np.array(targets)]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, naive, rtol=1e-5, atol=1e-5)


def test_a_large_vocabulary_adds_no_bias() -> None:
    logits = 2 * mx.random.normal((64, 49152), key=mx.random.key(1))
    targets = mx.random.randint(0, 49152, (64,), key=mx.random.key(2))
    found = np.array(target_logps(logits, targets)[0], np.float64)
    naive = log_softmax(logits)[np.arange(64), np.array(targets)]
    np.testing.assert_allclose(found, naive, rtol=0, atol=5e-6)
    # Errors of one sign would add up over a response.
    assert abs((found - naive).sum()) < 5e-5


def test_the_gradient_is_one_hot_minus_softmax() -> None:
    logits = mx.random.normal((3, 50), key=mx.random.key(1))
    targets = mx.array([4, 0, 49])
    found = np.array(mx.grad(lambda x: target_logps(x, targets)[0].sum())(logits))
    naive = np.eye(50)[np.array(targets)] - np.exp(log_softmax(logits))
    np.testing.assert_allclose(found, naive, atol=1e-6)


def test_the_sum_of_squares() -> None:
    logits = 3 * mx.random.normal((4, 300), key=mx.random.key(1))
    found = np.array(target_logps(logits, mx.array([0, 1, 2, 3]))[1])
    np.testing.assert_allclose(found, np.log(np.exp(2 * log_softmax(logits)).sum(-1)), rtol=1e-5, atol=1e-5)


def test_a_compiled_step_uses_the_functions_of_mlx() -> None:
    a, b = mx.random.split(mx.random.key(3))
    logits, other = 3 * mx.random.normal((5, 70), key=a), 3 * mx.random.normal((5, 70), key=b)
    targets = mx.array([3, 3, 69, 0, 41])
    seen = []

    def function(x: mx.array) -> tuple[mx.array, ...]:
        seen.append(numbers(x) is None)
        logps, squares = target_logps(x, targets)
        return (logps * mx.arange(5)).sum(), squares

    eager, gradient = mx.value_and_grad(function)(logits)
    compiled, compiled_gradient = mx.compile(mx.value_and_grad(function))(logits)
    assert seen == [False, True]
    for ours, theirs in [*zip(eager, compiled, strict=True), (gradient, compiled_gradient)]:
        np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        np.array(mx.compile(exact_kl)(logits, other)), np.array(exact_kl(logits, other)), rtol=1e-4
    )
