"""Find and load a language model: a folder of safetensors, an adapter folder over one, or a hub id."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model as mlx_load_model
from mlx_lm.utils import load_tokenizer

from core.errors import UserError
from core.model_folder import read_config as read_config
from core.models.adapters import fuse
from core.models.rope_names import older_names
from core.workspace import Workspace, path_from

Classes = Callable[..., tuple[type, type]]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# What is fetched from a hub: never code, never pickles.
_HUB_FILES = ["*.json", "model*.safetensors", "tokenizer.model", "*.tiktoken", "*.txt", "*.jinja"]


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model in memory. `path` is the folder its tokenizer and configuration were read from."""

    model: nn.Module
    tokenizer: Any  # mlx_lm's TokenizerWrapper
    config: dict[str, Any]
    path: Path

    @property
    def vocabulary(self) -> int:
        """How many tokens it knows: ids are below."""
        # Nothing is computed: the shape is known before.
        return int(self.model(mx.array([[0]])).shape[-1])


def resolve(workspace: Workspace, name: str) -> Path:
    """The folder of a model named by a path (from the workspace) or by a hub id, which is fetched when it is new.

    Raises:
        UserError: neither a folder nor to be had from the hub.
    """
    folder = workspace.path(name)
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(name) or name.startswith(("checkpoints/", "models/", "outputs/", "data/")):
        raise UserError(f"model '{name}': no folder {folder}: train or copy it there, or name another one")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"model '{name}': no folder {folder}, and the hub did not give it ({reason[:200]}): "
            "check the name and the network, or copy the model folder into the workspace"
        ) from error


def load(
    path: Path,
    *,
    dtype: mx.Dtype | None = None,
    trust_remote_code: bool = False,
    classes: Classes | None = None,
    fused: bool | None = True,
) -> LanguageModel:
    """Load a model folder, or an adapter folder with the model it was trained on.

    Args:
        path: the folder.
        dtype: floating weights become this type; None keeps what the file has. Quantized weights stay quantized.
        trust_remote_code: let code that lies in the model's folder run. Off unless the person asks by name.
        fused: merge an adapter into the weights in memory; else it stays beside them, and `adapters_off` gives the
            model it was trained on. None: merged, but not into quantized weights, which would be rounded anew and
            compute something else than was trained.
        classes: from config.json to the classes of model and arguments, for models that mlx-lm has no name for.

    Raises:
        UserError: files are missing, unknown to mlx-lm, or want code of their own to run.
    """
    if classes is None and (path / "reward_config.json").is_file():
        raise UserError(f"{path} is a reward model, not a language model: 'dpotui score --reward' reads it")
    base = adapted(path)
    if base is not None:
        return _load_adapted(path, base, dtype, trust_remote_code, fused)
    config = read_config(path)
    if not any(path.glob("model*.safetensors")):
        raise UserError(
            f"{path} has no model*.safetensors: other formats are not read, convert it to safetensors first"
        )
    if not trust_remote_code and (config.get("model_file") or config.get("auto_map")):
        raise UserError(
            f"{path} wants to run code of its own (model_file or auto_map in config.json): "
            "set model.trust_remote_code: true only if you trust who made it"
        )
    try:
        options: dict[str, Any] = {"model_config": older_names(config)}
        options |= {} if classes is None else {"get_model_classes": classes}
        model, config = mlx_load_model(path, lazy=True, trust_remote_code=trust_remote_code, **options)
        tokenizer = load_tokenizer(
            path, {"trust_remote_code": trust_remote_code}, eos_token_ids=config.get("eos_token_id")
        )
    except MemoryError:
        raise
    except Exception as error:  # a stranger's files can make mlx-lm and its tokenizers raise anything
        raise UserError(f"{path} cannot be loaded as a language model: {_reason(error)}") from error
    # Whoever tokenizes cuts to the model's positions, or counts what is too long; transformers cannot know that, and
    # tells people of errors to come.
    getattr(tokenizer, "deprecation_warnings", {})["sequence-length-is-longer-than-the-specified-maximum"] = True
    if dtype is not None:
        cast(model, dtype)
    mx.eval(model.parameters())
    model.eval()
    return LanguageModel(model, tokenizer, config, path)


def cast(model: nn.Module, dtype: mx.Dtype) -> None:
    """Floating weights become `dtype`, but for those that the model wants as they are.

    The scales and biases of quantized layers too: of another half type than the activations they would make the
    product, and all that follows, float32.
    """
    wanted = getattr(model, "cast_predicate", lambda name: True)

    def convert(name: str, value: Any) -> Any:
        return value.astype(dtype) if mx.issubdtype(value.dtype, mx.floating) and wanted(name) else value

    model.update(tree_map_with_path(convert, model.parameters()))


def adapted(path: Path) -> Path | None:
    """The model folder that an adapter folder was trained on; None where the folder is no adapter.

    Raises:
        UserError: the adapter does not say, or the model is not here.
    """
    if not (path / "adapter_config.json").is_file() or (path / "config.json").is_file():
        return None
    file = path / "adapter_config.json"
    try:
        base = json.loads(file.read_text("utf-8")).get("model")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    if not isinstance(base, str) or not (path_from(path, base) / "config.json").is_file():
        raise UserError(
            f"{file}: the model it was trained on ({base!r}) is not a model folder here: edit 'model' in it"
        )
    return path_from(path, base)


def _load_adapted(
    path: Path, base: Path, dtype: mx.Dtype | None, trust_remote_code: bool, fused: bool | None
) -> LanguageModel:
    loaded = load(base, dtype=dtype, trust_remote_code=trust_remote_code)
    try:
        load_adapters(loaded.model, str(path))
    except MemoryError:
        raise
    except Exception as error:
        raise UserError(f"{path} does not fit the model {base}: {_reason(error)}") from error
    if fused or (fused is None and "quantization" not in loaded.config):
        fuse(loaded.model)
    loaded.model.eval()
    return loaded


def _reason(error: Exception) -> str:
    """What an error of a library says, as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
