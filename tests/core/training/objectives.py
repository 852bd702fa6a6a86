"""A DPO objective on a tiny model and random pairs, without files or a database."""

from __future__ import annotations

from typing import Any

import mlx.nn as nn
import numpy as np

from core.config.models import Adapter, Optimization
from core.data.tokenize import Tokens
from core.models.adapters import add_adapters
from core.models.reference import AdapterOff
from core.training.dpo import DPO
from core.training.loop import Plan
from core.training.losses import PairLoss
from tests.core.models.architectures import VOCABULARY, build


def random_pairs(count: int, seed: int = 0, longest: int = 12) -> list[Tokens]:
    rng = np.random.default_rng(seed)

    def ids() -> list[int]:
        return rng.integers(1, VOCABULARY, rng.integers(1, longest)).tolist()

    return [Tokens(ids(), (ids(), ids())) for _ in range(count)]


def adapted(name: str = "llama", *, dropout: float = 0.0, seed: int = 0, **changes: Any) -> nn.Module:
    """A tiny model with an adapter that already does something (B is not zero)."""
    import mlx.core as mx

    model = build(name, **changes)
    mx.random.seed(seed)
    add_adapters(model, Adapter(rank=2, alpha=4.0, dropout=dropout, num_layers=-1))
    for _, module in model.named_modules():
        if hasattr(module, "lora_b"):
            module.lora_b = 0.1 * mx.random.normal(module.lora_b.shape)
    mx.eval(model.parameters())
    return model


def dpo(model: nn.Module, pairs: list[Tokens], **changes: Any) -> DPO:
    settings: dict[str, Any] = {
        "beta": 0.1,
        "loss": PairLoss(),
        "batch_size": 4,
        "kl_target": 0.1,
        "write_model": lambda folder: None,
    }
    return DPO(model, changes.pop("reference", AdapterOff(model)), pairs, pairs, **{**settings, **changes})


def plan(**changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "learning_rate": 1e-2,
        "batch_size": 4,
        "gradient_accumulation_steps": 1,
        "max_steps": 10,
        "warmup_steps": 0,
        "logging_steps": 1,
        "eval_steps": 100,
        "save_steps": 100,
        "save_total_limit": 3,
        "early_stopping_patience": 0,
        "seed": 0,
        "optimization": Optimization(lr_scheduler="constant"),
        "gradient_checkpointing": False,
    }
    return Plan(**{**settings, **changes})
