"""Supervised fine-tuning as an objective: negative log-likelihood of response tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from core.data.batches import Size, arrays, collate, in_order
from core.data.tokenize import Tokens
from core.models.head import Head

Array = mx.array


class SFT:
    """Trains `model` on the responses of the examples; an Objective of the loop whose examples are tokens."""

    def __init__(
        self,
        model: nn.Module,
        train: Sequence[Tokens],
        validation: Sequence[Tokens],
        *,
        batch_size: Size,
        write_model: Callable[[Path], None],
    ) -> None:
        self.model = model
        self.lengths = [example.length for example in train]
        self.write_model = write_model
        self._train = train
        self._validation = validation
        self._batch_size = batch_size
        self._head = Head(model)

    @property
    def doing(self) -> str:
        return "training"

    def pieces(self, indices: list[int]) -> list[list[int]]:
        return [indices]

    def batch(self, indices: list[int]) -> tuple[Array, ...]:
        """ids, positions, targets, rows, weights."""
        return arrays(collate(self._train, indices))

    def tokens(self, indices: list[int]) -> int:
        return sum(self.lengths[i] for i in indices)

    def loss(self, *batch: Array) -> tuple[Array, Array, dict[str, Array]]:
        """Summed negative log-likelihood (nats) and the number of response tokens."""
        ids, positions, targets, _, weights = batch
        logps, _ = self._head.logps(self._head.features(ids, positions), targets)
        return -(logps * weights).sum(), weights.sum(), {}

    def evaluate(self, step: int, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """Mean negative log-likelihood per response token, and perplexity, its exponential."""
        total = tokens = 0.0
        for indices in in_order([example.length for example in self._validation], self._batch_size):
            if interrupted():
                return None
            loss, count, _ = self.loss(*arrays(collate(self._validation, indices)))
            total += float(loss)
            tokens += float(count)
        mean = total / tokens
        return {"eval_loss": mean, "eval_perplexity": math.exp(mean) if mean < 700 else math.inf}

    def score(self, evaluation: dict[str, float]) -> float | None:
        """The lower the validation loss, the better."""
        return -evaluation["eval_loss"]
