"""β over the steps of a run."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.training.schedules import BetaSchedule
from tests.core.training import tiny


def test_constant_is_where_it_starts() -> None:
    beta = BetaSchedule.of(tiny.dpo_config().training)
    assert {beta.at(step) for step in range(12)} == {0.1}
    assert not beta.moves
    assert str(beta) == "β 0.1"
    assert BetaSchedule.of(tiny.dpo_config().training, guarded=True).moves


@pytest.mark.parametrize(("shape", "middle"), [("linear", 0.3), ("cosine", 0.3)])
def test_from_beta_at_the_first_step_to_its_end_at_the_last(shape: str, middle: float) -> None:
    config = tiny.dpo_config(training_beta_schedule=shape, training_beta_end=0.5, training_max_steps=11)
    beta = BetaSchedule.of(config.training)
    assert beta.moves
    assert str(beta) == f"β from 0.1 to 0.5 ({shape})"
    assert [beta.at(0), beta.at(5), beta.at(10)] == pytest.approx([0.1, middle, 0.5])
    assert beta.at(11) == pytest.approx(0.5)  # asked for after the last update


def test_linear_and_cosine_at_a_quarter() -> None:
    for shape, expected in (("linear", 0.2), ("cosine", 0.1 + 0.4 * (1 - math.cos(math.pi / 4)) / 2)):
        assert BetaSchedule(0.1, 0.5, shape, 9, True).at(2) == pytest.approx(expected)


@given(
    start=st.floats(1e-3, 100), end=st.floats(1e-3, 100), shape=st.sampled_from(["linear", "cosine"]),
    steps=st.integers(1, 50),
)  # fmt: skip
def test_goes_one_way_and_stays_between_its_ends(start: float, end: float, shape: str, steps: int) -> None:
    found = [BetaSchedule(start, end, shape, steps, True).at(step) for step in range(steps)]
    assert found == sorted(found, reverse=end < start)
    assert all(min(start, end) - 1e-9 <= value <= max(start, end) + 1e-9 for value in found)
    assert found[0] == start


def test_a_guard_multiplies_it() -> None:
    assert BetaSchedule(0.1, 0.1, "constant", 10, True).at(3, 4.0) == pytest.approx(0.4)
    assert BetaSchedule(0.1, 0.3, "linear", 3, True).at(1, 4.0) == pytest.approx(0.8)
