"""An estimate of the memory a run will take, before it starts: from the model's headers and the lengths of its rows.

Nothing here loads MLX. What a block keeps for the backward pass was counted in MLX and fitted to measured peaks; tests
hold the estimate to what is measured on models that they make.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from core.config import DPOConfig, SFTConfig, TrainingConfig, plan_for
from core.config import plan as compute_plan
from core.config.models import AUTO, Adapter
from core.data import lengths as row_lengths
from core.data.lengths import Lengths
from core.errors import UserError
from core.hardware import STARTING_POINTS, MemoryLimit, look, memory_limit
from core.models.shape import Linear, ModelShape, find_folder, read_shape
from core.text import printable
from core.training.batch_size import gigabytes
from core.workspace import Workspace

Verdict = Literal["SAFE", "TIGHT", "TOO LARGE"]
Kind = Literal["sft", "reward", "dpo"]

# The share of the limit within which a run is safe: estimates were up to a fifth too low.
SAFE = 0.8

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# Numbers a token that the backward pass of a block keeps, in multiples of the hidden size (D), the width of the
# feed-forward layer (F), of queries (Q) and keys (K), and of heads x tokens (attention weights, A).
_KEPT = {"D": 4.0, "F": 5.0, "Q": 2.4, "K": 2.0, "A": 1.25}
# The block that is being worked on: the gradients of the above.
_BACKWARD = {"D": 14.0, "F": 5.5, "Q": 0.0, "K": 0.0, "A": 1.3}
# A block that is run without gradient.
_FORWARD = {"D": 4.0, "F": 3.0, "Q": 2.0, "K": 2.0, "A": 2.2}

# Moments that an optimizer keeps, in copies of what is trained. Adafactor keeps rows and columns alone.
OPTIMIZERS = {"adamw": 2.0, "adam": 2.0, "sgd": 1.0, "adafactor": 0.0, "lion": 1.0, "muon": 1.0, "rmsprop": 1.0,
              "adagrad": 1.0, "adadelta": 2.0, "adamax": 2.0}  # fmt: skip

# Logits that exist at a time in the chunked output head, and arrays of that size beside them.
_HEAD_ENTRIES = {"cpu": 1 << 21, "gpu": 1 << 24}
_HEAD_COPIES = 4
_LEAST_POSITIONS = 32

# What enters the reference's head on validation pairs is kept, up to this (bytes).
_FEATURES = 1 << 30


class Part(NamedTuple):
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes at the highest point of a run, and what they are made of.

    `at` is the phase in which that point lies; `lengths` are those that were reckoned with.
    """

    parts: tuple[Part, ...]
    at: str
    batch_size: int
    lengths: Lengths

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    def part(self, name: str) -> int:
        return sum(part.bytes for part in self.parts if part.name == name)


def verdict(needed: int, limit: int) -> Verdict:
    """Whether so many bytes fit: safely, within the error of an estimate, or not."""
    if needed <= SAFE * limit:
        return "SAFE"
    return "TIGHT" if needed <= limit else "TOO LARGE"


def estimate(
    shape: ModelShape,
    config: TrainingConfig,
    lengths: Lengths,
    *,
    batch_size: int | None = None,
    reference_from_disk: bool = False,
) -> Estimate:
    """What a run of this configuration takes at its highest point.

    Args:
        shape: the model that is trained.
        config: of SFT, a reward model or DPO.
        lengths: of the rows.
        batch_size: instead of the configuration's.
        reference_from_disk: DPO against other weights than those it starts from.
    """
    size = batch_size or config.training.batch_size or 1
    step = _Step(shape, config, lengths, size)
    phases = [("training", step.parts()), ("the update", step.update())]
    if isinstance(config, DPOConfig):
        phases.append(("sampling for the KL", step.sampling()))
        if reference_from_disk:
            phases.append(("the reference's pass", step.reference()))
    at, parts = max(phases, key=lambda phase: sum(part.bytes for part in phase[1]))
    return Estimate(tuple(part for part in parts if part.bytes), at, size, lengths)


