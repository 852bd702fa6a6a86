"""Whether a model that was written gives the numbers of the one it was made from, on rows that neither was made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np

from core.config.export import ExportConfig
from core.data.batches import arrays, collate, in_order
from core.data.examples import Example, read_examples
from core.data.pairs import Pair, read_pairs
from core.data.tokenize import Limits, TemplateRefusal, Text, Tokens, learnable, refuse_unknown_tokens, tokenize
from core.errors import UserError
from core.generation.sampling import sample
from core.models.head import Head
from core.models.load import LanguageModel
from core.models.vocabulary import exact_kl
from core.training.logprobs import response_logps
from core.training.score import UNLIMITED

# Most that a response's mean difference may be, in nats per token, by what the weights were rounded to. Float32 has
# the differences of another order of sums; half types round the merged weights to 11 and 8 digits.
TOLERANCE = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.1}
# Quantization is a loss that is measured and said; beyond this on average it is no longer the same model.
BROKEN = 1.0

_BATCH = 4
_SAMPLES, _LONGEST = 8, 32


def rows_of(path: Path, config: ExportConfig, loaded: LanguageModel) -> list[Tokens]:
    """Rows of a file as this model's tokenizer has them: all that can be scored, or the same drawn part every time.

    Raises:
        UserError: there is none.
    """
    limits = Limits(
        config.max_prompt_length or UNLIMITED.prompt, config.max_response_length or UNLIMITED.response
    )  # fmt: skip
    rows = list(_rows(path, config.examples))
    order = np.random.default_rng(0).permutation(len(rows))
    found: dict[int, Tokens] = {}
    vocabulary = loaded.vocabulary
    for index in map(int, order):
        prompt, responses = rows[index]
        try:
            tokens = tokenize(loaded.tokenizer, prompt, responses, limits, chat=config.apply_chat_template)
        except TemplateRefusal:
            continue
        if learnable(tokens):
            refuse_unknown_tokens(tokens, vocabulary)
            found[index] = tokens
        if len(found) >= config.pairs_limit:
            break
    if not found:
        raise UserError(f"{config.pairs} has no row to score: check it with 'dpotui data check {config.pairs}'")
    return [found[index] for index in sorted(found)]


def _rows(path: Path, examples: bool) -> Iterator[tuple[Text, tuple[Text, ...]]]:
    for row in read_examples(path) if examples else read_pairs(path):
        if isinstance(row, Example):
            yield row.prompt, (row.response,)
        elif isinstance(row, Pair):
            yield row.prompt, (row.chosen, row.rejected)


@dataclass(frozen=True, slots=True)
class Measured:
    """Summed log-probs of each response of each row under one model, and the numbers of their tokens."""

    rows: list[Tokens]
    logps: np.ndarray  # (rows, responses)
    counts: np.ndarray


def measure(loaded: LanguageModel, rows: Sequence[Tokens], interrupted: Callable[[], None]) -> Measured:
    head = Head(loaded.model)
    responses = len(rows[0].responses)
    logps, counts = np.zeros((len(rows), responses)), np.zeros((len(rows), responses))
    for indices in in_order([row.length for row in rows], _BATCH):
        interrupted()
        sums, numbers = response_logps(head, *arrays(collate(rows, indices)))
        mx.eval(sums, numbers)
        logps[indices] = np.array(sums).reshape(responses, -1).T
        counts[indices] = np.array(numbers).reshape(responses, -1).T
    return Measured(list(rows), logps, counts)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two models differ on the same rows.

    Attributes:
        difference: mean |Δ log-prob| of a response, in nats.
        per_token: the same for each of its tokens.
        worst: the largest of a response, in nats for each of its tokens.
        tolerance: what `worst` may be; None where weights were quantized, and the mean is looked at.
        accuracy: DPO's, before and after: the share of pairs whose chosen response gained more on the reference than
            the rejected one; None where there is no reference.
        kl: exact KL(before ‖ after) in nats per token on responses sampled from the model before; None: not measured.
        kl_tokens: on how many tokens.
    """

    rows: int
    responses: int
    difference: float
    per_token: float
    worst: float
    tolerance: float | None
    accuracy: tuple[float, float] | None
    kl: float | None = None
    kl_tokens: int = 0

    @property
    def holds(self) -> bool:
        found = self.worst if self.tolerance is not None else self.per_token
        return math.isfinite(found) and found <= (BROKEN if self.tolerance is None else self.tolerance)

    @property
    def words(self) -> str:
        text = f"mean |Δ log-prob| {self.difference:.3g} nats a response, {self.per_token:.3g} a token"
        text += f", worst {self.worst:.3g} a token, {self.responses} responses"
        if self.accuracy is not None:
            text += f"; preference accuracy {100 * self.accuracy[0]:.3g} % → {100 * self.accuracy[1]:.3g} %"
        if self.kl is not None:
            text += f"; KL {self.kl:.3g} nats/token on {self.kl_tokens} sampled tokens"
        return text


def compare(before: Measured, after: Measured, tolerance: float | None, reference: Measured | None = None) -> Agreement:
    """
    Raises:
        UserError: the two do not read the same text as the same tokens.
    """
    if before.rows != after.rows:
        raise UserError("the tokenizer that was written reads the validation rows as other tokens than the model's own")
    differences = np.abs(after.logps - before.logps)
    accuracy = None
    if reference is not None and reference.rows == before.rows and before.logps.shape[1] == 2:
        accuracy = _accuracy(before, reference), _accuracy(after, reference)
    return Agreement(
        rows=len(before.rows),
        responses=differences.size,
        difference=float(differences.mean()),
        per_token=float(differences.sum() / before.counts.sum()),
        worst=float((differences / before.counts).max()),
        tolerance=tolerance,
        accuracy=accuracy,
    )


def _accuracy(policy: Measured, reference: Measured) -> float:
    gained = policy.logps - reference.logps
    return float((gained[:, 0] > gained[:, 1]).mean())


@dataclass(frozen=True, slots=True)
class Spoken:
    """Responses in a model's own words, and its logits at each of their tokens: (tokens, vocabulary) in float32."""

    samples: list[Tokens]
    logits: list[mx.array]


def speak(loaded: LanguageModel, rows: Sequence[Tokens]) -> Spoken:
    """Responses to the prompts of these rows, at temperature 1."""
    prompts = [rows[index % len(rows)].prompt for index in range(_SAMPLES)]
    found = sample(loaded.model, loaded.tokenizer, prompts, max_tokens=_LONGEST, temperature=1.0, seed=0)
    samples = [each for each in found if learnable(each)]
    return Spoken(samples, list(_logits(loaded, samples)))


def divergence(before: Spoken, after: LanguageModel) -> tuple[float, int]:
    """Exact KL(before ‖ after) over the vocabulary, nats per token, and the number of tokens."""
    found = [exact_kl(*pair) for pair in zip(before.logits, _logits(after, before.samples), strict=True)]
    tokens = sum(int(each.size) for each in found)
    return sum(float(each.sum()) for each in found) / tokens, tokens


def _logits(loaded: LanguageModel, samples: Sequence[Tokens]) -> Iterator[mx.array]:
    head = Head(loaded.model)
    for each in samples:
        ids, positions, *_, weights = arrays(collate([each], [0]))
        logits = head.logits(head.features(ids, positions[: int(weights.sum())]))
        mx.eval(logits)
        yield logits
