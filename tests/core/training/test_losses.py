"""The losses against their formulas in float64: values, gradients, extremes, options."""

from __future__ import annotations

import math
from typing import Any, get_args

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.dpo import LossType
from core.training.losses import LOSSES, Logps, PairLoss
from tests.core.training import tiny

F_DIVERGENCES = ["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
ON_DIFFERENCES = ["sigmoid", "cdpo", "robust", "hinge", "ipo", "sigmoid_norm", "exo_pair", "discopop"]
SMOOTHED = ["cdpo", "robust", "exo_pair", "aot", "aot_unpaired"]
NAMES = list(LOSSES)

# Log-probs of long responses reach hundreds of nats; policy and reference are near each other.
LOGP = st.floats(-2000, 0, width=32)
RATIO = st.floats(-60, 60, width=32)
PAIR = st.tuples(LOGP, LOGP, RATIO, RATIO, st.integers(1, 900), st.integers(1, 900))
PAIRS = st.lists(PAIR, min_size=1, max_size=8)
BETAS = st.sampled_from([0.01, 0.1, 0.5, 2.0])


def arrays(rows: list[Any]) -> Logps:
    """Rows of chosen, rejected (policy), their log-ratios to the reference, lengths."""
    chosen, rejected, up, down, long, short = (mx.array(column) for column in np.array(rows, np.float32).T)
    made = Logps(chosen, rejected, chosen - up, rejected - down, long, short)
    mx.eval(*(getattr(made, field) for field in Logps.__slots__[:6]))
    return made


def softplus(z: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, z)


def sigma(z: np.ndarray) -> np.ndarray:
    return np.exp(-softplus(-z))


def formula(name: str, logps: Logps, beta: float, options: PairLoss) -> np.ndarray:
    """The loss of each pair as its paper writes it, in float64."""
    policy_w, policy_l, reference_w, reference_l, n_w, n_l = (
        np.array(getattr(logps, field), np.float64) for field in Logps.__slots__[:6]
    )
    w, l, e = policy_w - reference_w, policy_l - reference_l, options.label_smoothing  # noqa: E741

    def score(log_u: np.ndarray) -> np.ndarray:
        u, alpha = np.exp(np.clip(log_u, -300, 300)), options.f_alpha_divergence_coef
        return {
            "reverse_kl": log_u,
            "forward_kl": 1 - 1 / u,
            "js_divergence": np.log(2 * u / (1 + u)),
            "alpha_divergence": (u ** (alpha - 1) - 1) / (alpha - 1),
        }[options.f_divergence_type]

    z, per_token = beta * (score(w) - score(l)), score(w) / n_w - score(l) / n_l
    smoothed = {
        "cdpo": z,
        "aot": beta * (np.sort(policy_w - policy_l) - np.sort(reference_w - reference_l)),
        "aot_unpaired": beta * (np.sort(w) - np.sort(l)),
    }
    if name in smoothed:
        return (1 - e) * softplus(-smoothed[name]) + e * softplus(smoothed[name])
    match name:
        case "sigmoid":
            return softplus(-z)
        case "robust":
            return ((1 - e) * softplus(-z) - e * softplus(z)) / (1 - 2 * e)
        case "hinge":
            return np.maximum(0.0, 1 - z)
        case "ipo":
            return (per_token - 1 / (2 * beta)) ** 2
        case "sigmoid_norm":
            return softplus(-beta * per_token)
        case "exo_pair":
            p, q = np.stack([sigma(z), sigma(-z)]), np.array([[1 - e], [e]])
            return (p * (-softplus(np.stack([-z, z])) - np.log(q))).sum(0)
        case "nca_pair":
            return softplus(-beta * w) + 0.5 * softplus(beta * w) + 0.5 * softplus(beta * l)
        case "bco_pair":
            return softplus(-beta * w) + softplus(beta * l)
        case "sppo_hard":
            return (w - 1 / (2 * beta)) ** 2 + (l + 1 / (2 * beta)) ** 2
        case "apo_zero":
            return 1 - sigma(beta * w) + sigma(beta * l)
        case "apo_down":
            return sigma(beta * w) + 1 - sigma(beta * (w - l))
        case "discopop":
            m = sigma(z / options.discopop_tau)
            return (1 - m) * softplus(-z) + np.where(m > 0, m * np.exp(-z), 0)
        case "sft":
            return np.full(len(w), -policy_w.sum() / n_w.sum())
    raise AssertionError(name)


def options(name: str, **more: Any) -> PairLoss:
    return PairLoss((name,), **{"label_smoothing": 0.1 if name in SMOOTHED else 0.0, **more})


def agrees(found: mx.array, expected: np.ndarray, scale: float = 0.0) -> None:
    np.testing.assert_allclose(np.array(found, np.float64), expected, rtol=2e-4, atol=1e-5 + 1e-5 * scale)


def test_every_loss_of_the_configuration_is_there() -> None:
    assert set(LOSSES) == set(get_args(LossType))


@pytest.mark.parametrize("name", NAMES)
@given(rows=PAIRS, beta=BETAS)
def test_formula(name: str, rows: list[Any], beta: float) -> None:
    logps = arrays(rows)
    for b in (beta, mx.array(beta)):
        found = options(name)(logps, b)
        assert found.shape == (len(rows),)
        agrees(found, formula(name, logps, beta, options(name)), scale=1 / beta)


@pytest.mark.parametrize("divergence", F_DIVERGENCES)
@pytest.mark.parametrize("name", ON_DIFFERENCES)
@given(rows=st.lists(st.tuples(LOGP, LOGP, *[st.floats(-3, 3, width=32)] * 2, *[st.integers(1, 99)] * 2), min_size=1))
def test_f_divergences(name: str, divergence: str, rows: list[Any]) -> None:
    logps = arrays(rows)
    for alpha in (0.5, -0.5, 1.5, 2.0) if divergence == "alpha_divergence" else (0.5,):
        loss = options(name, f_divergence_type=divergence, f_alpha_divergence_coef=alpha)
        agrees(loss(logps, 0.1), formula(name, logps, 0.1, loss), scale=10)


@pytest.mark.parametrize("name", ON_DIFFERENCES)
def test_alpha_one_is_reverse_kl(name: str) -> None:
    logps = arrays([(-30.0, -40.0, 2.0, -1.0, 8, 9), (-10.0, -20.0, -3.0, 1.0, 4, 5)])
    near = options(name, f_divergence_type="alpha_divergence", f_alpha_divergence_coef=1.0)
    assert mx.array_equal(near(logps, 0.1), options(name)(logps, 0.1))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_against_differences(name: str) -> None:
    # Margins apart from each other and from hinge's corner, so that no difference crosses a kink.
    rows = [(-30.0, -45.0, 2.0, -1.0, 8, 9), (-10.0, -20.0, -3.0, 1.25, 4, 5), (-70.0, -61.0, 0.5, 0.25, 30, 2)]
    logps, beta, step = arrays(rows), 0.3, 1e-5
    loss = options(name)

    def total(chosen: mx.array, rejected: mx.array) -> mx.array:
        return loss(_with(logps, chosen=chosen, rejected=rejected), beta).sum()

    found = mx.grad(total, argnums=(0, 1))(logps.chosen, logps.rejected)
    for field, gradient in zip(("chosen", "rejected"), found, strict=True):
        base = np.array(getattr(logps, field), np.float64)
        for i in range(len(rows)):
            sides = []
            for sign in (1, -1):
                moved = base.copy()
                moved[i] += sign * step
                sides.append(formula(name, _with(logps, **{field: moved}), beta, loss).sum())
            assert gradient[i].item() == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-3, abs=1e-6)


