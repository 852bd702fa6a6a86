"""Krippendorff's alpha: his example, his definition on random marks, and what is said where it is undefined."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.evaluation.ratings.agreement import alpha, mean_alpha

# Krippendorff (2011), section C: four observers, twelve units; None is a value that is missing.
_OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


def test_the_published_example() -> None:
    units = [[float(mark) for mark in unit if mark is not None] for unit in zip(*_OBSERVERS, strict=True)]
    found = alpha(units)
    assert found.value == pytest.approx(0.849, abs=5e-4)  # interval metric
    assert found.answers == 11  # one unit has a single value


_MARKS = st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 10), min_size=1), min_size=2, max_size=12)


@given(_MARKS)
def test_it_is_the_definition(rows: list[dict[str, int]]) -> None:
    """By the table of coincidences (section C): each ordered pair of marks of a unit counts 1 / (marks - 1)."""
    coincidences: Counter[tuple[int, int]] = Counter()
    for row in rows:
        for a, b in itertools.permutations(row.values(), 2):
            coincidences[a, b] += 1 / (len(row) - 1)  # type: ignore[assignment]
    totals: Counter[int] = Counter()
    for (a, _), count in coincidences.items():
        totals[a] += count
    n = sum(totals.values())
    assume(sum(len(row) > 1 for row in rows) > 1)
    assume(len(totals) > 1)
    observed = sum(count * (a - b) ** 2 for (a, b), count in coincidences.items()) / n
    expected = sum(totals[a] * totals[b] * (a - b) ** 2 for a in totals for b in totals) / (n * (n - 1))
    found = alpha([[float(mark) for mark in row.values()] for row in rows])
    assert found.value is not None
    assert math.isclose(found.value, 1 - observed / expected, rel_tol=1e-9, abs_tol=1e-9)
    if found.low is not None and found.high is not None:
        assert -1 <= found.low <= found.value <= found.high <= 1


def test_the_interval_is_the_jackknife() -> None:
    units = [[7.0, 8.0], [3.0, 3.0], [9.0, 7.0], [5.0, 4.0], [2.0, 6.0]]
    whole = alpha(units)
    without = [alpha(units[:n] + units[n + 1 :]).value for n in range(5)]
    mean = math.fsum(value for value in without if value is not None) / 5
    spread = math.fsum((value - mean) ** 2 for value in without if value is not None)
    half = 1.959963984540054 * math.sqrt(4 / 5 * spread)
    assert whole.value is not None
    assert whole.low == pytest.approx(max(-1.0, whole.value - half))
    assert whole.high == pytest.approx(min(1.0, whole.value + half))


def test_where_it_is_undefined_it_says_why() -> None:
    assert alpha([[5.0], [6.0]]).reason == "no answer was marked by two raters"
    assert alpha([[5.0, 6.0]]).reason == "only one answer was marked by two raters"
    same = alpha([[5.0, 5.0], [5.0, 5.0]])
    assert same.value is None
    assert "every mark is the same" in same.reason


def test_criteria_are_not_thrown_together() -> None:
    # Nobody agrees on anything but that harmless answers are harmless: pooled marks would call that agreement.
    low = {"a": [1.0, 2.0], "b": [2.0, 1.0], "c": [1.0, 2.0], "d": [2.0, 1.0]}
    high = {key: [mark + 7 for mark in marks] for key, marks in low.items()}
    pooled = alpha([*low.values(), *high.values()])
    apart = mean_alpha({"helpfulness": low, "harmlessness": high})
    assert pooled.value is not None
    assert pooled.value > 0.9
    assert apart.value is not None
    assert apart.value < 0
    assert apart.exact == 0.0
    assert apart.answers == 4


def test_a_criterion_without_spread_is_left_out_and_named() -> None:
    found = mean_alpha({"a": {"x": [1.0, 2.0], "y": [5.0, 5.0]}, "b": {"x": [10.0, 10.0], "y": [10.0, 10.0]}})
    assert found.value == alpha([[1.0, 2.0], [5.0, 5.0]]).value
    assert found.reason.startswith("without b")
