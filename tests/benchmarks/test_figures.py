"""Rates, memory and times from what a driver reports, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.figures import Spread, figures


def result(**changes: Any) -> dict[str, Any]:
    """Two epochs of two steps: 4 s a step in the first, 2 s in the second; 1 s of the first was no training."""
    steps = [{"at": at, "loss": loss} for at, loss in ((105.0, 0.69), (109.0, 0.6), (111.0, 0.5), (113.0, 0.4))]
    memory = {"weights": 1000, "allocator_peak": 1500, "resident_baseline": 300, "resident_peak": 2000}
    return {
        "started": 90.0, "began": 100.0, "fill_seconds": 0.0, "steps": steps, "away": [(100.0, 101.0)],
        "memory": memory, "loss": None, **changes,
    }  # fmt: skip


def test_rates_count_every_second_but_those_away() -> None:
    found = figures(result(), pairs=4, batch_size=2, fill_known=False)
    assert found.first == pytest.approx(4 / 8)
    assert found.later == pytest.approx(4 / 4)
    assert found.first_unfilled is None
    assert found.to_first_step == 15.0
    assert found.last_epoch_loss == pytest.approx(0.45)


def test_a_fill_counts_in_one_rate_and_not_in_the_other() -> None:
    found = figures(result(fill_seconds=2.0), pairs=4, batch_size=2, fill_known=True)
    assert found.first == pytest.approx(4 / 10)
    assert found.first_unfilled == pytest.approx(4 / 8)


def test_an_evaluation_between_epochs_counts_in_neither() -> None:
    found = figures(result(away=[(108.0, 110.0)]), pairs=4, batch_size=2, fill_known=False)
    assert found.first == pytest.approx(4 / 8)  # one second of it lies in the first epoch
    assert found.later == pytest.approx(4 / 3)


def test_memory_is_what_is_above_one_copy_of_the_weights() -> None:
    found = figures(result(), pairs=4, batch_size=2, fill_known=False)
    assert found.above_weights == 500
    assert found.resident_above == 700
    memory = {"weights": 1000, "resident_baseline": 300, "resident_peak": 2000}
    assert figures(result(memory=memory), pairs=4, batch_size=2, fill_known=False).above_weights is None


def test_the_spread_of_rounds() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