def _with(logps: Logps, **changes: Any) -> Logps:
    fields = {field: getattr(logps, field) for field in Logps.__slots__}
    return Logps(**{**fields, **changes})


@pytest.mark.parametrize(
    ("name", "divergence"),
    [(n, d) for n in NAMES for d in F_DIVERGENCES if d == "reverse_kl" or n in ON_DIFFERENCES],
)
@pytest.mark.parametrize("tau", [0.05, 3.0])
def test_extremes_stay_finite(name: str, divergence: str, tau: float) -> None:
    loss = options(name, f_divergence_type=divergence, discopop_tau=tau)
    far = [-1e4, 1e4, 0.0]
    logps = arrays([(-1.0, -1.0, up, down, 1, 1) for up in far for down in far])

    def total(chosen: mx.array, rejected: mx.array) -> mx.array:
        return loss(_with(logps, chosen=chosen, rejected=rejected), 0.5).sum()

    value, gradients = mx.value_and_grad(total, argnums=(0, 1))(logps.chosen, logps.rejected)
    assert math.isfinite(value.item())
    for gradient in gradients:
        assert np.isfinite(np.array(gradient)).all()


def test_gradient_of_sigmoid_is_the_known_one() -> None:
    # d/dΔ of -log σ(βΔ) is -β σ(-βΔ): a pair that is won hardly pulls, one that is lost pulls with β.
    zeros, ones, delta = mx.zeros((4,)), mx.ones((4,)), mx.array([-80.0, -1.0, 0.0, 80.0])
    found = mx.grad(lambda d: PairLoss()(Logps(d, zeros, zeros, zeros, ones, ones), 0.5).sum())(delta)
    expected = -0.5 / (1 + np.exp(0.5 * np.array(delta, np.float64)))
    np.testing.assert_allclose(np.array(found), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("name", "smoothing"), [("sigmoid", 0.0), ("cdpo", 0.1), ("cdpo", 0.49), ("robust", 0.3)])
