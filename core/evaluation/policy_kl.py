"""Exact KL(π_θ ‖ π_ref) on responses sampled from the policy: what the KL gate of a finished model judges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from core.data.batches import Batch, Budget, arrays, collate, in_order
from core.data.tokenize import Tokens
from core.evaluation.decoding import decoded
from core.evaluation.perplexity_part import tokens_at_a_time
from core.evaluation.ratio import mean_per_token
from core.evaluation.rows import Rows
from core.evaluation.session import Session
from core.generation.draw import NotNumbers, Settings, stream
from core.models.head import Head
from core.models.load import LanguageModel
from core.models.reference import AdapterOff, Reference

# Memory for what enters the heads of policy and reference, where the reference's weights take the policy's place.
FEATURES_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Measured:
    """Nats per token with its 95 % interval over responses."""

    mean: float
    low: float | None
    high: float | None
    responses: int
    tokens: int


def measure(
    session: Session, loaded: LanguageModel, reference: Reference, prompts: Sequence[list[int]], found: Rows
) -> Measured:
    """Sample `final.kl_samples` responses at temperature 1 from prompts drawn by the seed, and measure each.

    Args:
        loaded: the policy.
        prompts: token ids; with fewer prompts than samples they come round again.
        found: keeps the responses and what was measured of them.
    """
    samples = diverge(session, loaded, reference, prompts, found)
    measured = [found["kl", place] for place in range(len(samples))]
    tokens = [len(sample.responses[0]) for sample in samples]
    mean, low, high = mean_per_token(measured, tokens)
    return Measured(mean, None if low is None else max(0.0, low), high, len(samples), sum(tokens))


def sample(session: Session, loaded: LanguageModel, prompts: Sequence[list[int]], found: Rows) -> list[list[int]]:
    """Fill in the responses, as ("response", number) and token ids; returns the prompt of each."""
    seed, settings = session.config.evaluation.seed, session.config.final
    order = np.random.default_rng(seed).permutation(len(prompts)).tolist()
    wanted = [prompts[order[place % len(order)]] for place in range(settings.kl_samples)]
    known = [("response", place) in found for place in range(len(wanted))]
    session.stretch("responses for the KL", len(wanted), sum(known), share=(0, 2))
    asked = [(prompt, stream("final", seed, place)) for place, prompt in enumerate(wanted)]
    try:
        for rows in decoded(session, loaded, asked, known, settings=Settings(1.0), max_tokens=settings.kl_max_tokens):
            session.advance(sum(not known[place] for place in rows))
            found.add(((("response", place), row.tokens) for place, row in rows.items()))
    except NotNumbers:
        raise session.no_numbers(session.config.subject_model) from None
    return wanted


def diverge(
    session: Session, loaded: LanguageModel, reference: Reference, prompts: Sequence[list[int]], found: Rows
) -> list[Tokens]:
    """Fill in the KL of each response, as ("kl", number), summed over its tokens; returns the samples.

    Batches are the same whatever of it is there, and so is every digit.
    """
    wanted = sample(session, loaded, prompts, found)
    samples = [Tokens(prompt, (found["response", place],)) for place, prompt in enumerate(wanted)]
    known = [("kl", place) in found for place in range(len(samples))]
    session.stretch("exact KL of the responses", len(samples), sum(known), share=(1, 2))
    budget = Budget(tokens_at_a_time())
    batches = [
        collate(samples, indices)
        for group, indices in enumerate(in_order([sample.length for sample in samples], budget))
        if not all(known[place] for place in indices) and session.mine(group)
    ]
    head = Head(loaded.model)
    for several in _in_chunks(batches, loaded, isinstance(reference, AdapterOff)):
        ours = [_features(session, head, batch) for batch in several]
        with reference.on():
            theirs = [_features(session, head, batch) for batch in several]
        for batch, own, other in zip(several, ours, theirs, strict=True):
            _add(session, head, reference, batch, samples, own, other, found)
    session.between()
    return samples


def _in_chunks(batches: list[Batch], loaded: LanguageModel, switches: bool) -> list[list[Batch]]:
    """The batches between two changes of weights: one where that costs nothing, else as many as fit in memory."""
    width = int(loaded.config.get("hidden_size") or loaded.vocabulary)
    chunks: list[list[Batch]] = []
    room = 0
    for batch in batches:
        needed = 2 * 4 * width * int(batch.weights.sum())
        if not chunks or switches or needed > room:
            chunks.append([])
            room = FEATURES_BYTES
        chunks[-1].append(batch)
        room -= needed
    return chunks


def _features(session: Session, head: Head, batch: Batch) -> mx.array:
    session.between()
    ids, positions, *_ = arrays(batch)
    found = head.features(ids, positions[: int(batch.weights.sum())])
    mx.eval(found)
    return found


def _add(
    session: Session,
    head: Head,
    reference: Reference,
    batch: Batch,
    samples: list[Tokens],
    ours: mx.array,
    theirs: mx.array,
    found: Rows,
) -> None:
    per_token = np.array(head.kl(ours, theirs, reference.head_on), np.float64)
    ends = np.cumsum([len(samples[place].responses[0]) for place in batch.indices])
    sums = [math.fsum(part.tolist()) for part in np.split(per_token, ends[:-1])]
    if not all(map(math.isfinite, sums)):
        raise session.no_numbers(session.config.subject_model)
    new = [(("kl", place), value) for place, value in zip(batch.indices, sums, strict=True)]
    session.advance(sum(key not in found for key, _ in new))
    found.add(new)
