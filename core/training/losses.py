"""Losses on pairs, from summed log-probs under policy and reference. Names, options and values are TRL 1.16's.

`cdpo` is ours by name: conservative DPO, which TRL had as the sigmoid loss with label smoothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import mlx.nn as nn

if TYPE_CHECKING:
    from core.config.dpo import DPOTraining

Array = mx.array

# exp() of more than this is not taken: it stays in float32's range, and TRL stops at the same place.
LARGEST_EXPONENT = 80.0

# Per-token scores beyond this are not squared: an f-divergence's score can reach exp(80).
LARGEST_SQUARED = 1e18


@dataclass(frozen=True, slots=True)
class Logps:
    """What a loss sees of B pairs, each (B,) in float32: summed log-probs of the responses in nats, and their lengths.

    Attributes:
        chosen, rejected: under the policy. With `ld_alpha` positions past the shorter response's length already carry
            that weight, here and under the reference.
        reference_chosen, reference_rejected: under the reference; zeros where there is none.
        chosen_tokens, rejected_tokens: true lengths, whatever `ld_alpha` weighs.
        chosen_whole: the policy's log-prob of the chosen response without `ld_alpha`'s weights, which `sft` wants;
            None: the same as `chosen`.
        likelihood: product of WPO's weights of both responses, exp of the mean over tokens of log p - log Σ_v p_v²,
            without gradient; None where WPO is off.
    """

    chosen: Array
    rejected: Array
    reference_chosen: Array
    reference_rejected: Array
    chosen_tokens: Array
    rejected_tokens: Array
    chosen_whole: Array | None = None
    likelihood: Array | None = None


@dataclass(frozen=True, slots=True)
class PairLoss:
    """The loss of a run: one or several of LOSSES, weighted. Pure functions of arrays, so that they can be compiled.

    The names are the configuration's (section `training`).
    """

    types: tuple[str, ...] = ("sigmoid",)
    weights: tuple[float, ...] = (1.0,)
    label_smoothing: float = 0.0
    f_divergence_type: str = "reverse_kl"
    f_alpha_divergence_coef: float = 0.5
    discopop_tau: float = 0.05
    reference_free: bool = False
    ld_alpha: float | None = None
    use_weighting: bool = False

    @classmethod
    def of(cls, training: DPOTraining) -> PairLoss:
        """The loss that a configuration asks for."""
        types = training.loss_types
        return cls(
            types=types,
            weights=tuple(training.loss_weights or [1.0] * len(types)),
            label_smoothing=training.label_smoothing,
            f_divergence_type=training.f_divergence_type,
            f_alpha_divergence_coef=training.f_alpha_divergence_coef,
            discopop_tau=training.discopop_tau,
            reference_free=training.reference_free,
            ld_alpha=training.ld_alpha,
            use_weighting=training.use_weighting,
        )

    def __call__(self, logps: Logps, beta: Array | float) -> Array:
        """(B,) losses, whose mean is TRL's loss of the batch.

        Args:
            beta: β; an array where it changes from step to step, or a compiled step would keep its first value.
        """
        likelihood = logps.likelihood if self.use_weighting else None
        if self.use_weighting and likelihood is None:
            raise ValueError("use_weighting wants the likelihood of each pair")
        chosen = logps.chosen - logps.reference_chosen
        rejected = logps.rejected - logps.reference_rejected
        pairs = _Pairs(logps, chosen, rejected, self._score(chosen), self._score(rejected), beta)
        total: Array = mx.zeros_like(chosen)
        for name, weight in zip(self.types, self.weights, strict=True):
            loss = LOSSES[name](pairs, self)
            if likelihood is not None:
                loss = loss * likelihood
            total = total + (loss if weight == 1.0 else weight * loss)
        return total

    @property
    def by_pair(self) -> bool:
        """Whether a pair's loss is the same in whatever batch it is."""
        return not {"aot", "aot_unpaired", "sft"} & set(self.types)

    def at_start(self, beta: float) -> float | None:
        """The loss where policy and reference are equal; None where it depends on the pairs even then."""
        if "sft" in self.types or self.use_weighting or self.reference_free:
            return None
        zero, one = mx.zeros(1), mx.ones(1)
        return float(self(Logps(zero, zero, zero, zero, one, one), beta).sum())

    def __str__(self) -> str:
        """What is trained on, in words for the log: `0.8 sigmoid + 0.2 sft, label smoothing 0.1`."""
        terms = [
            name if weight == 1.0 else f"{weight:g} {name}"
            for name, weight in zip(self.types, self.weights, strict=True)
        ]
        words = [" + ".join(terms)]
        if self.label_smoothing:
            words.append(f"label smoothing {self.label_smoothing:g}")
        if self.f_divergence_type != "reverse_kl":
            alpha = f" with α = {self.f_alpha_divergence_coef:g}" if self.f_divergence_type[0] == "a" else ""
            words.append(f"{self.f_divergence_type}{alpha}")
        if self.ld_alpha is not None:
            words.append(f"LD-DPO with α = {self.ld_alpha:g}")
        if self.use_weighting:
            words.append("weighted by likelihood (WPO)")
        if self.reference_free:
            words.append("reference-free: its log-probs are taken as 0")
        return ", ".join(words)

    def _score(self, log_ratio: Array) -> Array:
        """f'(u) of the divergence, u = π_θ / π_ref, up to a constant that cancels (Wang et al. 2023, f-DPO)."""
        match self.f_divergence_type:
            case "forward_kl":
                return 1 - _exp(-log_ratio)
            case "js_divergence":
                return math.log(2) - _minus_log_sigmoid(log_ratio)
            case "alpha_divergence" if abs(self.f_alpha_divergence_coef - 1) >= 1e-6:
                power = self.f_alpha_divergence_coef - 1
                return (_exp(power * log_ratio) - 1) / power
            case _:  # reverse_kl, and the α-divergence's limit at 1
                return log_ratio


