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

from core.data.batches import Batch, Size, arrays, collate, in_order
from core.data.tokenize import Tokens
from core.generation.sampling import sample
from core.intervals import Z
from core.models.reference import Reference
from core.training.forward import Inputs, PairForward, Parts, from_numbers, put_together, take_apart, to_numbers
from core.training.logprobs import row_sums
from core.training.losses import Logps, PairLoss
from core.training.ranks import ALONE, Ranks
from core.training.reference_cache import ReferenceCache
from core.training.trunk_cache import TrunkCache

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

    What is computed once for a pair (the reference's log-probs, the frozen trunk) is computed for this pair alone and
    remembered: in whatever batch it is first met, in this run or an earlier one, it is the same to the bit.

    Args:
        beta: β; may be changed between steps.
        sharing: False runs every sequence for itself, prompt and all.
        known: reference log-probs from earlier runs, and where those of this one go.
        ranks: which compute parts of each batch and of the validation pairs.
        trunk: hidden states from earlier epochs and runs, and where those of this one go.
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
        batch_size: Size,
        kl_target: float,
        write_model: Callable[[Path], None],
        sharing: bool = True,
        known: ReferenceCache | None = None,
        trunk: TrunkCache | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model = model
        self.lengths = [pair.length for pair in train]
        self._validation_lengths = [pair.length for pair in validation]
        self.forward = PairForward(model, sharing=sharing, tail_weight=1.0 if loss.ld_alpha is None else loss.ld_alpha)
        self.write_model = write_model
        self.beta = beta
        self.trunk = trunk
        self._pairs = {"train": train, "validation": validation}
        self._known = known or ReferenceCache(None, "")
        # (pairs, 2) summed log-probs of chosen and rejected under the reference; NaN where not yet computed.
        self.memory = {name: self._known.known(pairs) for name, pairs in self._pairs.items()}
        self._reference = reference
        self._loss = loss
        self._batch_size = batch_size
        self._kl_target = kl_target
        self._ranks = ranks
        self._head = self.forward.head
        # What enters the reference's head on the chosen response of a validation pair, (tokens, D).
        self._features: dict[int, Array] = {}
        # What the trunk gave for pairs of the batch at hand, where no cache keeps it.
        self._recent: dict[int, Parts] = {}
        self._features_full = False

    @property
    def doing(self) -> str:
        """What a step does just now beside training."""
        missing = int(np.isnan(self.memory["train"][:, 0]).sum())
        if self._loss.reference_free or not missing:
            return "training"
        pairs = len(self.lengths)
        return f"training, reference of {pairs - missing}/{pairs} pairs"

    def pieces(self, indices: list[int]) -> list[list[int]]:
        """What of a batch is computed at a time."""
        return self.forward.pieces(self.lengths, indices) if self._loss.by_pair else [indices]

    def batch(self, indices: list[int]) -> tuple[Inputs]:
        """The pairs as `PairForward.inputs` has them, their (B, 2) reference log-probs, and β."""
        self._recent.clear()
        reference = self._reference_logps("train", indices)
        return ({**self._inputs("train", indices), "reference": reference, "beta": mx.array(self.beta)},)

    def tokens(self, indices: list[int]) -> int:
        pairs = [self._pairs["train"][i] for i in indices]
        return sum(len(response) + len(pair.prompt) for pair in pairs for response in pair.responses)

    def loss(self, inputs: Inputs) -> tuple[Array, Array, dict[str, Array]]:
        values, squares = self._head.logps(self.forward.features(inputs), inputs["targets"])
        return self._of_logps(inputs, values, squares)

    def precompute(self, interrupted: Callable[[], bool], progress: Callable[[int, int], None]) -> bool:
        """Fill the reference log-probs of all pairs at once, with the reference in place only once.

        Returns False when interrupted. `progress` hears how many pairs are known of how many.
        """
        self._share_memory()
        pairs = len(self.lengths)
        missing = self._ranks.mine(np.flatnonzero(np.isnan(self.memory["train"][:, 0])).tolist(), 0)
        with self._reference.on():
            for number, index in enumerate(missing):
                if interrupted():
                    self.flush()
                    return False
                self._measure_reference("train", index)
                progress(pairs - len(missing) + number + 1, pairs)
            self.flush()
            self._share_memory()
            return self._fill_validation(interrupted)

    def flush(self) -> None:
        """Put on disk what was computed once and for all."""
        self._known.flush()
        if self.trunk is not None:
            self.trunk.flush()

    def evaluate(self, step: int, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """Loss and rewards over the validation pairs, and exact KL on their chosen responses (nats per token).

        A pair costs one forward pass of the policy: what enters the reference's head never changes and is remembered.
        The batches are those whose loss is a mean, as training takes them.
        """
        self._share_memory()
        found = self._evaluate(interrupted)
        said = [one["evaluation"] for one in self._ranks.gather("evaluation", {"evaluation": found})]
        sums: dict[str, float] = {}
        margins: list[float] = []
        for one in said:
            if one is None:
                return None
            margins += one["margins"]
            for key, value in one["sums"].items():
                sums[key] = sums.get(key, 0.0) + value
        kl = sums.pop("_kl") / sums.pop("_tokens")
        pairs = len(self._pairs["validation"])
        means = {f"eval_{key}": value / pairs for key, value in sums.items()}
        deviation = float(np.std(margins, ddof=1)) if pairs > 1 else 0.0
        return {**means, "kl_divergence": kl, "_margins_deviation": deviation}

    def _evaluate(self, interrupted: Callable[[], bool]) -> dict[str, Any] | None:
        """Sums over this rank's validation pairs, and the margin of each."""
        if not self._look_ahead(interrupted):
            return None
        sums: dict[str, float] = {}
        kl = tokens = 0.0
        margins: list[float] = []
        for indices in self._own_batches():
            chosen_values: list[tuple[Array, Array]] = []
            rejected_values: list[tuple[Array, Array]] = []
            for index in indices:
                if interrupted():
                    return None
                # Alone, as the reference: without an update between them they are the same to the bit.
                theirs = self._reference_features(index)
                inputs = self._inputs("validation", [index])
                features = self.forward.features(inputs)
                found = self._head.measure(features, inputs["targets"])
                end = theirs.shape[0]
                both = end + len(self._pairs["validation"][index].responses[1])
                chosen_values.append((found[0][:end], found[1][:end]))
                rejected_values.append((found[0][end:both], found[1][end:both]))
                kl += float(self._head.kl(features[:end], theirs, self._reference.head_on).sum())
                tokens += end
            inputs = self.forward.inputs(self.forward.collate(self._pairs["validation"], indices))
            inputs |= {"reference": self._reference_logps("validation", indices), "beta": mx.array(self.beta)}
            fill = mx.zeros(inputs["rows"].shape[0] - sum(v[0].shape[0] for v in chosen_values + rejected_values))
            values, squares = (
                mx.concatenate([*(v[i] for v in chosen_values), *(v[i] for v in rejected_values), fill]) for i in (0, 1)
            )
            loss, _, metrics = self._of_logps(inputs, values, squares)
            logps = row_sums(values, inputs["rows"], inputs["weights"], 2 * len(indices))
            ratios = logps.reshape(2, -1) - inputs["reference"].T
            metrics["preference_accuracy"] = (logps[: len(indices)] > logps[len(indices) :]).sum()
            mx.eval(loss, metrics, ratios)
            for key, value in {"loss": loss, **metrics}.items():
                sums[key] = sums.get(key, 0.0) + float(value)
            margins += np.array(self.beta * (ratios[0] - ratios[1])).tolist()
        self.flush()
        return {"sums": {**sums, "_kl": kl, "_tokens": tokens}, "margins": margins}

    def _own_batches(self) -> list[list[int]]:
        """This rank's validation pairs in the batches of all."""
        batches = in_order(self._validation_lengths, self._batch_size)
        return [own for number, batch in enumerate(batches) if (own := self._ranks.mine(batch, number))]

    def _own(self) -> list[int]:
        return sorted(index for batch in self._own_batches() for index in batch)

    def _share_memory(self) -> None:
        """What one rank knows of the reference's log-probs, all know. Not kept on disk: another chip may have rounded
        otherwise."""
        if self._ranks.alone:
            return
        memory = self.memory["train"]
        known = ~np.isnan(memory)
        told = [mx.array(np.where(known, memory, 0.0)), mx.array(known.astype(np.float32))]
        total, count = map(np.array, self._ranks.sum_tree(told))
        learned = ~known & (count > 0)
        memory[learned] = total[learned] / count[learned]

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
        pairs = self._pairs["validation"]
        prompts = [pairs[i % len(pairs)].prompt for i in range(count)]
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
        per_token = self._head.kl(mx.concatenate(ours), mx.concatenate(theirs), self._reference.head_on)
        lengths = [len(samples[i].responses[0]) for batch in batches for i in batch.indices]
        per_response = [(part.sum(), len(part)) for part in np.split(np.array(per_token), np.cumsum(lengths)[:-1])]
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

    def _inputs(self, name: str, indices: list[int]) -> Inputs:
        """What enters the model for these pairs: with the frozen trunk's answer where there is one."""
        pairs = self._pairs[name]
        batch = self.forward.collate(pairs, indices)
        inputs = self.forward.inputs(batch)
        if self.forward.trunk:
            hidden = put_together(batch, [self._hidden(pairs[i]) for i in indices])
            inputs |= {key: from_numbers(value, self.forward.dtype) for key, value in hidden.items()}
        return inputs

    def _hidden(self, pair: Tokens) -> Parts:
        """What the frozen trunk gives for a pair: from the cache, or from a moment ago, when the reference asked."""
        found = self._recent.get(id(pair)) if self.trunk is None else self.trunk.get(pair)
        if found is None:
            batch = self.forward.collate([pair], [0])
            computed = self.forward.hidden(self.forward.inputs(batch))
            (found,) = take_apart(batch, {key: to_numbers(value) for key, value in computed.items()}, [pair])
            if self.trunk is None:
                self._recent[id(pair)] = found
            else:
                self.trunk.put(pair, found)
        return found

    def _of_logps(self, inputs: Inputs, values: Array, squares: Array) -> tuple[Array, Array, dict[str, Array]]:
        """Loss, number of pairs and TRL's metrics, summed over the pairs, from the log-prob of each token."""
        reference, beta, counts = inputs["reference"], inputs["beta"], inputs["counts"]
        pairs = reference.shape[0]

        def by_row(values: Array, weights: Array) -> Array:
            return row_sums(values, inputs["rows"], weights, 2 * pairs)

        logps = by_row(values, inputs["weights"])
        whole = likelihood = None
        if self._loss.ld_alpha is not None:
            whole = by_row(values, inputs["real"])[:pairs]
        if self._loss.use_weighting:
            # Eq. 2 of WPO (Zhou et al. 2024), aligned as TRL does it: by the mean over tokens.
            aligned = by_row(mx.stop_gradient(values) - squares, inputs["real"]) / counts
            likelihood = mx.exp(aligned[:pairs]) * mx.exp(aligned[pairs:])
        of_batch = Logps(
            logps[:pairs],
            logps[pairs:],
            reference[:, 0],
            reference[:, 1],
            counts[:pairs].astype(mx.float32),
            counts[pairs:].astype(mx.float32),
            whole,
            likelihood,
        )
        loss = self._loss(of_batch, beta).sum()
        chosen = mx.stop_gradient(of_batch.chosen) - reference[:, 0]
        rejected = mx.stop_gradient(of_batch.rejected) - reference[:, 1]
        delta = chosen - rejected
        wins = mx.where(mx.abs(delta) < TIE, 0.5, (delta > 0).astype(mx.float32))
        sums = {
            "rewards/chosen": beta * chosen.sum(),
            "rewards/rejected": beta * rejected.sum(),
            "rewards/accuracies": wins.sum(),
            "rewards/margins": beta * delta.sum(),
            "logps/chosen": mx.stop_gradient(logps[:pairs]).sum(),
            "logps/rejected": mx.stop_gradient(logps[pairs:]).sum(),
        }
        return loss, mx.array(float(pairs)), sums

    def _measure_reference(self, name: str, index: int) -> Array:
        """The reference is in place: its log-probs of this pair are remembered, and what enters its head on the chosen
        response, (tokens, D), is returned.
        """
        pair = self._pairs[name][index]
        if self._reference.same_trunk:
            inputs = self._inputs(name, [index])
        else:
            inputs = self.forward.inputs(self.forward.collate([pair], [0]))
        features = self.forward.features(inputs)
        values, _ = self._head.measure(features, inputs["targets"])
        logps = row_sums(values, inputs["rows"], inputs["weights"], 2)
        # What was known stays, to the bit.
        if np.isnan(self.memory[name][index]).any():
            self.memory[name][index] = np.array(logps)
            self._known.add([pair], self.memory[name][index : index + 1])
        return features[: len(pair.responses[0])]

    def _reference_logps(self, name: str, indices: list[int]) -> Array:
        """(B, 2) log-probs of these pairs under the reference."""
        if self._loss.reference_free:
            return mx.zeros((len(indices), 2))
        unknown = [index for index in indices if np.isnan(self.memory[name][index]).any()]
        if unknown:
            with self._reference.on():
                for index in unknown:
                    self._measure_reference(name, index)
        return mx.array(self.memory[name][indices])

    def _look_ahead(self, interrupted: Callable[[], bool]) -> bool:
        """Put the reference in place once for all validation pairs of which nothing is remembered yet.

        Returns False when interrupted.
        """
        if self._features_full or all(index in self._features for index in self._own()):
            return True
        with self._reference.on():
            return self._fill_validation(interrupted)

    def _fill_validation(self, interrupted: Callable[[], bool]) -> bool:
        """With the reference in place: remember what enters its head on the chosen responses, as many as fit."""
        room = FEATURES_BYTES - sum(kept.nbytes for kept in self._features.values())
        for index in self._own():
            if index in self._features:
                continue
            if interrupted():
                return False
            # A copy: a slice would keep all that it was cut from.
            features = mx.array(self._measure_reference("validation", index))
            mx.eval(features)
            room -= features.nbytes
            if room < 0:
                self._features_full = True
                break
            self._features[index] = features
        return True

    def _reference_features(self, index: int) -> Array:
        """What enters the reference's head on the chosen response of a validation pair, (tokens, D)."""
        self._recent.clear()
        if index in self._features:
            return self._features[index]
        with self._reference.on():
            features = self._measure_reference("validation", index)
            mx.eval(features)
        return features
