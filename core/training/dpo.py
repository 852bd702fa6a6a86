"""DPO as an objective: pairs under policy and reference; rewards, margins and exact KL."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from core.data.batches import Batch, arrays, collate, in_order
from core.data.tokenize import Tokens
from core.evaluation.intervals import Z
from core.generation.sampling import sample
from core.models.head import Head
from core.models.reference import Reference
from core.training.logprobs import response_logps, row_sums
from core.training.losses import Logps, PairLoss

Array = mx.array

# A difference of log-ratios below this (nats) is float noise: at step 0 policy and reference are the same.
TIE = 1e-3

# Memory for what enters the reference's head on the validation pairs; beyond it, it is computed at each evaluation.
FEATURES_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class PolicyKL:
    """Exact KL on the policy's own responses: nats per token with its 95 % interval."""

    mean: float
    low: float
    high: float
    responses: int
    tokens: int


class DPO:
    """Trains `model` on pairs against `reference`; an Objective of the loop.

    Reference log-probs of a pair are computed when it is first met and remembered, also across a resume: computed
    again in another batch they would differ in the last bit.
    """

    def __init__(
        self,
        model: nn.Module,
        reference: Reference,
        train: Sequence[Tokens],
        validation: Sequence[Tokens],
        *,
        loss: PairLoss,
        beta: float,
        batch_size: int,
        kl_target: float,
        write_model: Callable[[Path], None],
    ) -> None:
        self.model = model
        self.lengths = [pair.length for pair in train]
        # (pairs, 2) summed log-probs of chosen and rejected under the reference; NaN where not yet computed.
        self.memory = {"train": _unknown(len(train)), "validation": _unknown(len(validation))}
        self.write_model = write_model
        self._reference = reference
        self._train = train
        self._validation = validation
        self.beta = beta
        self._loss = loss
        self._batch_size = batch_size
        self._kl_target = kl_target
        self._head = Head(model)
        self._features: dict[int, Array] = {}
        self._features_full = False

    def batch(self, indices: list[int]) -> tuple[Array, ...]:
        """ids, positions, targets, rows, weights, β (which may change), and the (B, 2) reference log-probs."""
        batch = collate(self._train, indices)
        return (*arrays(batch), mx.array(self.beta), self._train_reference(batch))

    def tokens(self, indices: list[int]) -> int:
        return sum(len(r) + len(self._train[i].prompt) for i in indices for r in self._train[i].responses)

    def loss(self, *inputs: Array) -> tuple[Array, Array, dict[str, Array]]:
        *batch, beta, reference = inputs
        logps, counts = response_logps(self._head, *batch)
        return _loss(self._loss, beta, logps, counts, reference)

    def precompute(self, interrupted: Callable[[], bool], progress: Callable[[int, int], None]) -> bool:
        """Fill the reference log-probs of all pairs at once, with the reference in place only once.

        Returns False when interrupted.
        """
        batches = in_order([pair.length for pair in self._train], self._batch_size)
        with self._reference.on():
            for number, indices in enumerate(batches):
                if interrupted():
                    return False
                batch = collate(self._train, indices)
                self._remember("train", batch, self._row_logps(batch)[0])
                progress(number + 1, len(batches))
            return self._fill_validation(interrupted)

    def evaluate(self, step: int, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """Loss and rewards over the validation pairs, and exact KL on their chosen responses (nats per token).

        A pair costs one forward pass of the policy: what enters the reference's head never changes and is remembered.
        """
        if not self._look_ahead(interrupted):
            return None
        sums: dict[str, float] = {}
        kl = tokens = 0.0
        margins: list[float] = []
        for number, indices in enumerate(in_order([pair.length for pair in self._validation], self._batch_size)):
            if interrupted():
                return None
            batch = collate(self._validation, indices)
            reference, theirs = self._reference_on_validation(number, batch)
            logps, counts, features = self._row_logps(batch)
            if self._loss.reference_free:
                reference = mx.zeros_like(reference)
            loss, _, metrics = _loss(self._loss, mx.array(self.beta), logps, counts, reference)
            chosen, rejected = logps[: len(indices)], logps[len(indices) :]
            metrics["preference_accuracy"] = (chosen > rejected).sum()
            margin = self.beta * (chosen - rejected - reference[:, 0] + reference[:, 1])
            mx.eval(loss, metrics, margin)
            for key, value in {"loss": loss, **metrics}.items():
                sums[key] = sums.get(key, 0.0) + float(value)
            margins += np.array(margin).tolist()
            kl += float(self._kl_per_token(features[: theirs.shape[0]], theirs).sum())
            tokens += theirs.shape[0]
        pairs = len(self._validation)
        found = {f"eval_{key}": value / pairs for key, value in sums.items()}
        deviation = float(np.std(margins, ddof=1)) if pairs > 1 else 0.0
        return {**found, "kl_divergence": kl / tokens, "_margins_deviation": deviation}

    def score(self, evaluation: dict[str, float]) -> float | None:
        """The validation margin, among models within the KL limit."""
        margin = evaluation["eval_rewards/margins"]
        # A KL that is no number is not within the limit.
        return margin if evaluation["kl_divergence"] <= self._kl_target and math.isfinite(margin) else None

    def policy_kl(
        self, tokenizer: Any, count: int, max_tokens: int, seed: int, interrupted: Callable[[], bool]
    ) -> PolicyKL | None:
        """Exact KL on responses sampled from the policy at temperature 1: what KL(π_θ ‖ π_ref) is.

        Args:
            count: how many responses; validation prompts in turn, from the first on.
            max_tokens: longest response.
        """
        prompts = [self._validation[i % len(self._validation)].prompt for i in range(count)]
        self.model.eval()
        # The order of prompts in the file may mean something; a mixed draw covers it.
        prompts = [prompts[i] for i in np.random.default_rng(seed).permutation(len(prompts))]
        samples = sample(self.model, tokenizer, prompts, max_tokens=max_tokens, temperature=1.0, seed=seed)
        batches = [collate(samples, indices) for indices in in_order([s.length for s in samples], self._batch_size)]
        ours = self._all_features(batches, interrupted)
        with self._reference.on():
            theirs = self._all_features(batches, interrupted)
        if ours is None or theirs is None:
            return None
        per_token = np.array(self._kl_per_token(mx.concatenate(ours), mx.concatenate(theirs)))
        lengths = [len(samples[i].responses[0]) for batch in batches for i in batch.indices]
        per_response = [(part.sum(), len(part)) for part in np.split(per_token, np.cumsum(lengths)[:-1])]
        kl = np.array([k for k, _ in per_response])
        tokens = np.array([n for _, n in per_response])
        mean = kl.sum() / tokens.sum()
        # Ratio estimator: responses are the independent units, tokens within one are not.
        spread = Z * float(np.sqrt(((kl - mean * tokens) ** 2).sum()) / tokens.sum())
        return PolicyKL(float(mean), max(0.0, float(mean) - spread), float(mean) + spread, count, int(tokens.sum()))

    def _all_features(self, batches: list[Batch], interrupted: Callable[[], bool]) -> list[Array] | None:
        found = []
        for batch in batches:
            if interrupted():
                return None
            ids, positions, *_ = arrays(batch)
            found.append(self._head.features(ids, positions[: int(batch.weights.sum())]))
            mx.eval(found)
        return found

    def _row_logps(self, batch: Batch) -> tuple[Array, Array, Array]:
        """Without gradient: summed log-probs of each row, its number of response tokens, and what entered the head."""
        ids, positions, targets, rows, weights = arrays(batch)
        features = self._head.features(ids, positions)
        logps, _ = self._head.measure(features, targets)
        logps = row_sums(logps, rows, weights, ids.shape[0])
        return logps, row_sums(mx.ones_like(weights), rows, weights, ids.shape[0]), features

    def _look_ahead(self, interrupted: Callable[[], bool]) -> bool:
        """Put the reference in place once for all validation batches of which nothing is remembered yet.

        Returns False when interrupted.
        """
        if self._features_full or not self._unseen():
            return True
        with self._reference.on():
            return self._fill_validation(interrupted)

    def _fill_validation(self, interrupted: Callable[[], bool]) -> bool:
        """With the reference in place: remember the validation batches, as many as fit."""
        for number, indices in self._unseen():
            if interrupted():
                return False
            self._validation_reference(number, collate(self._validation, indices))
            if self._features_full:
                break
        return True

    def _unseen(self) -> list[tuple[int, list[int]]]:
        batches = in_order([pair.length for pair in self._validation], self._batch_size)
        return [(number, indices) for number, indices in enumerate(batches) if number not in self._features]

    def _reference_on_validation(self, number: int, batch: Batch) -> tuple[Array, Array]:
        """Of validation batch `number`: (B, 2) log-probs, and what enters the head on the chosen responses."""
        known = self.memory["validation"][mx.array(batch.indices)]
        if number in self._features and not bool(mx.isnan(known).any()):
            return known, self._features[number]
        with self._reference.on():
            return self._validation_reference(number, batch)

    def _validation_reference(self, number: int, batch: Batch) -> tuple[Array, Array]:
        """The same with the reference in place; remembered."""
        logps, _, features = self._row_logps(batch)
        # The rows of a batch are its chosen ones first, and so are its positions.
        features = features[: sum(len(self._validation[i].responses[0]) for i in batch.indices)]
        mx.eval(features)
        if sum(kept.nbytes for kept in self._features.values()) + features.nbytes <= FEATURES_BYTES:
            self._features[number] = features
        else:
            self._features_full = True
        return self._remember("validation", batch, logps), features

    def _kl_per_token(self, ours: Array, theirs: Array) -> Array:
        """Exact KL at (N,) positions, from the (N, D) that enter the head under policy and reference."""
        return self._head.kl(ours, theirs, self._reference.head_on)

    def _train_reference(self, batch: Batch) -> Array:
        """(B, 2) log-probs of a training batch under the reference."""
        if self._loss.reference_free:
            return mx.zeros((len(batch.indices), 2))
        known = self.memory["train"][mx.array(batch.indices)]
        if not bool(mx.isnan(known).any()):
            return known
        with self._reference.on():
            return self._remember("train", batch, self._row_logps(batch)[0])

    def _remember(self, name: str, batch: Batch, logps: Array) -> Array:
        """Keep (2B,) log-probs of a batch as (B, 2); what was known stays, to the bit."""
        found = mx.stack(list(mx.split(logps, 2)), axis=1)
        indices = mx.array(batch.indices)
        known = self.memory[name][indices]
        found = mx.where(mx.isnan(known), found, known)
        self.memory[name][indices] = found
        mx.eval(found, self.memory[name])
        return found


def _loss(
    function: PairLoss, beta: Array, logps: Array, counts: Array, reference: Array
) -> tuple[Array, Array, dict[str, Array]]:
    """Loss, number of pairs and TRL's metrics, summed over the pairs; `logps` holds chosen, then rejected rows."""
    pairs = reference.shape[0]
    of_batch = Logps(logps[:pairs], logps[pairs:], reference[:, 0], reference[:, 1], counts[:pairs], counts[pairs:])
    loss = function(of_batch, beta).sum()
    chosen, rejected = of_batch.chosen - reference[:, 0], of_batch.rejected - reference[:, 1]
    delta = mx.stop_gradient(chosen - rejected)
    wins = mx.where(mx.abs(delta) < TIE, 0.5, (delta > 0).astype(mx.float32))
    sums = {
        "rewards/chosen": beta * mx.stop_gradient(chosen).sum(),
        "rewards/rejected": beta * mx.stop_gradient(rejected).sum(),
        "rewards/accuracies": wins.sum(),
        "rewards/margins": beta * delta.sum(),
        "logps/chosen": mx.stop_gradient(logps[:pairs]).sum(),
        "logps/rejected": mx.stop_gradient(logps[pairs:]).sum(),
    }
    return loss, mx.array(float(pairs)), sums


def _unknown(pairs: int) -> Array:
    return mx.full((pairs, 2), float("nan"))
