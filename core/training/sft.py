"""Supervised fine-tuning as an objective: negative log-likelihood of response tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from core.data.batches import Size, arrays, collate, in_order, pieces
from core.data.packing import Packed, collate_rows, rows_of
from core.data.tokenize import Tokens
from core.models.head import Head
from core.models.packing import caches, obstacle
from core.training.forward import PIECE
from core.training.ranks import ALONE, Ranks

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
        packed: Packed | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """`packed`: how training examples are packed into rows, where the model can do it."""
        self.model = model
        self.lengths = [example.length for example in train]
        self.write_model = write_model
        self._train = train
        self._validation = validation
        self._batch_size = batch_size
        self._head = Head(model)
        self._ranks = ranks
        self.why_not_packed = obstacle(model, self._head) if packed is not None else ""
        self._packed = None if self.why_not_packed else packed
        self._row_by_row = self._packed is not None and obstacle(model, self._head, rows=2) != ""

    @property
    def doing(self) -> str:
        return "training"

    @property
    def size(self) -> Size:
        """How large training batches are."""
        return self._packed or self._batch_size

    def pieces(self, indices: list[int]) -> list[list[int]]:
        """On a GPU whole, on the CPU without padding to spare or row by row."""
        on_gpu = mx.default_device() == mx.Device(mx.gpu)
        if self._packed is not None and (self._row_by_row or not on_gpu):
            return rows_of(indices, self.lengths, self._packed.width)
        return [indices] if on_gpu else pieces(self.lengths, indices, PIECE)

    def batch(self, indices: list[int]) -> tuple[Array, ...]:
        """ids, positions, targets, rows, weights; and of packed rows which example of the row each token is of."""
        if self._packed is None:
            return arrays(collate(self._train, indices))
        width = self._packed.width
        batch, segments = collate_rows(self._train, rows_of(indices, self.lengths, width), width)
        return (*arrays(batch), mx.array(segments))

    def tokens(self, indices: list[int]) -> int:
        return sum(self.lengths[i] for i in indices)

    def loss(self, *batch: Array) -> tuple[Array, Array, dict[str, Array]]:
        """Summed negative log-likelihood (nats) and the number of response tokens."""
        ids, positions, targets, _, weights, *segments = batch
        cache = caches(self.model, segments[0]) if segments else None
        logps, _ = self._head.logps(self._head.features(ids, positions, cache), targets)
        return -(logps * weights).sum(), weights.sum(), {}

    def evaluate(self, step: int, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """Mean negative log-likelihood per response token, and perplexity, its exponential."""
        sums = self._ranks.add_up("evaluation", self._evaluate(interrupted))
        if sums is None:
            return None
        mean = sums["total"] / sums["tokens"]
        return {"eval_loss": mean, "eval_perplexity": math.exp(mean) if mean < 700 else math.inf}

    def _evaluate(self, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """Sums over this rank's part of the validation examples."""
        total = tokens = 0.0
        for number, batch in enumerate(in_order([example.length for example in self._validation], self._batch_size)):
            if interrupted():
                return None
            indices = self._ranks.mine(batch, number)
            if not indices:
                continue
            ids, positions, targets, _, weights = arrays(collate(self._validation, indices))
            logps, _ = self._head.measure(self._head.features(ids, positions), targets)
            total -= float((logps * weights).sum())
            tokens += float(weights.sum())
        return {"total": total, "tokens": tokens}

    def score(self, evaluation: dict[str, float]) -> float | None:
        """The lower the validation loss, the better."""
        return -evaluation["eval_loss"]