@dataclass(frozen=True, slots=True)
class _Pairs:
    """A batch as the losses take it: log-ratios log π_θ - log π_ref, and their scores under the f-divergence."""

    logps: Logps
    chosen: Array
    rejected: Array
    chosen_score: Array
    rejected_score: Array
    beta: Array | float

    @property
    def logit(self) -> Array:
        """β·Δ, by which the chosen response is ahead."""
        return self.beta * (self.chosen_score - self.rejected_score)

    @property
    def delta_per_token(self) -> Array:
        """Δ with scores averaged over tokens."""
        return self.chosen_score / self.logps.chosen_tokens - self.rejected_score / self.logps.rejected_tokens


def _exp(exponent: Array) -> Array:
    return mx.exp(mx.minimum(exponent, LARGEST_EXPONENT))


def _minus_log_sigmoid(z: Array) -> Array:
    loss: Array = nn.softplus(-z)
    return loss


def _smoothed(z: Array, smoothing: float) -> Array:
    """-(1-ε) log σ(z) - ε log σ(-z)."""
    loss = _minus_log_sigmoid(z)
    return (1 - smoothing) * loss + smoothing * _minus_log_sigmoid(-z) if smoothing else loss


def sigmoid(pairs: _Pairs, options: PairLoss) -> Array:
    """-log σ(β·Δ) (Rafailov et al. 2023, eq. 7)."""
    return _minus_log_sigmoid(pairs.logit)


def cdpo(pairs: _Pairs, options: PairLoss) -> Array:
    """-(1-ε) log σ(β·Δ) - ε log σ(-β·Δ): a share ε of the labels is taken to be wrong (Mitchell 2023)."""
    return _smoothed(pairs.logit, options.label_smoothing)


def robust(pairs: _Pairs, options: PairLoss) -> Array:
    """(-(1-ε) log σ(β·Δ) + ε log σ(-β·Δ)) / (1-2ε), unbiased under labels flipped at rate ε (Chowdhury et al. 2024)."""
    z, smoothing = pairs.logit, options.label_smoothing
    clean, flipped = _minus_log_sigmoid(z), _minus_log_sigmoid(-z)
    return ((1 - smoothing) * clean - smoothing * flipped) / (1 - 2 * smoothing)


def hinge(pairs: _Pairs, options: PairLoss) -> Array:
    """max(0, 1 - β·Δ) (SLiC, Zhao et al. 2023, with DPO's margin)."""
    return mx.maximum(1 - pairs.logit, 0)


def ipo(pairs: _Pairs, options: PairLoss) -> Array:
    """(Δ - 1/(2β))² with scores averaged over tokens (Azar et al. 2023, eq. 17; the mean as in TRL)."""
    error = pairs.delta_per_token - 1 / (2 * pairs.beta)
    return mx.square(mx.clip(error, -LARGEST_SQUARED, LARGEST_SQUARED))


def sigmoid_norm(pairs: _Pairs, options: PairLoss) -> Array:
    """-log σ(β·Δ) with scores averaged over tokens."""
    return _minus_log_sigmoid(pairs.beta * pairs.delta_per_token)


