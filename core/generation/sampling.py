"""Responses sampled from a model, many prompts at a time."""

from __future__ import annotations

import importlib
from typing import Any

import mlx.core as mx
import mlx.nn as nn

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
    # The package `mlx_lm` exports a function of the same name as this module.
    generate = importlib.import_module("mlx_lm.generate")
    key = mx.random.key(seed)

    def draw(logprobs: mx.array) -> mx.array:
        nonlocal key
        if temperature == 0:
            return mx.argmax(logprobs, axis=-1)
        key, now = mx.random.split(key)
        return mx.random.categorical(logprobs / temperature, key=now)

    batch = generate.BatchGenerator(
        model,
        stop_tokens=[[token] for token in sorted(tokenizer.eos_token_ids)],
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
    return [Tokens(prompt, (written[uid],)) for prompt, uid in zip(prompts, ids, strict=True)]
