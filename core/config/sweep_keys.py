"""From a parameter of a sweep to a key of dpo_config.yaml: in full, by its last part, or as TRL calls it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from core.config.dpo import DPOConfig
from core.config.keys import keys

# A share of max_steps, as transformers has it; the configuration counts steps.
WARMUP_RATIO = "warmup_ratio"
WARMUP_STEPS = "training.warmup_steps"

# Names of TRL and transformers for keys that are called otherwise here.
_ALIASES = {
    "lr": "training.learning_rate",
    "per_device_train_batch_size": "training.batch_size",
    "train_batch_size": "training.batch_size",
    "gradient_accumulation": "training.gradient_accumulation_steps",
    "grad_accum": "training.gradient_accumulation_steps",
    "r": "adapter.rank",
    "lora_r": "adapter.rank",
    "lora_rank": "adapter.rank",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "lora_layers": "adapter.num_layers",
    "lr_scheduler_type": "optimization.lr_scheduler",
    "optim": "optimization.optimizer",
    "max_completion_length": "data.max_response_length",
    "warmup": WARMUP_STEPS,
}

# What a trial may not have otherwise than the others, and why.
_REFUSED = {
    "logging.": "every trial has a folder and a name of its own",
    "constraints.": "limits judge the trials, and are not tuned to them",
    "kl_guard.kl_limit": "limits judge the trials, and are not tuned to them",
    "data.validation_file": "trials are compared on the same validation pairs",
    "training.eval_pairs": "trials are compared on the same validation pairs",
    "training.eval_steps": "trials are compared evaluation by evaluation",
    "training.save_total_limit": "of a trial the newest and the best checkpoint are kept",
}

_KEYS = tuple(key.path for key in keys(DPOConfig))


def key_of(path: tuple[str, ...]) -> tuple[str, str]:
    """The key that a parameter stands for, or why there is none: one of both is empty.

    Args:
        path: its names from the outermost section in.
    """
    name = ".".join(path)
    if path[-1] == WARMUP_RATIO and name in (WARMUP_RATIO, f"training.{WARMUP_RATIO}"):
        return WARMUP_RATIO, ""
    known = set(_KEYS)
    found = [name] if name in known else [key for key in _KEYS if key.endswith(f".{name}")]
    if not found and name in _ALIASES:
        found = [_ALIASES[name]]
    if len(found) > 1:
        return "", f"'{name}' may be {' or '.join(found)}: write it in full"
    if not found:
        return "", f"'{name}' is no key of dpo_config.yaml{_meant(path)}"
    refused = next((why for key, why in _REFUSED.items() if found[0].startswith(key)), None)
    if refused is not None:
        return "", f"{found[0]} cannot be a parameter: {refused}"
    return found[0], ""


def _meant(path: tuple[str, ...]) -> str:
    last = path[-1]
    if last in ("num_train_epochs", "epochs"):
        return ": training.max_steps counts optimizer steps"
    leaves = {key.rsplit(".", 1)[-1]: key for key in reversed(_KEYS)}
    words = {**leaves, **_ALIASES, WARMUP_RATIO: WARMUP_RATIO}
    near = difflib.get_close_matches(last, list(words), 1)
    if not near and len(last) > 3:
        near = [word for word in words if last in word or word in last][:1]
    return f": did you mean {words[near[0]]}?" if near else ": 'dpotui config explain dpo' lists them"


def applied(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as plain values with others in the place of those at these keys.

    A `warmup_ratio` becomes steps last of all: of the max_steps that the trial has.
    """
    found: dict[str, Any] = deepcopy(dict(config))
    for key, value in values.items():
        if key != WARMUP_RATIO:
            put(found, key, value)
    if WARMUP_RATIO in values:
        steps = found["training"]["max_steps"]
        put(found, WARMUP_STEPS, warmup_steps(values[WARMUP_RATIO], steps))
    return found


def warmup_steps(ratio: float, steps: int) -> int:
    """round(ratio · max_steps), below max_steps: the learning rate has to reach its peak."""
    return max(0, min(round(ratio * steps), steps - 1))


def put(config: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    target = config
    for part in sections:
        target = target.setdefault(part, {})
    target[last] = value


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    found: Any = config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def set_keys(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that a trial's values set, and what to, warmup in steps."""
    whole = applied(config, values)
    names = (WARMUP_STEPS if key == WARMUP_RATIO else key for key in values)
    return {name: value_at(whole, name) for name in names}