def exo_pair(pairs: _Pairs, options: PairLoss) -> Array:
    """KL of (σ(β·Δ), σ(-β·Δ)) against (1-ε, ε) (Ji et al. 2024, eq. 16)."""
    z, smoothing = pairs.logit, options.label_smoothing
    won = mx.sigmoid(z) * (-_minus_log_sigmoid(z) - math.log1p(-smoothing))
    lost = mx.sigmoid(-z) * (-_minus_log_sigmoid(-z) - math.log(smoothing))
    return won + lost


def nca_pair(pairs: _Pairs, options: PairLoss) -> Array:
    """-log σ(r_w) - ½ log σ(-r_w) - ½ log σ(-r_l), r = β·log-ratio (Chen et al. 2024)."""
    chosen, rejected = pairs.beta * pairs.chosen, pairs.beta * pairs.rejected
    return _minus_log_sigmoid(chosen) + 0.5 * _minus_log_sigmoid(-chosen) + 0.5 * _minus_log_sigmoid(-rejected)


def bco_pair(pairs: _Pairs, options: PairLoss) -> Array:
    """-log σ(r_w) - log σ(-r_l), r = β·log-ratio, without a reward shift (Jung et al. 2024)."""
    return _minus_log_sigmoid(pairs.beta * pairs.chosen) + _minus_log_sigmoid(-pairs.beta * pairs.rejected)


def sppo_hard(pairs: _Pairs, options: PairLoss) -> Array:
    """(log-ratio_w - 1/(2β))² + (log-ratio_l + 1/(2β))² (Wu et al. 2024, eq. 4.7 with hard labels)."""
    half = 0.5 / pairs.beta
    return mx.square(pairs.chosen - half) + mx.square(pairs.rejected + half)


def aot(pairs: _Pairs, options: PairLoss) -> Array:
    """Smoothed sigmoid loss on the sorted margins of policy and reference in the batch (Melnyk et al. 2024).

    The i-th largest margin is held against the i-th largest, so a loss belongs to the batch and not to one pair.
    """
    logps = pairs.logps
    policy = mx.sort(logps.chosen - logps.rejected)
    reference = mx.sort(logps.reference_chosen - logps.reference_rejected)
    return _smoothed(pairs.beta * (policy - reference), options.label_smoothing)


def aot_unpaired(pairs: _Pairs, options: PairLoss) -> Array:
    """The same on the sorted log-ratios of chosen and of rejected responses in the batch."""
    return _smoothed(pairs.beta * (mx.sort(pairs.chosen) - mx.sort(pairs.rejected)), options.label_smoothing)


def apo_zero(pairs: _Pairs, options: PairLoss) -> Array:
    """1 - σ(r_w) + σ(r_l): chosen up, rejected down (D'Oosterlinck et al. 2024, eq. 7)."""
    return mx.sigmoid(-pairs.beta * pairs.chosen) + mx.sigmoid(pairs.beta * pairs.rejected)


def apo_down(pairs: _Pairs, options: PairLoss) -> Array:
    """σ(r_w) + 1 - σ(r_w - r_l): both down, the rejected one further (D'Oosterlinck et al. 2024, eq. 8)."""
    return mx.sigmoid(pairs.beta * pairs.chosen) + mx.sigmoid(-pairs.beta * (pairs.chosen - pairs.rejected))


def discopop(pairs: _Pairs, options: PairLoss) -> Array:
    """(1-m)·(-log σ(z)) + m·exp(-z), m = σ(z/τ), z = β·Δ (Lu et al. 2024, eq. 5).

    m·exp(-z) is taken as one exponential: for a pair far behind exp(-z) alone overflows where m vanishes.
    """
    z = pairs.logit
    scaled = z / options.discopop_tau
    return mx.sigmoid(-scaled) * _minus_log_sigmoid(z) + _exp(-z - _minus_log_sigmoid(scaled))


def sft(pairs: _Pairs, options: PairLoss) -> Array:
    """Negative log-likelihood of the chosen responses, the mean over the batch's tokens, for every pair the same."""
    logps = pairs.logps
    whole = logps.chosen if logps.chosen_whole is None else logps.chosen_whole
    return mx.broadcast_to(-whole.sum() / logps.chosen_tokens.sum(), whole.shape)


LOSSES: dict[str, Callable[[_Pairs, PairLoss], Array]] = {
    "sigmoid": sigmoid,
    "cdpo": cdpo,
    "robust": robust,
    "hinge": hinge,
    "ipo": ipo,
    "sigmoid_norm": sigmoid_norm,
    "exo_pair": exo_pair,
    "nca_pair": nca_pair,
    "bco_pair": bco_pair,
    "sppo_hard": sppo_hard,
    "aot": aot,
    "aot_unpaired": aot_unpaired,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "discopop": discopop,
    "sft": sft,
}
