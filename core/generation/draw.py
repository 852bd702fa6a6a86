"""Draws of the next token, for many sequences at a time, each with its own settings and its own random numbers.

A draw is decided by the sequence's logits, its settings and one number in [0, 1): the token at which the cumulated
probabilities, in the order of the vocabulary, pass that number. What else is in the batch has no say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from core.models.eager import Floats, numbers


@dataclass(frozen=True, slots=True)
class Settings:
    """How a sequence is sampled. The filters look at the model's own probabilities, before the temperature, as mlx-lm's
    do; a token must pass all of them.

    Attributes:
        temperature: 1.0 is the model's own distribution; 0 takes the likeliest token.
        top_p: of the likeliest tokens, as many as together have this probability; 1 is off.
        min_p: tokens that have at least this share of the likeliest one's probability; 0 is off.
        top_k: so many of the likeliest tokens; 0 is off.
        repetition_penalty: logits of tokens that stand in the last `repetition_context` ones are divided by it where
            they are positive, and multiplied where negative; 1 is off.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    repetition_context: int = 64


class NotNumbers(Exception):
    """The model's logits are NaN."""


def stream(*of: object) -> np.random.Generator:
    """The random numbers of one sequence: the same for the same words and numbers, on every machine."""
    digest = blake2b("\x1f".join(map(str, of)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def draw(
    logits: mx.array, settings: Sequence[Settings], uniform: Floats, recent: npt.NDArray[np.int64] | mx.array | None
) -> mx.array:
    """The next tokens (B,); where logits are NaN the token is -1.

    Args:
        logits: (B, V) of the next token.
        settings: B of them.
        uniform: (B,) numbers in [0, 1).
        recent: (B, C) tokens that came last, oldest first, when a sequence has a repetition penalty.
    """
    # MLX takes 10 ns for an exponential on a CPU, and sorts slowly there.
    logits = logits.astype(mx.float32)
    values = numbers(logits)
    if values is not None:
        penalized = _penalized_on_cpu(values, settings, recent)
        found = [_draw_on_cpu(row, s, float(u)) for row, s, u in zip(penalized, settings, uniform, strict=True)]
        return mx.array(np.array(found, np.int32))
    return draw_on_gpu(logits, settings, uniform, recent)


def _penalized_on_cpu(
    logits: Floats, settings: Sequence[Settings], recent: npt.NDArray[np.int64] | mx.array | None
) -> Floats:
    if recent is None or all(s.repetition_penalty == 1 for s in settings):
        return logits
    logits = logits.copy()
    for row, s, tokens in zip(logits, settings, np.asarray(recent), strict=True):
        if s.repetition_penalty != 1:
            seen = np.unique(tokens[-s.repetition_context :])
            row[seen] = np.where(row[seen] > 0, row[seen] / s.repetition_penalty, row[seen] * s.repetition_penalty)
    return logits


def _draw_on_cpu(logits: Floats, s: Settings, uniform: float) -> int:
    top = logits.max()
    if np.isnan(top):
        return -1
    if s.temperature == 0:
        return int(logits.argmax())
    relative = logits - top
    if s.top_p < 1 or s.min_p > 0 or s.top_k:
        kept = np.flatnonzero(relative >= _threshold(relative, s))
        relative = relative[kept]
    else:
        kept = None
    cumulated = np.exp(relative / np.float32(s.temperature)).cumsum(dtype=np.float64)
    index = int(cumulated.searchsorted(uniform * cumulated[-1], side="right"))
    return index if kept is None else int(kept[index])


def _threshold(relative: Floats, s: Settings) -> float:
    """The smallest logit, less the largest one, that passes every filter."""
    least = float(np.log(s.min_p)) if s.min_p > 0 else -np.inf
    if s.top_k and s.top_k < len(relative):
        least = max(least, float(np.partition(relative, -s.top_k)[-s.top_k]))
    if s.top_p < 1:
        p = np.exp(relative)
        wanted = s.top_p * float(p.sum(dtype=np.float64))
        # All that are this small together have not the probability that may be left out: none of them is needed.
        likely = np.sort(relative[p * len(p) * (1 + 1e-6) >= float(p.sum()) * (1 - s.top_p)])[::-1]
        needed = int(np.exp(likely).cumsum(dtype=np.float64).searchsorted(wanted, side="left"))
        least = max(least, float(likely[min(needed, len(likely) - 1)]))
    return least


def draw_on_gpu(
    logits: mx.array, settings: Sequence[Settings], uniform: Floats, recent: npt.NDArray[np.int64] | mx.array | None
) -> mx.array:
    """The same in MLX, for all sequences at once and without waiting for a number."""
    if recent is not None and any(s.repetition_penalty != 1 for s in settings):
        logits = _penalized_on_gpu(logits, settings, mx.array(recent))
    greedy = mx.argmax(logits, axis=-1)
    top = logits.max(axis=-1, keepdims=True)
    lost = mx.isnan(top[:, 0])
    if all(s.temperature == 0 for s in settings):
        return mx.where(lost, -1, greedy.astype(mx.int32))
    relative = logits - top
    least = _column([float(np.log(s.min_p)) if s.min_p > 0 else -np.inf for s in settings])
    if any(s.top_p < 1 or s.top_k for s in settings):
        ordered = mx.sort(relative, axis=-1)[:, ::-1]
        size = logits.shape[-1]
        p = mx.exp(ordered)
        before = mx.cumsum(p, axis=-1) - p
        wanted = _column([s.top_p if s.top_p < 1 else 2.0 for s in settings]) * p.sum(axis=-1, keepdims=True)
        several = mx.sum(before < wanted, axis=-1, keepdims=True)
        few = mx.array([[min(s.top_k or size, size)] for s in settings])
        last = mx.maximum(mx.minimum(several, few) - 1, 0)
        least = mx.maximum(least, mx.take_along_axis(ordered, last, axis=-1))
    temperature = _column([s.temperature or 1.0 for s in settings])
    weights = mx.where(relative >= least, mx.exp(relative / temperature), 0.0)
    cumulated = mx.cumsum(weights, axis=-1)
    # A sum in parallel may step over a token that has no weight.
    passed = (cumulated > mx.array(uniform, mx.float32)[:, None] * cumulated[:, -1:]) & (weights > 0)
    drawn = mx.where(passed.any(axis=-1), mx.argmax(passed, axis=-1), greedy)
    drawn = mx.where(mx.array([s.temperature == 0 for s in settings]), greedy, drawn)
    return mx.where(lost, -1, drawn.astype(mx.int32))


def _penalized_on_gpu(logits: mx.array, settings: Sequence[Settings], recent: mx.array) -> mx.array:
    width = recent.shape[1]
    # Where a sequence looks less far back, its last token stands for those before.
    out = mx.arange(width)[None] < width - mx.array([[s.repetition_context] for s in settings])
    recent = mx.where(out, recent[:, -1:], recent)
    penalty = _column([s.repetition_penalty for s in settings])
    seen = mx.take_along_axis(logits, recent, axis=-1)
    return mx.put_along_axis(logits, recent, mx.where(seen > 0, seen / penalty, seen * penalty), axis=-1)


def _column(values: list[float]) -> mx.array:
    return mx.array(values, mx.float32)[:, None]
