"""Exact KL against float64."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation.kl import exact_kl


def naive(policy: mx.array, reference: mx.array) -> np.ndarray:
    def log_softmax(x: np.ndarray) -> np.ndarray:
        x = x - x.max(-1, keepdims=True)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    p, q = (log_softmax(np.array(x).astype(np.float64)) for x in (policy, reference))
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
