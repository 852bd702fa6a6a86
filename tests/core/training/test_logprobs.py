"""Log-probs against float64."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from core.models.head import Head
from core.training.logprobs import response_logps, row_sums
from tests.core.models.architectures import VOCABULARY, build


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_log_probs_of_responses(name: str) -> None:
    model = build(name)
    ids = mx.random.randint(0, VOCABULARY, (3, 11), key=mx.random.key(5))
    rows = mx.array([0, 0, 0, 1, 2, 1, 0])
    targets = mx.array([3, 4, 5, 6, 7, 8, 0])
    positions = mx.array([0, 7, 10, 11, 32, 20, 0])
    weights = mx.array([1.0, 1, 1, 1, 1, 1, 0])  # the last one is padding
    sums, counts = response_logps(Head(model), ids, positions, targets, rows, weights)
    table = log_softmax(np.array(model(ids))).reshape(-1, VOCABULARY)
    naive = np.zeros(3)
    for row, position, target, weight in zip(*(np.array(a) for a in (rows, positions, targets, weights)), strict=True):
        naive[row] += weight * table[position, target]
    np.testing.assert_allclose(np.array(sums), naive, rtol=1e-5, atol=1e-5)
    assert counts.tolist() == [3, 2, 1]


def test_rows_sum_only_their_own() -> None:
    values, rows = mx.array([1.0, 2.0, 4.0, 8.0]), mx.array([2, 0, 2, 0])
    assert row_sums(values, rows, mx.array([1.0, 1, 1, 0]), 4).tolist() == [2, 0, 5, 0]