def test_equal_log_ratios_cost_log_two(name: str, smoothing: float) -> None:
    logps = arrays([(-3.25, -9.0, 1.5, 1.5, 5, 9), (-1.0, -1.0, 0.0, 0.0, 1, 1)])
    np.testing.assert_allclose(PairLoss((name,), label_smoothing=smoothing)(logps, 0.1), math.log(2), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_where_policy_and_reference_are_equal(name: str) -> None:
    found = options(name).at_start(0.3)
    logps = arrays([(-30.0, -45.0, 0.0, 0.0, 8, 9), (-10.0, -20.0, 0.0, 0.0, 4, 5)])
    if name == "sft":
        assert found is None
    else:
        np.testing.assert_allclose(options(name)(logps, 0.3), found, rtol=1e-6)
    for changes in ({"reference_free": True}, {"use_weighting": True}):
        assert options(name, **changes).at_start(0.3) is None


@pytest.mark.parametrize("name", ["cdpo", "robust"])
def test_without_smoothing_it_is_the_sigmoid_loss(name: str) -> None:
    logps = arrays([(-30.0, -45.0, 2.0, -1.0, 8, 9), (-10.0, -20.0, -30.0, 1.25, 4, 5)])
    np.testing.assert_allclose(PairLoss((name,))(logps, 0.1), PairLoss()(logps, 0.1), rtol=1e-6)


def test_hinge_is_zero_from_margin_one_on() -> None:
    logps = arrays([(0.0, 0.0, 10.0, 0.0, 1, 1), (0.0, 0.0, 9.0, 0.0, 1, 1), (0.0, 0.0, 20.0, 0.0, 1, 1)])
    np.testing.assert_allclose(PairLoss(("hinge",))(logps, 0.1), [0.0, 0.1, 0.0], atol=1e-6)


def test_several_losses_add_up_with_their_weights() -> None:
    logps = arrays([(-30.0, -45.0, 2.0, -1.0, 8, 9), (-10.0, -20.0, -3.0, 1.25, 4, 5)])
    names, weights = ("sigmoid", "bco_pair", "sft"), (0.8, 0.2, 1.0)
    parts = [weight * PairLoss((name,))(logps, 0.1) for name, weight in zip(names, weights, strict=True)]
    np.testing.assert_allclose(PairLoss(names, weights)(logps, 0.1), sum(parts), rtol=1e-6)


def test_weighting_multiplies_each_pair_and_wants_its_likelihood() -> None:
    logps = arrays([(-30.0, -45.0, 2.0, -1.0, 8, 9), (-10.0, -20.0, -3.0, 1.25, 4, 5)])
    loss = PairLoss(use_weighting=True)
    with pytest.raises(ValueError, match="likelihood"):
        loss(logps, 0.1)
    found = loss(_with(logps, likelihood=mx.array([0.5, 0.25])), 0.1)
    np.testing.assert_allclose(found, PairLoss()(logps, 0.1) * mx.array([0.5, 0.25]), rtol=1e-6)


def test_sft_takes_the_unweighted_sum_of_the_chosen_response() -> None:
    logps = arrays([(-30.0, -45.0, 2.0, -1.0, 8, 9), (-10.0, -20.0, -3.0, 1.25, 4, 5)])
    found = PairLoss(("sft",), ld_alpha=0.5)(_with(logps, chosen_whole=mx.array([-40.0, -20.0])), 0.1)
    np.testing.assert_allclose(found, [5.0, 5.0])


def test_a_compiled_loss_takes_each_beta() -> None:
    logps = arrays([(-30.0, -45.0, 2.0, -1.0, 8, 9)])
    for name in NAMES:
        loss = options(name)
        compiled = mx.compile(lambda chosen, beta, loss=loss: loss(_with(logps, chosen=chosen), beta))
        for beta in (0.1, 0.7):
            expected = loss(logps, beta)
            np.testing.assert_allclose(compiled(logps.chosen, mx.array(beta)), expected, rtol=1e-5, err_msg=name)


def test_a_configuration_s_loss_and_its_words() -> None:
    config = tiny.dpo_config(
        training_loss_type=["robust", "sft"], training_loss_weights=[0.8, 1.0], training_label_smoothing=0.1,
        training_f_divergence_type="alpha_divergence", training_ld_alpha=0.5, training_reference_free=True,
        training_use_weighting=True,
    )  # fmt: skip
    loss = PairLoss.of(config.training)
    assert loss == PairLoss(
        ("robust", "sft"), (0.8, 1.0), 0.1, "alpha_divergence", reference_free=True, ld_alpha=0.5, use_weighting=True
    )
    words = str(loss)
    assert words.startswith("0.8 robust + sft, label smoothing 0.1, alpha_divergence with α = 0.5, ")
    for part in ("LD-DPO", "WPO", "reference-free: its log-probs are taken as 0"):
        assert part in words
    assert str(PairLoss.of(tiny.dpo_config().training)) == "sigmoid"
