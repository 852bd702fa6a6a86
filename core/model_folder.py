"""What a model folder says of its size: config.json and the headers of its safetensors, nothing loaded."""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import UserError
from core.workspace import Workspace, path_from

# A header names every tensor of a file; that of the largest models takes a few megabytes.
_LONGEST_HEADER = 100_000_000

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2}  # others: 1
_FLOATS = ("F64", "F32", "F16", "BF16")
_IN_BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.(.+)$")
_HEAD = re.compile(r"(?:^|\.)lm_head\.")
# Names of the same thing in the configurations of older architectures.
_NAMES = {
    "hidden": ("hidden_size", "n_embd", "d_model", "model_dim"),
    "blocks": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "inner": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
}


class Tensor(NamedTuple):
    name: str
    dtype: str  # as safetensors names it
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def stored(self) -> int:
        """Bytes in the file."""
        return self.size * _BYTES.get(self.dtype, 1)


class Linear(NamedTuple):
    """A layer that can have an adapter: `experts` of them of one size."""

    block: int
    name: str  # within its block
    inputs: int
    outputs: int
    experts: int


@dataclass(frozen=True)
class ModelShape:
    """Sizes that memory depends on. `inner` is what a token sees of the feed-forward layer, its experts together;
    `chosen_experts` how many that are, 0 in a dense model."""

    folder: Path
    model_type: str
    blocks: int
    hidden: int
    inner: int
    chosen_experts: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    group_size: int
    tensors: tuple[Tensor, ...]

    @cached_property
    def parameters(self) -> int:
        """Numbers in the model; those of quantized layers counted as if they were not."""
        packed = {f"{name}.weight" for name in self._scales}
        return sum(
            math.prod(self._scales[t.name.removesuffix(".weight")].shape) * self.group_size
            if t.name in packed
            else t.size
            for t in self.tensors
            if t.name in packed or t.dtype in _FLOATS
            if not t.name.endswith((".scales", ".biases"))
        )

    @property
    def quantized(self) -> bool:
        return bool(self._scales)

    def weights(self, size: int) -> int:
        """Bytes in memory with floating weights of `size` bytes; quantized layers stay as they are."""
        return sum(
            t.size * size if t.dtype in _FLOATS and t.name.rsplit(".", 1)[0] not in self._scales else t.stored
            for t in self.tensors
        )

    @cached_property
    def linears(self) -> list[Linear]:
        """The layers in blocks that can have an adapter."""
        found = []
        for tensor in self.tensors:
            place = _IN_BLOCK.search(tensor.name)
            if place is None or not place[2].endswith(".weight") or len(tensor.shape) not in (2, 3):
                continue
            *experts, outputs, inputs = tensor.shape
            owner = tensor.name.removesuffix(".weight")
            if owner in self._scales:
                inputs = self._scales[owner].shape[-1] * self.group_size
            name = place[2].removesuffix(".weight")
            found.append(Linear(int(place[1]), name, inputs, outputs, math.prod(experts)))
        return found

    @cached_property
    def _scales(self) -> dict[str, Tensor]:
        """Of each quantized layer, by its name."""
        return {t.name.removesuffix(".scales"): t for t in self.tensors if t.name.endswith(".scales")}


def find_folder(workspace: Workspace, name: str) -> Path | None:
    """The folder of a model that is on this machine, in the workspace or among what a hub gave; fetches nothing."""
    folder = workspace.path(name)
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def read_shape(folder: Path) -> ModelShape:
    """The shape of a model folder, or of the model that an adapter folder stands on.

    Raises:
        UserError: no such folder, or files in it that cannot be read.
    """
    adapter = folder / "adapter_config.json"
    if adapter.is_file() and not (folder / "config.json").is_file():
        base = _read_json(adapter).get("model")
        if not isinstance(base, str):
            raise UserError(f"{adapter} names no model that the adapter stands on")
        folder = path_from(folder, base)
    files = sorted(folder.glob("model*.safetensors"))
    stamps = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return _read_shape(folder, stamps)