class _Step:
    """The sizes of one configuration, in bytes."""

    def __init__(self, shape: ModelShape, config: TrainingConfig, lengths: Lengths, batch_size: int) -> None:
        planned = plan_for(config)
        full = config.adapter.type == "full"
        self.shape, self.config, self.lengths, self.pairs = shape, config, lengths, batch_size
        self.device = planned.device
        self.size = _BYTES[planned.dtype]
        self.rows = batch_size * (1 if isinstance(config, SFTConfig) else 2)
        self.width = _rounded(lengths.longest, 8 if planned.device == "cpu" else 32)
        self.tokens = self.rows * self.width
        self.weights = shape.weights(self.size)
        self.trained_blocks = shape.blocks if full else _adapted_blocks(shape, config.adapter)
        # Gradients are summed and moments kept in float32, and of weights in half precision a float32 copy.
        self.trained = shape.weights(4) if full else 4 * adapter_parameters(shape, config.adapter)
        copies = OPTIMIZERS[config.optimization.optimizer] + (full and self.size < 4)
        self.moments = int(copies * self.trained)
        self.checkpointing = config.compute.gradient_checkpointing

    def held(self) -> list[Part]:
        """What is there all the time."""
        return [
            Part("weights", self.weights),
            Part("adapter", 0 if self.config.adapter.type == "full" else self.trained),
            Part("optimizer", self.moments),
        ]

    def parts(self) -> list[Part]:
        accumulated = self.config.training.gradient_accumulation_steps > 1
        return [
            *self.held(),
            Part("gradients", self.trained * (2 if accumulated else 1)),
            Part("activations", self.activations()),
            Part("output head", self.head()),
        ]

    def update(self) -> list[Part]:
        """Gradients as they were summed and as they are after clipping."""
        return [*self.held(), Part("gradients", 2 * self.trained)]

    def activations(self) -> int:
        """Of the blocks that are trained, or of the frozen ones before them where those take more."""
        kept, backward = self._numbers(_KEPT), self._numbers(_BACKWARD)
        if self.checkpointing:
            # A block keeps what enters it; one at a time is computed again.
            trained = self.trained_blocks * self.shape.hidden + kept + backward
        else:
            trained = self.trained_blocks * kept + backward
        frozen = self._numbers(_FORWARD) if self.trained_blocks < self.shape.blocks else 0
        return int(self.tokens * self.size * max(trained, frozen))

    def _numbers(self, multiples: dict[str, float]) -> float:
        """Numbers a token."""
        shape = self.shape
        sizes = {
            "D": shape.hidden,
            "F": shape.inner,
            "Q": shape.heads * shape.head_dim,
            "K": shape.kv_heads * shape.head_dim,
            "A": shape.heads * self.width,
        }
        return sum(multiples[name] * size for name, size in sizes.items())

    def head(self) -> int:
        """A chunk of logits in float32, and what the backward pass keeps of all positions."""
        if not isinstance(self.config, DPOConfig | SFTConfig):
            return 0
        positions = self.rows * self.lengths.response
        entries = max(_HEAD_ENTRIES[self.device], _LEAST_POSITIONS * self.shape.vocabulary)
        chunk = min(entries, positions * self.shape.vocabulary)
        return _HEAD_COPIES * 4 * chunk + 3 * 4 * positions * self.shape.hidden

    def sampling(self) -> list[Part]:
        assert isinstance(self.config, DPOConfig)
        training, shape = self.config.training, self.shape
        rows = min(32, training.kl_samples)
        tokens = rows * (self.lengths.prompt + training.kl_max_tokens)
        cache = 2 * tokens * shape.blocks * shape.kv_heads * shape.head_dim * self.size
        return [*self.held(), Part("keys and values", cache), Part("output head", 4 * 4 * rows * shape.vocabulary)]

    def reference(self) -> list[Part]:
        """Two copies of the weights, and a pass without gradient."""
        forward = int(self.tokens * self.size * self._numbers(_FORWARD))
        return [*self.held(), Part("reference", self.weights), Part("activations", forward)]


def adapter_parameters(shape: ModelShape, adapter: Adapter) -> int:
    """Numbers in an adapter on this model."""
    return sum(_of_adapter(linear, adapter) for linear in _adapted(shape, adapter))


def _of_adapter(linear: Linear, adapter: Adapter) -> int:
    numbers = adapter.rank * (linear.inputs + linear.outputs)
    return linear.experts * (numbers + (linear.outputs if adapter.type == "dora" else 0))


def _adapted(shape: ModelShape, adapter: Adapter) -> Iterator[Linear]:
    """The layers that get an adapter. Names of experts differ between files and models; the end of a key tells."""
    first = 0 if adapter.num_layers < 0 else shape.blocks - adapter.num_layers
    for linear in shape.linears:
        if linear.block >= first and (adapter.keys is None or _named(linear.name, adapter.keys)):
            yield linear


def _named(name: str, keys: list[str]) -> bool:
    return name in keys or (".experts." in name and any(name.split(".")[0] == key.split(".")[0] for key in keys))


def _adapted_blocks(shape: ModelShape, adapter: Adapter) -> int:
    """How many blocks, counted from the end, have a gradient running through them."""
    first = min((linear.block for linear in _adapted(shape, adapter)), default=shape.blocks)
    return shape.blocks - first


def _rounded(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


# The forecast of a run


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

    def mend(self) -> str:
        """What to change, in words; empty where nothing has to be."""
        if self.verdict != "TOO LARGE":
            return ""
        if not self.mends:
            return "take a smaller or a quantized model, or lower data.max_response_length"
        return "--set " + ", or ".join(mend.text for mend in self.mends)

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
