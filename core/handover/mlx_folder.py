"""A model folder with the adapters merged in, quantized where that is asked for, as mlx-lm reads it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.utils import quantize_model, save_config, save_model

from core.config.export import ExportConfig
from core.errors import UserError
from core.models.device import DTYPES
from core.models.fusing import fuse
from core.models.load import LanguageModel, cast, load

# What belongs to a model beside its weights and config.json. Copied to the byte: a tokenizer that is read and written
# anew is another file, under another class's name in another version of transformers.
_BESIDE = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json",
)  # fmt: skip
_QUANTIZATION = ("quantization", "quantization_config")
# Where a config.json says which type the weights have; transformers renamed it.
_TYPE_KEYS = ("dtype", "torch_dtype")


@dataclass(frozen=True, slots=True)
class Written:
    """What the weights of the folder are now."""

    dtype: str  # of those that are not quantized
    bits: int | None
    group_size: int | None
    parameters: int

    @property
    def types(self) -> list[str]:
        return self.dtype.split(" and ")

    @property
    def words(self) -> str:
        if self.bits is None:
            return self.dtype
        return f"{self.bits} bits a weight, {self.group_size} to a scale, the rest {self.dtype}"


def fused(folder: Path, config: ExportConfig, *, plain: bool) -> LanguageModel:
    """The model with its adapter merged in: each sum in float32, rounded once.

    Args:
        plain: quantized weights are written out, with what they were rounded to.
    """
    wide = config.dtype == "float32"
    loaded = load(folder, dtype=mx.float32 if wide else None, trust_remote_code=config.trust_remote_code, fused=False)
    fuse(loaded.model, dequantize=plain)
    settings = dict(loaded.config)
    if plain:
        settings = {key: value for key, value in settings.items() if key not in _QUANTIZATION}
    if config.dtype is not None:
        cast(loaded.model, DTYPES[config.dtype])
        settings |= {key: config.dtype for key in _TYPE_KEYS if key in settings} or {"dtype": config.dtype}
    mx.eval(loaded.model.parameters())
    return replace(loaded, config=settings)


def quantized(loaded: LanguageModel, bits: int, group_size: int) -> LanguageModel:
    """Quantized as `mlx_lm convert -q` does it.

    Raises:
        UserError: no layer has rows that such groups divide.
    """
    fitting = [
        m for _, m in loaded.model.named_modules() if hasattr(m, "to_quantized") and not m.weight.shape[-1] % group_size
    ]
    if not fitting:
        raise UserError(f"--group-size {group_size}: no layer's rows are a multiple of it: take a smaller one")
    model, settings = quantize_model(loaded.model, dict(loaded.config), group_size, bits)
    mx.eval(model.parameters())
    return replace(loaded, model=model, config=settings)


def write(loaded: LanguageModel, folder: Path, *, code: bool) -> Written:
    """Write it into an existing folder.

    Args:
        code: the model's own Python files too.
    """
    save_model(folder, loaded.model)
    save_config(dict(loaded.config), folder / "config.json")
    beside = [name for name in _BESIDE if (loaded.path / name).is_file()]
    beside += [
        file.name for pattern in ("*.tiktoken", *(["*.py"] if code else [])) for file in loaded.path.glob(pattern)
    ]
    for name in beside:
        shutil.copyfile(loaded.path / name, folder / name)
    templates = loaded.path / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, folder / templates.name)
    return told(loaded.model)


def told(model: nn.Module) -> Written:
    layers = [module for _, module in model.named_modules() if hasattr(module, "bits")]
    every = tree_flatten(model.parameters())
    floats = [(name, value) for name, value in every if mx.issubdtype(value.dtype, mx.floating)]
    types = dict.fromkeys(str(value.dtype).removeprefix("mlx.core.") for _, value in floats)
    # Scales and biases of quantized layers are no parameters of the model.
    plain = sum(value.size for name, value in floats if not name.endswith((".scales", ".biases")))
    packed = sum(layer.weight.size * 32 // layer.bits for layer in layers)
    first = layers[0] if layers else None
    return Written(
        dtype=" and ".join(types),
        bits=int(first.bits) if first is not None else None,
        group_size=int(first.group_size) if first is not None else None,
        parameters=plain + packed,
    )
