"""Which architectures other programs open under which names, as it was tried; read without loading MLX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.model_folder import read_config
from core.text import one_line

# mlx-lm keeps the tensors of these under transformers' own names and in its shapes, and both give the same logits
# (within 1e-5 of the largest): compared with random models, transformers 5.23 and mlx-lm 0.32.
SAME_IN_TRANSFORMERS = frozenset(
    (
        "cohere", "cohere2", "ernie4_5", "gemma2", "gemma3_text", "glm4", "granite", "helium", "hunyuan_v1_dense",
        "internlm3", "llama", "ministral3", "mistral", "nemotron", "olmo2", "olmo3", "phi", "phi3", "qwen2", "qwen3",
        "seed_oss", "smollm3", "stablelm",
    )
)  # fmt: skip
# mlx-lm translates the names of three to GGUF's; the experts of mixtral it stacks, which that translation misses.
IN_GGUF = frozenset(("llama", "mistral"))


def no_transformers(folder: Path) -> str:
    """Why transformers is not said to open a model folder of ours; empty where it does."""
    config = read_config(folder)
    if "quantization" in config:
        return "its weights are quantized by MLX, which transformers does not read"
    model_type = str(config["model_type"])
    if model_type not in SAME_IN_TRANSFORMERS:
        return f"whether transformers reads '{one_line(model_type, 40)}' under mlx-lm's names was not tried"
    if config.get("model_file") or config.get("auto_map"):
        return "it comes with code of its own"
    return ""


def no_gguf(folder: Path) -> str:
    """Why there is no GGUF of a model; empty where there is."""
    config = read_config(folder)
    model_type = str(config["model_type"])
    if model_type not in IN_GGUF:
        return f"mlx-lm writes GGUF of {', '.join(sorted(IN_GGUF))}, not of '{one_line(model_type, 40)}'"
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else "default"
    if kind not in ("default", "linear"):
        return f"its positions are scaled by '{one_line(str(kind), 40)}', which mlx-lm's GGUF does not hold"
    if config.get("sliding_window"):
        return "it attends within a window, which GGUF's llama does not"
    if config.get("attention_bias") or config.get("mlp_bias"):
        return "its layers have biases, which mlx-lm's GGUF of a llama was not tried with"
    return no_pre_tokenizer(folder)


def no_pre_tokenizer(folder: Path) -> str:
    try:
        pre_tokenizer(folder)
    except UserError as error:
        return str(error)
    return ""


# By the steps that cut text into words, the name under which llama.cpp knows them.
_DIGITS = ("Digits", True)
_KNOWN: dict[tuple[Any, ...], str] = {
    (("ByteLevel", True),): "gpt-2",
    (_DIGITS, ("ByteLevel", True)): "smollm",
}


def pre_tokenizer(folder: Path) -> str:
    """llama.cpp's name for how the tokenizer of a folder cuts text before its merges: another cut gives other tokens.

    Raises:
        UserError: the tokenizer is none of those that are known to be the same.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UserError("the model's folder has no tokenizer.json")
    try:
        read = json.loads(file.read_text("utf-8"))
        kind, steps = read["model"]["type"], read["pre_tokenizer"]
        steps = steps["pretokenizers"] if steps["type"] == "Sequence" else [steps]
        found = tuple(_step(step) for step in steps)
        plain = not read.get("normalizer") and not read["model"].get("byte_fallback")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError("its tokenizer.json cannot be read as a byte-level BPE") from None
    if kind != "BPE" or not plain or found not in _KNOWN:
        raise UserError("its tokenizer cuts text in a way that is not known to have the same name in llama.cpp")
    return _KNOWN[found]


def _step(step: dict[str, Any]) -> tuple[str, bool]:
    match step["type"]:
        case "ByteLevel" if not step.get("add_prefix_space", True):
            return "ByteLevel", bool(step.get("use_regex", True))
        case "Digits":
            return "Digits", bool(step.get("individual_digits"))
        case other:
            return str(other), False
