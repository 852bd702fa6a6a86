"""A reward model as an objective: of two responses the chosen one should get the higher reward."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt

from core.data.batches import Size, collate, in_order
from core.data.pairs import Pair
from core.data.tokenize import Limits, Tokens, tokenize
from core.models.reward_head import RewardModel
from core.training.ranks import ALONE, Ranks

Array = mx.array
Scores = npt.NDArray[np.float64]

# Rewards nearer to each other than this are a tie: the same sequence in two rows of a batch differs by 3e-6 at a reward
# of 8, for BLAS adds in another order.
TIE = 1e-4

# Responses are never cut: the reward would be read off before their end.
WHOLE = 1 << 30


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses as token ids. The chosen one should be ahead by `margin`; `line` is where the pair stands."""

    line: int
    tokens: Tokens
    margin: float = 0.0

    @property
    def length(self) -> int:
        return self.tokens.length


def compare(tokenizer: Any, pair: Pair, *, max_prompt_length: int | None, chat: bool) -> Tokens:
    """A pair as TRL's RewardTrainer tokenizes it: plain text ends with EOS, a chat as its template ends it.

    Raises:
        TemplateRefusal: the chat template does not take the pair.
    """
    limits = Limits(max_prompt_length or WHOLE, WHOLE)
    return tokenize(tokenizer, pair.prompt, (pair.chosen, pair.rejected), limits, chat=chat, closed=False)


class Reward:
    """Trains `model` on comparisons by the Bradley-Terry loss; an Objective of the loop whose examples are pairs.

    The loss of a pair is -log σ(r_w - r_l - margin) + c·(r_w + r_l)², with c the coefficient `center` that keeps
    rewards around 0. Metrics as TRL names them; `min_reward` and `max_reward` are means over batches in training, and
    the extremes of all pairs in evaluations.
    """

    def __init__(
        self,
        model: RewardModel,
        train: Sequence[Comparison],
        validation: Sequence[Comparison],
        *,
        center: float,
        batch_size: Size,
        write_model: Callable[[Path], None],
        ranks: Ranks = ALONE,
    ) -> None:
        self.model: nn.Module = model
        self.lengths = [pair.length for pair in train]
        self.write_model = write_model
        self._rewards = model
        self._train = train
        self._validation = validation
        self._center = center
        self._batch_size = batch_size
        self._ranks = ranks

    @property
    def doing(self) -> str:
        return "training"

    def pieces(self, indices: list[int]) -> list[list[int]]:
        return [indices]

    def batch(self, indices: list[int]) -> tuple[Array, ...]:
        """ids and positions of the chosen, then of the rejected responses, and the margins."""
        pairs = [self._train[i] for i in indices]
        return (*rows(self._rewards, [pair.tokens for pair in pairs]), mx.array([pair.margin for pair in pairs]))

    def tokens(self, indices: list[int]) -> int:
        found = [self._train[i].tokens for i in indices]
        return sum(len(pair.prompt) + len(response) for pair in found for response in pair.responses)

    def loss(self, *inputs: Array) -> tuple[Array, Array, dict[str, Array]]:
        ids, positions, margins = inputs
        rewards = self._rewards(ids, positions)
        chosen, rejected = mx.split(rewards, 2)
        loss = nn.softplus(margins - (chosen - rejected))
        if self._center:
            loss = loss + self._center * mx.square(chosen + rejected)
        delta, rewards = mx.stop_gradient(chosen - rejected), mx.stop_gradient(rewards)
        pairs = margins.shape[0]
        sums = {
            "accuracy": mx.where(mx.abs(delta) < TIE, 0.5, (delta > 0).astype(mx.float32)).sum(),
            "margin": delta.sum(),
            "min_reward": pairs * rewards.min(),
            "mean_reward": pairs * rewards.mean(),
            "max_reward": pairs * rewards.max(),
        }
        return loss.sum(), mx.array(float(pairs)), sums

    def evaluate(self, step: int, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """The same over the validation pairs."""
        own = self._ranks.mine(range(len(self._validation)), 0)
        mine = rewards_of(self._rewards, [self._validation[i].tokens for i in own], self._batch_size, interrupted)
        note = None if mine is None else {"of": own, "rewards": mine.tolist()}
        said = [one["evaluation"] for one in self._ranks.gather("evaluation", {"evaluation": note})]
        found = np.zeros((len(self._validation), 2))
        for one in said:
            if one is None:
                return None
            if one["of"]:
                found[one["of"]] = one["rewards"]
        margins = np.array([pair.margin for pair in self._validation])
        values = {"loss": self._mean_loss(found, margins), **summary(found)}
        return {f"eval_{name}": value for name, value in values.items()}

    def score(self, evaluation: dict[str, float]) -> float | None:
        """The lower the validation loss, the better."""
        return -evaluation["eval_loss"]

    def _mean_loss(self, rewards: Scores, margins: Scores) -> float:
        chosen, rejected = rewards[:, 0], rewards[:, 1]
        loss = np.logaddexp(0, margins - (chosen - rejected)) + self._center * (chosen + rejected) ** 2
        return float(loss.mean())


def rows(model: RewardModel, pairs: Sequence[Tokens]) -> tuple[Array, Array]:
    """Token ids (2B, T), the B chosen sequences first, and where their rewards are read off, (2B,)."""
    batch = collate(pairs, range(len(pairs)))
    width = batch.ids.shape[1]
    sequences = [pair.prompt + pair.responses[which] for which in (0, 1) for pair in pairs]
    positions = [row * width + model.last(sequence) for row, sequence in enumerate(sequences)]
    return mx.array(batch.ids), mx.array(positions, mx.int32)


def rewards_of(
    model: RewardModel,
    pairs: Sequence[Tokens],
    batch_size: Size,
    interrupted: Callable[[], bool] = lambda: False,
) -> Scores | None:
    """Rewards of chosen and rejected responses, (pairs, 2), in their order; None when interrupted on the way."""
    found = np.full((len(pairs), 2), math.nan)
    for indices in in_order([pair.length for pair in pairs], batch_size):
        if interrupted():
            return None
        rewards = model(*rows(model, [pairs[i] for i in indices]))
        found[indices] = np.array(rewards, np.float64).reshape(2, -1).T
    return found


def summary(rewards: Scores) -> dict[str, float]:
    """What (pairs, 2) rewards come to, under TRL's names; a tie is half right."""
    delta = rewards[:, 0] - rewards[:, 1]
    return {
        "accuracy": float(np.where(np.abs(delta) < TIE, 0.5, delta > 0).mean()),
        "margin": float(delta.mean()),
        "min_reward": float(rewards.min()),
        "mean_reward": float(rewards.mean()),
        "max_reward": float(rewards.max()),
    }
