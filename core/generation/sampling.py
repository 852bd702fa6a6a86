"""Responses sampled from a model, many prompts at a time."""

from __future__ import annotations

from typing import Any

import mlx.nn as nn

from core.data.tokenize import Tokens
from core.generation.decode import Decoder, Job, Row, choose
from core.generation.draw import Settings, stream

# Rows that decode together.
_ROWS = 32


def sample(
    model: nn.Module, tokenizer: Any, prompts: list[list[int]], *, max_tokens: int, temperature: float, seed: int
) -> list[Tokens]:
    """One response for each prompt, the end token included where the model wrote it.

    Each response has random numbers of its own, made of `seed` and its place: the random state of a training that goes
    on is not touched. A prompt that stands several times is run once.

    Args:
        prompts: token ids, none empty.
        temperature: 1.0 samples from the model's own distribution; 0 takes the likeliest token.
    """
    rows = [Row(Settings(temperature), stream("sample", seed, place), max_tokens) for place in range(len(prompts))]
    jobs: dict[tuple[int, ...], Job] = {}
    for prompt, row in zip(prompts, rows, strict=True):
        jobs.setdefault(tuple(prompt), Job(prompt, [])).rows.append(row)
    # A training whose weights are lost has a word of its own for that.
    decoder = Decoder(model, set(tokenizer.eos_token_ids), size=_ROWS, way=choose(model)[0], lost=0)
    decoder.queue.extend(jobs.values())
    while decoder.busy:
        decoder.step()
    return [Tokens(prompt, (row.tokens,)) for prompt, row in zip(prompts, rows, strict=True)]
