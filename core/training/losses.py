"""DPO losses of one pair, from summed log-probs under policy and reference. Names as in TRL 1.16."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

Array = mx.array


def sigmoid(chosen: Array, rejected: Array, tokens: tuple[Array, Array], beta: float, smoothing: float) -> Array:
    """-log σ(β·Δ), Δ = chosen - rejected (Rafailov et al. 2023, eq. 7).

    With label smoothing ε it is conservative DPO: -(1-ε) log σ(β·Δ) - ε log σ(-β·Δ) (Mitchell 2023).
    """
    z = beta * (chosen - rejected)
    loss: Array = nn.softplus(-z)
    if smoothing:
        loss = (1 - smoothing) * loss + smoothing * nn.softplus(z)
    return loss


def ipo(chosen: Array, rejected: Array, tokens: tuple[Array, Array], beta: float, smoothing: float) -> Array:
    """(Δ - 1/(2β))² with log-ratios averaged over tokens (Azar et al. 2023, eq. 17; the mean as in TRL)."""
    delta = chosen / tokens[0] - rejected / tokens[1]
    return mx.square(delta - 1 / (2 * beta))


def hinge(chosen: Array, rejected: Array, tokens: tuple[Array, Array], beta: float, smoothing: float) -> Array:
    """max(0, 1 - β·Δ) (SLiC, Zhao et al. 2023, with DPO's margin)."""
    return mx.maximum(1 - beta * (chosen - rejected), 0)


# Each takes (B,) log-ratios log π_θ - log π_ref of the chosen and the rejected responses (nats, summed over tokens),
# the (B,) numbers of their tokens, β and the label smoothing, and gives (B,) losses.
LOSSES: dict[str, Callable[[Array, Array, tuple[Array, Array], float, float], Array]] = {
    "sigmoid": sigmoid,
    "ipo": ipo,
    "hinge": hinge,
}
