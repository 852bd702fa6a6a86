"""Summed log-probs of both responses of each pair under one model: what DPO's loss is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
from mlx_lm.tuner.utils import load_adapters

from core.data.batches import arrays, collate, in_order
from core.data.jsonl import BadRow
from core.data.pairs import read_pairs
from core.data.tokenize import Limits, TemplateRefusal, Tokens, learnable, refuse_unknown_tokens, tokenize
from core.errors import UserError
from core.models.head import Head
from core.models.load import LanguageModel, load
from core.training.logprobs import response_logps

# Without limits of a configuration nothing is cut.
UNLIMITED = Limits(1 << 30, 1 << 30)


@dataclass(frozen=True, slots=True)
class Score:
    """Of one pair: log-probs in nats, summed over the tokens of each response, and the numbers of those tokens."""

    chosen_logp: float
    rejected_logp: float
    chosen_tokens: int
    rejected_tokens: int


def score(
    model: Path, adapter: Path | None, pairs: Path, *, batch_size: int, limits: Limits = UNLIMITED, chat: bool = False
) -> list[Score]:
    """Score every pair of a file, in its order, in float32.

    Raises:
        UserError: the model cannot be loaded, or a row has an error (scores must stay in line with the file).
    """
    loaded = load(model, dtype=mx.float32, fused=None)
    if adapter is not None:
        try:
            load_adapters(loaded.model, str(adapter))
        except (OSError, ValueError, KeyError, AttributeError, json.JSONDecodeError) as error:
            raise UserError(f"{adapter} is no adapter for {model}: {str(error).splitlines()[0]}") from error
    loaded.model.eval()
    examples = list(_examples(loaded, pairs, limits, chat))
    head = Head(loaded.model)
    found: dict[int, Score] = {}
    for indices in in_order([example.length for example in examples], batch_size):
        sums, counts = response_logps(head, *arrays(collate(examples, indices)))
        mx.eval(sums, counts)
        half = len(indices)
        for row, index in enumerate(indices):
            found[index] = Score(
                float(sums[row]), float(sums[half + row]), int(float(counts[row])), int(float(counts[half + row]))
            )
    return [found[i] for i in range(len(examples))]


def _examples(loaded: LanguageModel, pairs: Path, limits: Limits, chat: bool) -> Iterator[Tokens]:
    vocabulary = loaded.vocabulary
    for row in read_pairs(pairs):
        if isinstance(row, BadRow):
            raise UserError(f"{pairs}:{row.line}: {row.reason}: mend it, or 'dpotui data check {pairs}' lists all")
        try:
            tokens = tokenize(loaded.tokenizer, row.prompt, (row.chosen, row.rejected), limits, chat=chat)
        except TemplateRefusal as refusal:
            raise UserError(f"{pairs}:{row.line}: the chat template refuses it ({refusal}): mend the row") from refusal
        if not learnable(tokens):
            raise UserError(f"{pairs}:{row.line}: the prompt or a response has no token: mend or remove the row")
        refuse_unknown_tokens(tokens, vocabulary)
        yield tokens