@lru_cache(maxsize=8)
def _read_shape(folder: Path, stamps: tuple[tuple[Path, int, int], ...]) -> ModelShape:
    config = read_config(folder)
    if not stamps:
        raise UserError(f"{folder} has no model*.safetensors: convert it to safetensors first")
    # Models of text and pictures keep the language model's own part.
    text = config.get("text_config")
    keys = {**config, **text} if isinstance(text, dict) else config
    tensors = [tensor for file, *_ in stamps for tensor in _header(file)]
    if keys.get("tie_word_embeddings") is True:
        tensors = [tensor for tensor in tensors if not _HEAD.search(tensor.name)]
    hidden = _whole(folder, keys, "hidden")
    heads = _whole(folder, keys, "heads", default=1)
    in_blocks = [int(place[1]) for t in tensors if (place := _IN_BLOCK.search(t.name))]
    quantization = keys.get("quantization") or {}
    return ModelShape(
        folder=folder,
        model_type=str(config["model_type"]),
        blocks=_whole(folder, keys, "blocks", default=max(in_blocks, default=-1) + 1),
        hidden=hidden,
        inner=_inner(folder, keys, hidden),
        chosen_experts=_positive(keys.get("num_experts_per_tok")) or 0,
        heads=heads,
        kv_heads=_positive(keys.get("num_key_value_heads")) or heads,
        head_dim=_positive(keys.get("head_dim")) or max(1, hidden // heads),
        vocabulary=_vocabulary(keys, tensors),
        group_size=_positive(quantization.get("group_size") if isinstance(quantization, dict) else None) or 64,
        tensors=tuple(tensors),
    )


def _inner(folder: Path, keys: dict[str, Any], hidden: int) -> int:
    """Width of the feed-forward layer as one token sees it."""
    dense = _whole(folder, keys, "inner", default=4 * hidden)
    chosen = _positive(keys.get("num_experts_per_tok"))
    if chosen is None:
        return dense
    of_expert = _positive(keys.get("moe_intermediate_size")) or dense
    shared = _positive(keys.get("shared_expert_intermediate_size"))
    shared = shared or (_positive(keys.get("n_shared_experts")) or 0) * of_expert
    return chosen * of_expert + shared


def _vocabulary(keys: dict[str, Any], tensors: list[Tensor]) -> int:
    embeddings = [t.shape[0] for t in tensors if re.search(r"(?:embed_tokens|wte|lm_head)\.weight$", t.name)]
    return _positive(keys.get("vocab_size")) or max(embeddings, default=0)


def _whole(folder: Path, keys: dict[str, Any], what: str, default: int | None = None) -> int:
    found = next((value for name in _NAMES[what] if (value := _positive(keys.get(name)))), default)
    if found is None:
        raise UserError(f"{folder / 'config.json'} names no {_NAMES[what][0]}: is it that of a language model?")
    return found


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _header(file: Path) -> list[Tensor]:
    """The tensors that a safetensors file declares."""
    try:
        with file.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(handle.read(length))
        return [
            Tensor(name, str(told["dtype"]), tuple(int(n) for n in told["shape"]))
            for name, told in header.items()
            if name != "__metadata__"
        ]
    except (OSError, struct.error, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} is not a safetensors file that can be read: {error}") from error


def read_config(path: Path) -> dict[str, Any]:
    """A model folder's config.json."""
    file = path / "config.json"
    if not file.is_file():
        raise UserError(f"{path} is not a model folder: it has no config.json")
    config = _read_json(file)
    if "model_type" not in config:
        raise UserError(f"{file} names no model_type: is it the configuration of a language model?")
    return config


def _read_json(file: Path) -> dict[str, Any]:
    """The object in a file; empty where it holds something else."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    return found if isinstance(found, dict) else {}
