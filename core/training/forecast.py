"""Whether a run will fit into this machine's memory, and what would make it fit: said before it starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from core.config import DPOConfig, SFTConfig, TrainingConfig
from core.config import plan as compute_plan
from core.config.models import AUTO
from core.data import lengths as row_lengths
from core.data.lengths import Lengths
from core.errors import UserError
from core.hardware import STARTING_POINTS, MemoryLimit, look, memory_limit
from core.model_folder import ModelShape, find_folder, read_shape
from core.text import printable
from core.training.batch_size import gigabytes
from core.training.memory import Estimate, Verdict, estimate, verdict
from core.workspace import Workspace


class Mend(NamedTuple):
    """Keys that, set otherwise, would make a run fit, and what it would take then (bytes)."""

    changes: dict[str, int | bool | str]
    bytes: int

    @property
    def text(self) -> str:
        settings = " ".join(f"{key}={str(value).lower()}" for key, value in self.changes.items())
        return f"{settings} ({gigabytes(self.bytes)})"


@dataclass(frozen=True, slots=True)
class Forecast:
    """An estimate held against what this machine has. `mends` is empty where it fits."""

    estimate: Estimate
    limit: MemoryLimit
    verdict: Verdict
    mends: tuple[Mend, ...]
    note: str = ""  # where the batch size is from, when it is not the configuration's

    @property
    def impossible(self) -> bool:
        """More than there is in the machine."""
        return self.estimate.bytes > self.limit.physical

    def sentence(self) -> str:
        found = self.estimate
        parts = ", ".join(f"{part.name} {gigabytes(part.bytes)}" for part in found.parts)
        return (
            f"memory: {self.verdict}: about {gigabytes(found.bytes)} of {gigabytes(self.limit.bytes)}"
            f" ({self.limit.source}) at its highest, in {found.at}: {parts};"
            f" batches of {found.batch_size}{self.note} with up to {found.lengths.longest} tokens"
            f" ({found.lengths.source})"
        )

    def short(self) -> str:
        """The same where there is little room."""
        words = f"memory {self.verdict}: about {gigabytes(self.estimate.bytes)} of {gigabytes(self.limit.bytes)}"
        return f"{words}; {self.mend()}" if self.mend() else words

    def mend(self) -> str:
        """What to change, in words; empty where nothing has to be."""
        if self.verdict != "TOO LARGE":
            return ""
        if not self.mends:
            return "take a smaller or a quantized model, or lower data.max_response_length"
        return "set " + ", or ".join(mend.text for mend in self.mends)

    def as_json(self) -> dict[str, Any]:
        found = self.estimate
        return {
            "verdict": self.verdict,
            "bytes": found.bytes,
            "limit_bytes": self.limit.bytes,
            "physical_bytes": self.limit.physical,
            "limit_source": self.limit.source,
            "highest_in": found.at,
            "parts": {part.name: part.bytes for part in found.parts},
            "batch_size": found.batch_size,
            "lengths": asdict(found.lengths),
            "mends": [{"set": mend.changes, "bytes": mend.bytes} for mend in self.mends],
        }


def forecast(workspace: Workspace, config: TrainingConfig, limit: MemoryLimit | None = None) -> Forecast:
    """Whether a run of this configuration fits into this machine, and what would make it fit.

    Raises:
        UserError: the model is not on this machine, or its files cannot be read.
    """
    limit = limit or memory_limit(compute_plan(config.compute).device)
    folder = find_folder(workspace, model_of(config))
    if folder is None:
        raise UserError(f"the model {printable(model_of(config))} is not on this machine yet: its memory is not known")
    shape, lengths = read_shape(folder), lengths_of(workspace, config)
    swapped = _reference_from_disk(workspace, config, folder)
    size, note = config.training.batch_size, ""
    if (tokens := config.training.batch_tokens) is not None:
        rows = 1 if isinstance(config, SFTConfig) else 2
        size, note = max(1, tokens // (rows * lengths.longest)), " (training.batch_tokens)"
    elif size == AUTO:
        size, note = starting_point(shape, config, lengths, limit, look(workspace.root).chip)
        note = f" ({note})"
    found = estimate(shape, config, lengths, batch_size=size, reference_from_disk=swapped)
    word = verdict(found.bytes, limit.bytes)
    mends = _mends(shape, config, lengths, size, swapped, limit.bytes) if word == "TOO LARGE" else ()
    return Forecast(found, limit, word, mends, note)


def starting_point(
    shape: ModelShape, config: TrainingConfig, lengths: Lengths, limit: MemoryLimit, chip: str
) -> tuple[int, str]:
    """A batch size where nothing was measured, and where it is from: the workflow's for this chip, halved until the
    estimate fits."""
    known = STARTING_POINTS.get(chip)
    if known is None:
        return 1, f"there is no starting point for {chip}"
    size = known
    while size > 1 and verdict(estimate(shape, config, lengths, batch_size=size).bytes, limit.bytes) == "TOO LARGE":
        size //= 2
    less = "" if size == known else f", and fewer of them by the estimate: {known} would not fit"
    return size, f"the workflow's starting point for {chip} is {known}{less}"


def model_of(config: TrainingConfig) -> str:
    """The model that is trained, as the configuration names it."""
    return config.model.policy_model if isinstance(config, DPOConfig) else config.model.base_model


def lengths_of(workspace: Workspace, config: TrainingConfig) -> Lengths:
    """Of the rows that are trained on, by the tokenizer of the model; by the limits where one of them is not there."""
    data = config.data
    limits = (data.max_prompt_length, data.max_response_length)
    folder = find_folder(workspace, model_of(config))
    if folder is None:
        return row_lengths.of_limits(*limits)
    holds: Literal["pairs", "examples"] = "examples" if isinstance(config, SFTConfig) else "pairs"
    path = workspace.path(data.train_file)
    return row_lengths.of_file(path, holds, folder, limits, chat=data.apply_chat_template)


def _reference_from_disk(workspace: Workspace, config: TrainingConfig, folder: Path) -> bool:
    if not isinstance(config, DPOConfig):
        return False
    return config.adapter.type == "full" or find_folder(workspace, config.model.reference_model) != folder


def _mends(
    shape: ModelShape, config: TrainingConfig, lengths: Lengths, size: int, swapped: bool, limit: int
) -> tuple[Mend, ...]:
    """What makes it fit: smaller batches that add up to the same step, recomputing, fewer blocks; alone, else the
    first two together."""

    def needed(changed: TrainingConfig, batch_size: int) -> int:
        return estimate(shape, changed, lengths, batch_size=batch_size, reference_from_disk=swapped).bytes

    found: list[Mend] = []
    recomputing = _changed(config, "compute", gradient_checkpointing=True)
    choices = [("", config)] if config.compute.gradient_checkpointing else [("", config), ("and", recomputing)]
    for recompute, changed in choices:
        smaller = size
        while smaller > 1 and smaller % 2 == 0 and needed(changed, smaller) > limit:
            smaller //= 2
        bytes_ = needed(changed, smaller)
        if bytes_ > limit:
            continue
        changes: dict[str, int | bool | str] = {"compute.gradient_checkpointing": True} if recompute else {}
        if smaller != size:
            steps = config.training.gradient_accumulation_steps * size // smaller
            key, value = "training.batch_size", smaller
            if config.training.batch_tokens is not None:
                key, value = "training.batch_tokens", config.training.batch_tokens * smaller // size
            changes |= {key: value, "training.gradient_accumulation_steps": steps}
        found.append(Mend(changes, bytes_))
    blocks = shape.blocks if config.adapter.num_layers < 0 else config.adapter.num_layers
    if config.adapter.type == "full":
        adapted = _changed(config, "adapter", type="lora")
        if needed(adapted, size) <= limit:
            found.append(Mend({"adapter.type": "lora"}, needed(adapted, size)))
    elif blocks > 4:
        fewer = _changed(config, "adapter", num_layers=max(4, blocks // 4))
        if needed(fewer, size) <= limit:
            found.append(Mend({"adapter.num_layers": fewer.adapter.num_layers}, needed(fewer, size)))
    return tuple(found)


def _changed(config: TrainingConfig, section: str, **values: Any) -> TrainingConfig:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})
