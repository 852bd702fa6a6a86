"""Names of metrics as transformers and TRL report them, so that charts made for their runs show ours."""

from __future__ import annotations


def charted(name: str) -> str:
    """As TRL's runs have it in Weights & Biases and TensorBoard: `train/loss`, `eval/rewards/margins`."""
    return f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"


def is_charted(tag: str) -> bool:
    return tag.startswith(("train/", "eval/"))
