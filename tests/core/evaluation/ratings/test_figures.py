"""Means of marks with intervals clustered by answer, against plain formulas."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.evaluation.ratings.figures import Estimate, clustered, t_quantile, unpaired

_CRITERIA = ("x", "y", "z")
_CELLS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.fixed_dictionaries({c: st.floats(1, 10) for c in _CRITERIA}),
    min_size=2,
    max_size=20,
)


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.7062), (4, 2.7764), (30, 2.0423), (40, 2.0211), (99, 1.9842), (1000, 1.9623)]
)
def test_the_quantiles_are_those_of_tables(freedom: int, t: float) -> None:
    assert t_quantile(freedom) == pytest.approx(t, abs=2e-4)


@settings(max_examples=25)
@given(_CELLS)
def test_with_every_cell_filled_it_is_the_standard_error_of_the_answers_means(
    cells: dict[str, dict[str, float]],
) -> None:
    found = clustered(cells, _CRITERIA)
    means = [statistics.fmean(of.values()) for of in cells.values()]
    assert found is not None
    assert found.n == len(cells)
    assert found.error is not None
    assert found.value == pytest.approx(statistics.fmean(means))
    assert found.error == pytest.approx(statistics.stdev(means) / math.sqrt(len(means)), rel=1e-6, abs=1e-9)


@settings(max_examples=25)
@given(_CELLS)
def test_an_interval_never_leaves_the_scale_or_its_value(cells: dict[str, dict[str, float]]) -> None:
    found = clustered(cells, _CRITERIA, (1, 10))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 1 <= found.low <= found.value <= found.high <= 10


def test_what_was_passed_over_leaves_the_other_marks_standing() -> None:
    found = clustered({"p": {"x": 8.0, "y": 6.0}, "q": {"x": 4.0}, "r": {"x": 6.0, "y": 8.0}}, ("x", "y"))
    assert found is not None
    assert found.value == pytest.approx((6 + 7) / 2)
    assert found.n == 3
    assert clustered({"p": {"x": 8.0}}, ("x", "y")) is None
    assert clustered({}, ("x",)) is None
    assert clustered({"p": {"x": 8.0}}, ("x",)) == Estimate(8.0, 1)


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    """Marks of one answer belong together: an interval over marks would be much too narrow."""
    chance = random.Random(7)
    hits = 0
    for _ in range(600):
        cells: dict[str, dict[str, float]] = {}
        for answer in range(12):
            base = chance.gauss(6, 2)
            cells[str(answer)] = {c: base + chance.gauss(0, 0.5) for c in _CRITERIA if chance.random() < 0.8}
        found = clustered(cells, _CRITERIA)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 6 <= found.high
    assert 0.92 <= hits / 600 <= 0.98


def test_welch() -> None:
    # scipy.stats.ttest_ind([1..5], [2,4,6,8,10,12], equal_var=False): mean difference -4, df 6.97
    first = clustered({str(n): {"x": float(n)} for n in (1, 2, 3, 4, 5)}, ("x",))
    second = clustered({str(n): {"x": float(n)} for n in (2, 4, 6, 8, 10, 12)}, ("x",))
    assert first is not None
    assert second is not None
    found = unpaired(first, second)
    assert found.value == -4
    assert found.error == pytest.approx(math.sqrt(2.5 / 5 + 14 / 6))
    assert found.low == pytest.approx(-4 - t_quantile(6) * math.sqrt(2.5 / 5 + 14 / 6))
    assert unpaired(Estimate(5.0, 1), second).low is None
