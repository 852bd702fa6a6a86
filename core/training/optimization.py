"""Optimizers, learning-rate schedules, clipping."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map

from core.config.models import Optimization


def learning_rate(peak: float, scheduler: str, warmup_steps: int, max_steps: int, step: int) -> float:
    """The rate of the update that follows `step` earlier ones, as transformers' schedulers of these names have it.

    Linear warm-up from 0 (so the very first update of a run with warm-up has rate 0), then constant, linear to 0 or
    half a cosine to 0 at `max_steps`.
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    progress = (step - warmup_steps) / max(1, max_steps - warmup_steps)
    if scheduler == "linear":
        return peak * max(0.0, 1 - progress)
    if scheduler == "cosine":
        return peak * max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))
    return peak


def make_optimizer(section: Optimization) -> optim.Optimizer:
    """An optimizer of MLX by its name there, lower case. Adam's moments are bias-corrected, as torch does."""
    decay = section.weight_decay
    match section.optimizer:
        case "adamw":
            return optim.AdamW(learning_rate=0.0, weight_decay=decay, bias_correction=True)
        case "adam":
            return optim.Adam(learning_rate=0.0, bias_correction=True)
        case "sgd":
            return optim.SGD(learning_rate=0.0, weight_decay=decay)
        case "adafactor":
            return optim.Adafactor(learning_rate=0.0, relative_step=False, scale_parameter=False, weight_decay=decay)
        case "lion":
            return optim.Lion(learning_rate=0.0, weight_decay=decay)
        case "muon":
            return optim.Muon(learning_rate=0.0, weight_decay=decay)
        case other:
            raise AssertionError(f"optimizer {other} passed the configuration")


def global_norm(grads: Any) -> mx.array:
    """The L2 norm over all gradients, in float32."""
    squares = [mx.square(g.astype(mx.float32)).sum() for _, g in tree_flatten(grads)]
    return mx.sqrt(sum(squares[1:], squares[0]))


def clip(grads: Any, norm: mx.array, limit: float) -> Any:
    """Scale the gradients so that their global norm is at most `limit` , as torch has it; 0: no clipping."""
    if not limit:
        return grads
    scale = mx.minimum(limit / (norm + 1e-6), 1.0)
    return tree_map(lambda g: g * scale.astype(g.dtype), grads)
