"""Responses sampled from a model, many prompts at a time."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from core.data.tokenize import Tokens


def sample(
    model: nn.Module, tokenizer: Any, prompts: list[list[int]], *, max_tokens: int, temperature: float, seed: int
) -> list[Tokens]:
    """One response for each prompt, the end token included where the model wrote it.

    The draw comes from a key of its own made of `seed`: the random state of a training that goes on is not touched.

    Args:
        prompts: token ids, none empty.
        temperature: 1.0 samples from the model's own distribution; 0 takes the likeliest token.
    """
    stop = set(tokenizer.eos_token_ids)
    try:
        written = _together(model, stop, prompts, max_tokens, _sampler(temperature, seed))
    except (ValueError, TypeError, AttributeError, NotImplementedError):
        # Some architectures (Gemma 2 for one) or their caches cannot take prompts of several lengths at once.
        draw = _sampler(temperature, seed)
        written = [_alone(model, stop, prompt, max_tokens, draw) for prompt in prompts]
    return [Tokens(prompt, (response,)) for prompt, response in zip(prompts, written, strict=True)]


def _sampler(temperature: float, seed: int) -> Callable[[mx.array], mx.array]:
    """Log-probs (B, V) to tokens (B,), from a key of its own."""
    key = mx.random.key(seed)

    def draw(logprobs: mx.array) -> mx.array:
        nonlocal key
        if temperature == 0:
            return mx.argmax(logprobs, axis=-1)
        key, now = mx.random.split(key)
        return mx.random.categorical(logprobs / temperature, key=now)

    return draw


def _together(
    model: nn.Module,
    stop: set[int],
    prompts: list[list[int]],
    max_tokens: int,
    draw: Callable[[mx.array], mx.array],
) -> list[list[int]]:
    # The package `mlx_lm` exports a function of the same name as this module.
    generate = importlib.import_module("mlx_lm.generate")
    batch = generate.BatchGenerator(
        model,
        stop_tokens=[[token] for token in sorted(stop)],
        sampler=draw,
        # mlx-lm's own stream belongs to the thread that imported it.
        stream=mx.default_stream(mx.default_device()),
    )
    try:
        ids = batch.insert(prompts, [max_tokens] * len(prompts))
        written: dict[int, list[int]] = {uid: [] for uid in ids}
        while responses := batch.next_generated():
            for response in responses:
                written[response.uid].append(int(response.token))
    finally:
        batch.close()
    return [written[uid] for uid in ids]


def _alone(
    model: nn.Module, stop: set[int], prompt: list[int], max_tokens: int, draw: Callable[[mx.array], mx.array]
) -> list[int]:
    cache = make_prompt_cache(model)
    written: list[int] = []
    ids = prompt
    while len(written) < max_tokens and not (written and written[-1] in stop):
        logits = model(mx.array([ids]), cache=cache)[:, -1].astype(mx.float32)
        ids = [int(draw(logits - mx.logsumexp(logits, axis=-1, keepdims=True))[0])]
        written += ids
    return written
