"""A reward model as a folder: whole, as transformers has it, or an adapter and a score on the model they stand on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import _get_classes, save_config, save_model
from pydantic import Field

from core.config.load import load_config
from core.config.models import Adapter, Section, Text, Whole
from core.errors import UserError
from core.models.adapters import save_adapters
from core.models.load import LanguageModel, load, read_config
from core.models.reward_head import RewardModel, new_score, padding, width
from core.workspace import name_from, path_from

SETTINGS = "reward_config.json"
HEAD = "reward_head.safetensors"
_SCORE = "score.weight"
_WHOLE = "ForSequenceClassification"
_ADAPTERS = ("adapter_config.json", "adapters.safetensors", HEAD)


class RewardSettings(Section):
    """reward_config.json: what weights alone do not say."""

    format: Literal[1] = Field(description="Of this file.")
    base_model: Text | None = Field(
        default=None, description="Folder of the model that adapter and score stand on; none for a whole model."
    )
    pad_token_id: Whole | None = Field(
        default=None, description="The reward is read off at the last token that is not this one.", ge=0
    )
    apply_chat_template: bool = Field(
        default=False, description="Plain-text pairs were put into the chat template in training."
    )
    max_prompt_length: Whole | None = Field(
        default=None, description="Prompts were cut to this from the left in training.", ge=1
    )


@dataclass(frozen=True, slots=True)
class LoadedReward:
    """A reward model in memory. `path` is the folder its body, tokenizer and configuration were read from."""

    model: RewardModel
    tokenizer: Any  # mlx_lm's TokenizerWrapper
    config: dict[str, Any]
    path: Path
    settings: RewardSettings
    vocabulary: int


def is_reward(path: Path) -> bool:
    """Whether a folder says that it is a reward model."""
    return (path / SETTINGS).is_file() or ((path / "config.json").is_file() and _says_so(read_config(path)))


def refuse_other(path: Path) -> None:
    """Raises:
    UserError: a folder does not say that it is a reward model.
    """
    if not is_reward(path):
        raise UserError(
            f"{path} is no reward model (no {SETTINGS}, no ...{_WHOLE} in its config.json): train one with "
            "'dpotui train reward', or name another folder"
        )


def load_reward(path: Path, *, dtype: mx.Dtype | None = None, trust_remote_code: bool = False) -> LoadedReward:
    """Load a reward model: a folder that 'dpotui train reward' wrote, or a model with one score of transformers'.

    Args:
        path: the folder.
        dtype: floating weights of the body become this type, as `load` has it. The score is float32.
        trust_remote_code: let code that lies in the model's folder run.

    Raises:
        UserError: files are missing, broken, or of another kind of model.
    """
    refuse_other(path)
    settings = read_settings(path)
    if settings is not None and settings.base_model is not None:
        loaded = _on_its_base(path, settings, dtype, trust_remote_code)
    else:
        loaded = _whole(path, settings, dtype, trust_remote_code)
    mx.eval(loaded.model.parameters())
    loaded.model.eval()
    return loaded


def start_reward(
    path: Path, settings: RewardSettings, *, seed: int, dtype: mx.Dtype | None = None, trust_remote_code: bool = False
) -> LoadedReward:
    """The reward model that training starts from: a language model with a fresh score, or a whole reward model.

    Args:
        settings: those of the model to be trained; padding is taken from what it starts from.
        seed: of a fresh score.
    """
    if is_reward(path):
        found = read_settings(path)
        if found is not None and found.base_model is not None:
            raise UserError(
                f"{path} is a reward model made of an adapter, which no other can stand on: start from "
                f"{found.base_model}, or from one trained with adapter.type: full"
            )
        loaded = _whole(path, found, dtype, trust_remote_code)
        settings = settings.model_copy(update={"pad_token_id": loaded.settings.pad_token_id})
    else:
        base = load(path, dtype=dtype, trust_remote_code=trust_remote_code)
        settings = settings.model_copy(update={"pad_token_id": padding(base.tokenizer)})
        score = new_score(base.config, width(base.model), seed)
        # The vocabulary is counted before the output head goes.
        vocabulary = base.vocabulary
        model = RewardModel(base.model, score, settings.pad_token_id)
        loaded = LoadedReward(model, base.tokenizer, base.config, path, settings, vocabulary)
    mx.eval(loaded.model.parameters())
    return LoadedReward(loaded.model, loaded.tokenizer, loaded.config, path, settings, loaded.vocabulary)


def save_reward(loaded: LoadedReward, adapter: Adapter, folder: Path) -> None:
    """Write a reward model into an existing folder: adapter and score, or all of it, by what was trained."""
    settings = loaded.settings
    if adapter.type == "full":
        settings = settings.model_copy(update={"base_model": None})
        _save_whole(loaded, folder)
    else:
        base = loaded.path.resolve()
        settings = settings.model_copy(update={"base_model": name_from(folder, base)})
        save_adapters(loaded.model.language_model, adapter, base, folder)
        mx.save_safetensors(str(folder / HEAD), {_SCORE: loaded.model.score.weight})
    text = json.dumps(settings.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / SETTINGS).write_text(text + "\n", "utf-8")


def read_settings(path: Path) -> RewardSettings | None:
    """The reward_config.json of a folder, None where it has none.

    Raises:
        UserError: a line for each error in it.
    """
    # JSON is YAML: errors come with their line, and size and depth are bounded.
    return load_config(path / SETTINGS, RewardSettings) if (path / SETTINGS).exists() else None


def _says_so(config: dict[str, Any]) -> bool:
    architectures = config.get("architectures")
    return isinstance(architectures, list) and any(str(name).endswith(_WHOLE) for name in architectures)


def _on_its_base(path: Path, settings: RewardSettings, dtype: mx.Dtype | None, trust_remote_code: bool) -> LoadedReward:
    lacking = [name for name in _ADAPTERS if not (path / name).is_file()]
    if lacking:
        raise UserError(f"{path} has no {', '.join(lacking)}: a reward model on {settings.base_model} needs it")
    base = path_from(path, str(settings.base_model))
    if not base.is_dir():
        raise UserError(f"{path / SETTINGS}: its model ({str(base)!r}) is not a folder here: edit base_model")
    score = _read_head(path / HEAD)
    plain = RewardSettings(format=1, pad_token_id=settings.pad_token_id)
    loaded = start_reward(base, plain, seed=0, dtype=dtype, trust_remote_code=trust_remote_code)
    model = RewardModel(loaded.model.language_model, _fitting(score, loaded.model, path / HEAD), settings.pad_token_id)
    try:
        load_adapters(model.language_model, str(path))
        written = mx.load(str(path / "adapters.safetensors"))
        assert isinstance(written, dict)
        names = {n for n, _ in tree_flatten(model.parameters()) if n.rsplit(".", 1)[1] in ("lora_a", "lora_b", "m")}
        missing = sorted(names - {f"language_model.{name}" for name in written})
        if missing:
            raise ValueError(f"{missing[0].removeprefix('language_model.')} is not in adapters.safetensors")
    except MemoryError:
        raise
    except Exception as error:  # a stranger's files can make mlx-lm raise anything
        raise UserError(f"{path} does not fit the model {base}: {_reason(error)}") from error
    return LoadedReward(model, loaded.tokenizer, loaded.config, base, settings, loaded.vocabulary)


def _read_head(file: Path) -> mx.array:
    try:
        weights = mx.load(str(file))
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{file} cannot be read: {_reason(error)}") from error
    if not isinstance(weights, dict) or set(weights) != {_SCORE}:
        names = ", ".join(sorted(weights)) if isinstance(weights, dict) else "an array"
        raise UserError(f"{file} holds {names or 'nothing'}, not {_SCORE}: is it the file of a reward model?")
    return weights[_SCORE]


def _fitting(score: mx.array, model: nn.Module, file: Path) -> mx.array:
    """The weights of a score, if they are those of one number from what the body gives."""
    wanted = (1, model.score.weight.shape[1])
    if score.shape != wanted or not mx.issubdtype(score.dtype, mx.floating):
        raise UserError(
            f"{file}: {_SCORE} has shape {tuple(score.shape)}, {wanted} is wanted: a reward is one number from what "
            "the model gives"
        )
    if not bool(mx.isfinite(score).all()):
        raise UserError(f"{file}: {_SCORE} holds values that are no numbers: the file is broken, write it again")
    return score


def _whole(
    path: Path, settings: RewardSettings | None, dtype: mx.Dtype | None, trust_remote_code: bool
) -> LoadedReward:
    """A folder of transformers' *ForSequenceClassification: the body's weights and score.weight."""
    found: dict[str, mx.array] = {}
    if not (path / "config.json").is_file():
        raise UserError(f"{path / SETTINGS} names no base_model, and {path} has no config.json of its own: name one")

    def classes(config: dict[str, Any]) -> tuple[type, type]:
        model_class, arguments = _get_classes(config)
        original = getattr(model_class, "sanitize", None)

        def sanitize(self: Any, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            found.update({name: value for name, value in weights.items() if name.startswith("score.")})
            rest = {name: value for name, value in weights.items() if name not in found}
            rest = original(self, rest) if original is not None else rest
            self.pop("lm_head", None)
            return {name: value for name, value in rest.items() if not name.startswith("lm_head.")}

        # mlx-lm calls this with the weights of the files, before it compares them with the model's.
        changed = {"sanitize": sanitize, "__module__": model_class.__module__}
        return type("Model", (model_class,), changed), arguments

    base: LanguageModel = load(path, dtype=dtype, trust_remote_code=trust_remote_code, classes=classes)
    if set(found) != {_SCORE}:
        raise UserError(
            f"{path} has {', '.join(sorted(found)) or 'no ' + _SCORE}: a reward model has {_SCORE} alone, a linear "
            "score without bias"
        )
    size = width(base.model)
    blank = RewardModel(base.model, mx.zeros((1, size)), None)
    pad = base.config.get("pad_token_id")
    pad = pad if isinstance(pad, int) and pad >= 0 else None
    if settings is not None and settings.pad_token_id != pad:
        raise UserError(
            f"{path}: pad_token_id is {settings.pad_token_id} in {SETTINGS} and {pad} in config.json: make them the "
            "same, the reward is read off before it"
        )
    settings = settings or RewardSettings(format=1, pad_token_id=pad)
    model = RewardModel(base.model, _fitting(found[_SCORE], blank, path), pad)
    return LoadedReward(model, base.tokenizer, base.config, path, settings, _vocabulary(base, path))


def _vocabulary(base: LanguageModel, path: Path) -> int:
    arguments = getattr(base.model, "args", None)
    size = getattr(arguments, "vocab_size", base.config.get("vocab_size"))
    if not isinstance(size, int):
        raise UserError(f"{path / 'config.json'} names no vocab_size: a reward model needs it")
    return size


def _save_whole(loaded: LoadedReward, folder: Path) -> None:
    """As transformers opens it with AutoModelForSequenceClassification."""
    model = loaded.model
    whole = nn.Module()
    for name, child in model.language_model.children().items():
        whole[name] = child
    whole.score = model.score
    save_model(folder, whole)
    config = {**loaded.config, "architectures": [_architecture(loaded.config)]}
    config |= {"num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    config |= {"pad_token_id": model.pad_token_id, "dtype": "float32"}
    config.pop("torch_dtype", None)
    save_config(config, folder / "config.json")
    loaded.tokenizer.save_pretrained(folder)


def _architecture(config: dict[str, Any]) -> str:
    architectures = config.get("architectures")
    name = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    stem = name.removesuffix("ForCausalLM").removesuffix(_WHOLE) or str(config["model_type"]).capitalize()
    return stem + _WHOLE


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
