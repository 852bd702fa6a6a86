"""The optimizers of MLX by name, and the options of each under the names that MLX gives them.

`optimization.optimizer_config` holds them by optimizer, as mlx-lm's configuration does: {adamw: {betas: [0.9, 0.95]}}.
Options of an optimizer that is not chosen wait there. Learning rate and weight decay have keys of their own.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PlainValidator, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from core.config.keys import allowed
from core.config.section import Number, Section, Whole
from core.text import one_line

OptimizerName = Literal[
    "adamw", "adam", "sgd", "muon", "adafactor", "lion", "rmsprop", "adagrad", "adadelta", "adamax"
]  # fmt: skip

_Share = Annotated[Number, Field(ge=0, lt=1)]
_Betas = Annotated[list[_Share], Field(min_length=2, max_length=2)]
_BETAS = "two numbers ≥ 0 and < 1"


class Adam(Section):
    betas: _Betas = Field(default=[0.9, 0.999], title=_BETAS)
    eps: Number = Field(default=1e-8, gt=0, le=1)
    bias_correction: bool = True


class SGD(Section):
    momentum: Number = Field(default=0.0, ge=0, lt=1)
    dampening: Number = Field(default=0.0, ge=0, le=1)
    nesterov: bool = False

    def conflicts(self) -> list[tuple[str, str]]:
        if self.nesterov and (not self.momentum or self.dampening):
            return [("nesterov", "needs a momentum and no dampening")]
        return []


class Muon(Section):
    momentum: Number = Field(default=0.95, ge=0, lt=1)
    nesterov: bool = True
    ns_steps: Whole = Field(default=5, ge=1, le=100)
    # Its author's examples: 0.02 for Muon, 3e-4 for AdamW.
    adamw_ratio: Number = Field(default=0.015, gt=0, le=1)


class Adafactor(Section):
    eps: list[Annotated[Number, Field(gt=0, le=1)]] = Field(
        default=[1e-30, 1e-3], min_length=2, max_length=2, title="two numbers > 0 and ≤ 1"
    )
    clip_threshold: Number = Field(default=1.0, gt=0, le=1e6)
    decay_rate: Number = Field(default=-0.8, ge=-1, lt=0)
    beta_1: Number | None = Field(default=None, ge=0, lt=1)
    scale_parameter: bool = False


class Lion(Section):
    betas: _Betas = Field(default=[0.9, 0.99], title=_BETAS)


class RMSprop(Section):
    alpha: _Share = 0.99
    eps: Number = Field(default=1e-8, gt=0, le=1)


class Adagrad(Section):
    eps: Number = Field(default=1e-8, gt=0, le=1)


class AdaDelta(Section):
    rho: _Share = 0.9
    eps: Number = Field(default=1e-6, gt=0, le=1)


OPTIONS: dict[str, type[Section]] = {
    "adamw": Adam,
    "adam": Adam,
    "sgd": SGD,
    "muon": Muon,
    "adafactor": Adafactor,
    "lion": Lion,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adadelta": AdaDelta,
    "adamax": Adam,
}

# Those of MLX that know a weight decay.
DECAYING = ("adamw", "sgd", "muon", "adafactor", "lion")

_ELSEWHERE = {
    "learning_rate": "is training.learning_rate",
    "weight_decay": "is optimization.weight_decay",
    "relative_step": "is not offered: the rate is training.learning_rate along optimization.lr_scheduler",
    "warmup_init": "is training.warmup_steps",
}


def options(name: str, given: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The options of an optimizer: those given, and the defaults of the rest."""
    return OPTIONS[name].model_validate(given.get(name, {})).model_dump()


def _optimizer_config(value: object) -> dict[str, dict[str, Any]]:
    """Options by optimizer; every wrong one is named by its place."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("no mapping")
    problems: list[tuple[str, str]] = []
    found: dict[str, dict[str, Any]] = {}
    for name, given in value.items():
        kind = OPTIONS.get(name)
        if kind is None:
            problems.append((str(name), _unknown_optimizer(str(name))))
        elif not isinstance(given, dict | None):
            problems.append((name, f"must be a mapping of {', '.join(kind.model_fields)}"))
        else:
            try:
                found[name] = kind.model_validate(given or {}).model_dump(exclude_unset=True)
            except ValidationError as error:
                for details in error.errors(include_url=False):
                    problems += _sentences(name, kind, details)
    if problems:
        text = "; ".join(f"{key}: {sentence}" for key, sentence in problems)
        raise PydanticCustomError("conflict", "{text}", {"text": text, "conflicts": problems})
    return found


OptimizerConfig = Annotated[dict[str, dict[str, Any]], PlainValidator(_optimizer_config)]


def _unknown_optimizer(name: str) -> str:
    owners = [optimizer for optimizer, kind in OPTIONS.items() if name in kind.model_fields]
    if owners:
        return f"options stand under the name of their optimizer: optimizer_config: {{{owners[0]}: {{{name}: ...}}}}"
    near = difflib.get_close_matches(name, OPTIONS, 1)
    return f"unknown optimizer; did you mean {near[0]}?" if near else f"unknown optimizer; known: {', '.join(OPTIONS)}"


def _sentences(name: str, kind: type[Section], details: ErrorDetails) -> list[tuple[str, str]]:
    if details["type"] == "conflict":
        return [(f"{name}.{key}", sentence) for key, sentence in details["ctx"]["conflicts"]]
    key = str(details["loc"][0])
    field = kind.model_fields.get(key)
    if field is None:
        known = list(kind.model_fields)
        near = difflib.get_close_matches(key, known, 1)
        hint = f"unknown key; did you mean {near[0]}?" if near else f"unknown key; {name} has {', '.join(known)}"
        return [(f"{name}.{key}", _ELSEWHERE.get(key, hint))]
    given = details["input"]
    shown = str(given).lower() if isinstance(given, bool) else one_line(str(given), 60)
    return [(f"{name}.{key}", f"must be {field.title or allowed(field)}, not {shown}")]


assert set(OPTIONS) == set(get_args(OptimizerName))

OPTIONS_IN_WORDS = "; ".join(f"{name}: {', '.join(kind.model_fields)}" for name, kind in OPTIONS.items())
