"""Every distribution of W&B's schema by its quantiles, and what a configuration gets of them."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from core.config.sweep_distributions import NEEDED, OPTIONAL, QUANTILES, Distribution, incomplete_beta

U = (0.1, 0.25, 0.5, 0.75, 0.9)
Z = [NormalDist().inv_cdf(u) for u in U]


def shares(**fields: Any) -> list[Any]:
    return [Distribution(**fields).at(u) for u in U]


# The formulas once more, as W&B's table has them.
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"kind": "uniform", "min": 0.05, "max": 0.3}, [0.05 + u * 0.25 for u in U]),
        ({"kind": "int_uniform", "min": 1, "max": 4}, [1, 2, 3, 4, 4]),
        ({"kind": "q_uniform", "min": 0, "max": 10, "q": 2}, [2 * round(u * 10 / 2) for u in U]),
        ({"kind": "q_uniform", "min": 0, "max": 1, "q": 0.25}, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ({"kind": "log_uniform", "min": -16, "max": -11}, [math.exp(-16 + 5 * u) for u in U]),
        ({"kind": "log_uniform_values", "min": 1e-7, "max": 1e-5}, [10 ** (-7 + 2 * u) for u in U]),
        ({"kind": "q_log_uniform", "min": 0, "max": math.log(64), "q": 1}, [round(64**u) for u in U]),
        ({"kind": "q_log_uniform_values", "min": 1, "max": 64, "q": 4}, [4 * round(64**u / 4) for u in U]),
        # log(1/X) uniform: at u of X it is at 1 - u.
        ({"kind": "inv_log_uniform", "min": 2, "max": 5}, [1 / math.exp(2 + 3 * (1 - u)) for u in U]),
        ({"kind": "inv_log_uniform_values", "min": 1e-3, "max": 1e-1}, [10 ** (-3 + 2 * u) for u in U]),
        ({"kind": "normal", "mu": 2, "sigma": 0.5}, [2 + 0.5 * z for z in Z]),
        ({"kind": "q_normal", "mu": 20, "sigma": 10, "q": 5}, [5 * round((20 + 10 * z) / 5) for z in Z]),
        ({"kind": "log_normal", "mu": -9, "sigma": 1}, [math.exp(-9 + z) for z in Z]),
        ({"kind": "q_log_normal", "mu": 2, "sigma": 1, "q": 1}, [round(math.exp(2 + z)) for z in Z]),
        # I_x(2, 2) = 3x² - 2x³; I_x(1, 3) = 1 - (1 - x)³.
        ({"kind": "beta", "a": 1, "b": 3}, [1 - (1 - u) ** (1 / 3) for u in U]),
        ({"kind": "q_beta", "a": 1, "b": 3, "q": 0.1}, [0.0, 0.1, 0.2, 0.4, 0.5]),
        ({"kind": "categorical", "values": (2, 4, 8)}, [2, 2, 4, 8, 8]),
        ({"kind": "categorical_w_probabilities", "values": ("a", "b"), "probabilities": (0.3, 0.7)}, list("aabbb")),
        ({"kind": "constant", "values": (7,)}, [7] * 5),
    ],
    ids=lambda found: found["kind"] if isinstance(found, dict) else "",
)
def test_quantiles(fields: dict[str, Any], expected: list[Any]) -> None:
    found = shares(**fields)
    if isinstance(expected[0], float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-12)
    else:
        assert found == expected


def test_all_of_the_schema_are_there_and_tested() -> None:
    tested = test_quantiles.pytestmark[0].args[1]
    assert {fields["kind"] for fields, _ in tested} == set(QUANTILES) == set(NEEDED) == set(OPTIONAL)


@pytest.mark.parametrize(("a", "b"), [(2.0, 5.0), (0.5, 0.5), (8.0, 1.5)])
def test_beta_is_the_one_that_numpy_draws(a: float, b: float) -> None:
    drawn = np.sort(np.random.default_rng(1).beta(a, b, 20_000))
    for u in U:
        assert incomplete_beta(float(np.quantile(drawn, u)), a, b) == pytest.approx(u, abs=0.015)


def test_numbers_are_for_people_to_read_and_stay_within_their_bounds() -> None:
    assert Distribution("uniform", 0, 1).at(1 / 3) == 0.333333
    # In six digits it would lie below the smallest one.
    edge = Distribution("uniform", 0.12345648, 0.2)
    assert edge.settled(0.12345648) == 0.12345648
    whole = Distribution("q_uniform", min=2, max=8, q=2).at(0.5)
    assert (whole, type(whole)) == (4, int)


def test_normal_tails_are_cut() -> None:
    found = Distribution("normal", mu=0, sigma=1)
    assert found.at(0.0) == pytest.approx(-4.753, abs=1e-3)
    assert found.at(1.0) == pytest.approx(4.753, abs=1e-3)


def test_which_can_be_enumerated() -> None:
    assert Distribution("int_uniform", 1, 3).finite(10) == (1, 2, 3)
    assert Distribution("q_uniform", 0, 1, q=0.5).finite(10) == (0.0, 0.5, 1.0)
    assert Distribution("categorical", values=("a", "b")).finite(10) == ("a", "b")
    assert Distribution("int_uniform", 1, 300).finite(10) is None
    assert Distribution("uniform", 0, 1).finite(10) is None
    assert Distribution("normal").finite(10) is None
