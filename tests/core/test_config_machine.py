"""compute.dtype, compute.fp16 and adapter.type together: the type of the weights, and what is said of it."""

from __future__ import annotations

import pytest

from core.config import Platform, SFTConfig, answers, load_config, plan_for
from core.workspace import templates

HERE = {"gpu": Platform("macos", "metal"), "cpu": Platform("linux", None)}

# device, fp16, dtype, adapter -> type of the weights, what is said of them
CASES: dict[tuple[str, str, str, str], tuple[str, list[str]]] = {
    ("gpu", "true", "auto", "lora"): ("bfloat16", ["compute.fp16: true: bfloat16"]),
    ("gpu", "true", "auto", "dora"): ("bfloat16", ["compute.fp16: true: bfloat16"]),
    ("gpu", "true", "auto", "full"): ("float32", ["compute.fp16: true: float32, because every weight is trained"]),
    ("gpu", "false", "auto", "lora"): ("float32", []),
    ("gpu", "false", "auto", "full"): ("float32", []),
    ("cpu", "true", "auto", "lora"): ("float32", ["compute.fp16: true: float32, because MLX is slow"]),
    ("cpu", "true", "auto", "full"): ("float32", ["compute.fp16: true: float32, because MLX is slow"]),
    ("gpu", "true", "bfloat16", "lora"): ("bfloat16", ["compute.dtype: bfloat16: weights and activations"]),
    ("gpu", "false", "bfloat16", "lora"): ("bfloat16", ["compute.dtype: bfloat16: weights and activations"]),
    ("gpu", "true", "bfloat16", "full"): ("bfloat16", ["keeps a float32 copy of the weights"]),
    ("gpu", "true", "float16", "lora"): ("float16", ["the loss is scaled"]),
    ("gpu", "true", "float32", "lora"): ("float32", ["compute.fp16: true: has no say"]),
    ("gpu", "false", "float32", "full"): ("float32", []),
    ("cpu", "false", "bfloat16", "lora"): ("bfloat16", ["about 20 times slower at it on a CPU"]),
    ("cpu", "true", "float16", "full"): ("float16", ["about 20 times slower at it on a CPU"]),
}


@pytest.mark.parametrize("case", list(CASES), ids=" ".join)
def test_the_type_of_the_weights(case: tuple[str, str, str, str]) -> None:
    device, fp16, dtype, adapter = case
    config = load_config(
        templates() / "sft_config.yaml",
        SFTConfig,
        [f"compute.fp16={fp16}", f"compute.dtype={dtype}", f"adapter.type={adapter}"],
    )
    expected, said = CASES[case]
    planned = plan_for(config, HERE[device])
    assert (planned.device, planned.dtype) == (device, expected)
    found = [s for s in answers(config, HERE[device]) if s.startswith(("compute.fp16", "compute.dtype"))]
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


def test_auto_is_the_template_s() -> None:
    assert load_config(templates() / "sft_config.yaml", SFTConfig).compute.dtype == "auto"
