"""What is measured: the mixes and the growth, with everything that is the same for all programs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.benchmarks.models import SHAPE
from tests.benchmarks.pairs import Lengths

# The same for every program and measurement. Clipping is off and the rate level: mlx-lm-lora has no clipping.
TRAINING: dict[str, Any] = {
    "learning_rate": 1e-4,
    "beta": 0.1,
    "weight_decay": 0.01,
    "rank": 8,
    "scale": 2.0,
    "num_layers": 8,
    "linear_layers": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "seed": 42,
}

# Program to what a reader calls it.
PROGRAMS = {
    "ours": "dpotui",
    "ours-again": "dpotui, run again on the same pairs",
    "mlx-lm-lora": "mlx-lm-lora",
    "trl": "TRL",
    "trl-precompute": "TRL, precompute_ref_log_probs",
}
# Program to the environment and driver it runs in.
DRIVERS = {
    "ours": "ours",
    "ours-again": "ours",
    "mlx-lm-lora": "mlx_lm_lora",
    "trl": "trl",
    "trl-precompute": "trl",
}
ENVIRONMENTS = {"ours": "ours", "mlx_lm_lora": "mlx-lm-lora", "trl": "trl"}

RESPONSE_HEAVY, PROMPT_HEAVY = 0.2, 0.75
LENGTHS = (128, 256, 512, 1024)
VOCABULARIES = (8_192, 49_152, 131_072)
BATCHES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row of a table: `pairs` pairs of `length` tokens, `epochs` times.

    Attributes:
        group: the table it stands in; `value` is its place there.
        vocabulary: of a generated model; None takes the model that was given.
        evaluate: ask each program for its loss over all pairs when the clock has stopped.
    """

    name: str
    group: str
    value: int | str
    length: int = 256
    prompt_share: float = RESPONSE_HEAVY
    batch_size: int = 2
    pairs: int = 12
    epochs: int = 2
    rounds: int = 3
    vocabulary: int | None = None
    evaluate: bool = False
    programs: tuple[str, ...] = ("ours", "mlx-lm-lora", "trl")

    def __post_init__(self) -> None:
        # Peers leave out or pad a last partial batch in ways of their own.
        assert self.pairs % self.batch_size == 0

    @property
    def lengths(self) -> Lengths:
        return Lengths.of(self.length, self.prompt_share)


def _mixes(**changes: Any) -> list[Measurement]:
    return [
        Measurement("response-heavy", "mix", "response-heavy", prompt_share=RESPONSE_HEAVY, **changes),
        Measurement("prompt-heavy", "mix", "prompt-heavy", prompt_share=PROMPT_HEAVY, **changes),
    ]


def profile(name: str) -> list[Measurement]:
    """The measurements of `quick` (some minutes on two cores) or `full`, the most telling ones first."""
    if name == "quick":
        return _mixes(pairs=6, epochs=2, rounds=1)
    assert name == "full"
    growth: dict[str, Any] = {"pairs": 4, "epochs": 2, "rounds": 1}
    return [
        *_mixes(evaluate=True, programs=tuple(PROGRAMS)),
        *(Measurement(f"length-{n}", "length", n, length=n, **growth) for n in LENGTHS),
        *(Measurement(f"vocabulary-{n}", "vocabulary", n, vocabulary=n, **growth) for n in VOCABULARIES),
        *(
            replace(Measurement(f"batch-{n}", "batch", n, **growth), batch_size=n, pairs=max(4, n), epochs=2)
            for n in BATCHES
        ),
    ]


def expected_layers(blocks: int) -> list[str]:
    """Which layers must carry an adapter in every program, as `block.layer`."""
    owner = {"q": "self_attn", "k": "self_attn", "v": "self_attn", "o": "self_attn"}
    names = [f"{owner.get(layer.split('_')[0], 'mlp')}.{layer}" for layer in TRAINING["linear_layers"]]
    return [f"{n}.{name}" for n in range(blocks - TRAINING["num_layers"], blocks) for name in sorted(names)]


GENERATED_BLOCKS = SHAPE["num_hidden_layers"]
