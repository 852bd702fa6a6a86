"""Calibration of a reward model: against worked examples, against models whose truth is known, and its ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core.evaluation import calibration as module
from core.evaluation.calibration import best_temperature, calibration


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 200)


def drawn(n: int, temperature: float, seed: int = 0) -> np.ndarray:
    """Margins of a model that is `temperature` times too sure: where it says m, the truth is σ(m / temperature)."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.5, n)
    chosen_is_first = rng.random(n) < 1 / (1 + np.exp(-truth))
    return temperature * np.where(chosen_is_first, truth, -truth)


def by_hand(margins: list[float], first: list[bool], bins: list[int]) -> float:
    """The expected calibration error in plain Python: sort, cut into bins, weigh the distances."""
    shown = [m if f else -m for m, f in zip(margins, first, strict=True)]
    rows = sorted((1 / (1 + math.exp(-s)), float(f)) for s, f in zip(shown, first, strict=True))
    error, at = 0.0, 0
    for size in bins:
        part, at = rows[at : at + size], at + size
        error += size / len(rows) * abs(sum(p for p, _ in part) / size - sum(y for _, y in part) / size)
    return error


def test_a_worked_example() -> None:
    """20 pairs in two bins. All margins are log 3, so every prediction is 1/4 or 3/4; 5 of the 20 are wrong."""
    margins = np.array([math.log(3)] * 15 + [-math.log(3)] * 5)
    found = calibration(margins, seed=1)
    first = np.random.default_rng(1).random(20) < 0.5
    assert found.ece == pytest.approx(by_hand(margins.tolist(), first.tolist(), [10, 10]))
    assert [part.n for part in found.curve] == [10, 10]
    # Right 15 times of 20 at a confidence of 3/4: the loss and the Brier score of that, whatever the order.
    assert found.brier == pytest.approx(0.75 * 0.25**2 + 0.25 * 0.75**2)
    assert found.loss == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert found.temperature == pytest.approx(1.0, abs=1e-6)


def test_scikit_learn_says_the_same() -> None:
    """calibration_curve(n_bins=10, strategy="quantile"), brier_score_loss, log_loss and an unpenalised
    LogisticRegression without intercept, of scikit-learn 1.9.1 on the same predictions."""
    i = np.arange(300)
    found = calibration(3 * np.sin(i * 1.7) + 1.2 + np.cos(i * 0.31), seed=42)
    assert found.ece == pytest.approx(0.1975904663980589, abs=1e-12)
    assert found.brier == pytest.approx(0.23629913589246693, abs=1e-12)
    assert found.loss == pytest.approx(0.6682190491661506, abs=1e-12)
    assert found.temperature == pytest.approx(2.2293424589303084, rel=1e-6)
    assert [part.observed for part in found.curve][2:7] == pytest.approx([17 / 30, 17 / 30, 17 / 30, 0.5, 11 / 30])
    assert found.curve[0].predicted == pytest.approx(0.014918187181909093)


def test_bins_hold_equal_numbers_and_the_error_is_theirs() -> None:
    margins = drawn(403, 2.0)
    found = calibration(margins, seed=7)
    first = np.random.default_rng(7).random(403) < 0.5
    sizes = [part.n for part in found.curve]
    assert sizes == [41, 41, 41, 40, 40, 40, 40, 40, 40, 40]
    assert found.ece == pytest.approx(by_hand(margins.tolist(), first.tolist(), sizes))
    assert found.ece == pytest.approx(sum(p.n * abs(p.predicted - p.observed) for p in found.curve) / 403)
    assert [part.predicted for part in found.curve] == sorted(part.predicted for part in found.curve)


def test_a_calibrated_model_is_called_so() -> None:
    found = calibration(drawn(2000, 1.0), seed=3)
    assert found.low == 0.0
    assert found.ece == pytest.approx(found.chance, abs=0.02)
    assert found.temperature == pytest.approx(1.0, abs=0.15)
    assert found.temperature_low < 1 < found.temperature_high


def test_a_model_that_is_too_sure_is_found_out_and_cooled() -> None:
    found = calibration(drawn(2000, 3.0), seed=3)
    assert found.low > 2 * found.chance > 0
    assert found.temperature == pytest.approx(3.0, rel=0.15)
    assert found.cooled_ece < 0.4 * found.ece
    assert found.cooled_loss < found.loss
    # The temperature is where the likelihood is highest.
    margins = drawn(2000, 3.0)
    losses = [float(np.mean(np.logaddexp(0, -margins / t))) for t in (found.temperature * f for f in (0.97, 1, 1.03))]
    assert losses[1] == min(losses) == pytest.approx(found.cooled_loss)


def test_always_yes_is_not_calibrated() -> None:
    """Every pair is right, at σ(0.1): shown in the order of the file the outcome would always be 1, the mean 0.52."""
    found = calibration(np.full(200, 0.1), seed=0)
    # The predictions are two values, and one bin holds both.
    assert found.ece == pytest.approx(1 - 1 / (1 + math.exp(-0.1)), abs=0.06)
    assert (found.temperature, found.why) == (None, "it is right on all pairs: the surer the better")


@pytest.mark.parametrize("margins", [[0.0], [2.0, -3.0], [0.0] * 30, [-1.0] * 30])
def test_where_there_is_no_temperature(margins: list[float]) -> None:
    found = calibration(np.array(margins), seed=0)
    assert found.temperature is found.cooled_ece is found.temperature_low is None
    assert "the wrong way" in found.why
    assert 0 <= found.low <= found.ece <= found.high


def test_the_same_seed_gives_the_same_and_another_order_nearly_so() -> None:
    margins = drawn(1000, 2.0)
    one, again, other = (calibration(margins, seed) for seed in (5, 5, 6))
    assert one == again
    assert one.ece != other.ece
    assert one.ece == pytest.approx(other.ece, abs=0.04)
    assert (one.brier, one.temperature) == pytest.approx((other.brier, other.temperature))


def test_huge_rewards_are_numbers_all_the_same() -> None:
    found = calibration(np.array([1e4] * 30 + [-1e4]), seed=0)
    assert found.loss == pytest.approx(1e4 / 31)
    assert all(math.isfinite(value) for value in (found.ece, found.low, found.high, found.brier, found.chance))
    assert best_temperature(np.array([1e4] * 30 + [-1e4]))[0] == pytest.approx(1e3, rel=0.01)
