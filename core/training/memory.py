"""An estimate of the memory a run will take, before it starts: from the model's headers and the lengths of its rows.

Nothing here loads MLX. What a block keeps for the backward pass was counted in MLX and fitted to measured peaks; tests
hold the estimate to what is measured on models that they make.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from core.config import DPOConfig, RewardConfig, SFTConfig, TrainingConfig, plan_for
from core.config.models import Adapter
from core.data.lengths import Lengths
from core.model_folder import Linear, ModelShape

Verdict = Literal["SAFE", "TIGHT", "TOO LARGE"]
Kind = Literal["sft", "reward", "dpo"]

# The share of the limit within which a run is safe: an estimate may be a tenth too low, and others want memory too.
SAFE = 0.8

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# Numbers a token in a block, in multiples of the hidden size (D), the width of the feed-forward layer (F), of queries
# (Q) and keys (K), and of heads x tokens (attention weights, A). Fitted to what mx.get_peak_memory gave.
Multiples = dict[str, float]
# What is kept for the backward pass, and the gradients in the block that is being worked on.
_KEPT: Multiples = {"D": 4.0, "F": 5.0, "Q": 2.4, "K": 2.0, "A": 1.25}
_BACKWARD: Multiples = {"D": 17.0, "F": 7.0, "Q": 0.0, "K": 0.0, "A": 1.7}
# On a CPU NumPy computes the exponentials, at once; while a gradient is traced, MLX then keeps every array.
_KEPT_AT_ONCE: Multiples = {"D": 16.5, "F": 3.5, "Q": 16.0, "K": 3.3, "A": 0.9}
# A block that is run without gradient.
_FORWARD: Multiples = {"D": 4.0, "F": 3.0, "Q": 2.0, "K": 2.0, "A": 2.2}

# Moments that an optimizer keeps, in copies of what is trained. Adafactor keeps rows and columns alone.
OPTIMIZERS = {"adamw": 2.0, "adam": 2.0, "sgd": 1.0, "adafactor": 0.0, "lion": 1.0, "muon": 2.0, "rmsprop": 1.0,
              "adagrad": 1.0, "adadelta": 2.0, "adamax": 2.0}  # fmt: skip

# Logits that exist at a time in the chunked output head, and arrays of their size: on a CPU at once, else later.
_HEAD_ENTRIES = {"cpu": 1 << 23, "gpu": 1 << 24}
_AT_ONCE, _LATER = 3, 6
# Arrays of the size of the head's own weights, for each chunk, where they are trained.
_TRAINED_AT_ONCE, _TRAINED_LATER = 2.6, 4.0
_LEAST_POSITIONS = 32

# Keys and values are kept for so many tokens, or twice as many, and so on.
_CACHE_STEP = 256

# Tokens that one forward pass has on a CPU, where batches go in pieces.
_PIECE = 512
# What running the prompt once for both responses has to gain.
_SHARING = 1.1


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
    if isinstance(config, DPOConfig | SFTConfig) and config.training.sample_prompts:
        phases.append(("sampling at evaluations", step.samples(swapped=reference_from_disk)))
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
        self.full = config.adapter.type == "full"
        self.shape, self.config, self.lengths = shape, config, lengths
        self.device = planned.device
        self.size = _BYTES[planned.dtype]
        self.checkpointing = planned.gradient_checkpointing
        self.at_once = planned.device == "cpu" and not self.checkpointing
        self.width = _rounded(lengths.longest, 1 if planned.device == "cpu" else 32)
        self.rows = batch_size * (1 if isinstance(config, SFTConfig) else 2)
        self.tokens = self._tokens(batch_size)
        self.weights = shape.weights(self.size)
        self.trained_blocks = shape.blocks if self.full else _adapted_blocks(shape, config.adapter)
        # Gradients are summed and moments kept in float32, and of weights in half precision a float32 copy.
        self.trained = shape.weights(4) if self.full else 4 * adapter_parameters(shape, config.adapter)
        copies = OPTIMIZERS[config.optimization.optimizer] + (self.full and self.size < 4)
        self.moments = int(copies * self.trained)

    def _tokens(self, batch_size: int) -> int:
        """Of one forward pass, padding and all."""
        row = self.width
        if isinstance(self.config, DPOConfig) and not self.checkpointing:
            # The prompt may be run once for both responses.
            shared = self.lengths.prompt + 2 * self.lengths.response
            row = min(row, shared // 2) if _SHARING * shared < 2 * self.width else row
        if self.device == "gpu" or isinstance(self.config, RewardConfig):
            return self.rows * row
        # As many rows as a piece holds, of the longest ones or of usual ones.
        rows = self.rows // batch_size
        usual = max(1, min(self.lengths.usual, self.width))
        pieces = [(max(1, _PIECE // rows // width), width) for width in (self.width, usual)]
        return rows * max(min(batch_size, count) * min(row, width) for count, width in pieces)

    def held(self) -> list[Part]:
        """What is there all the time."""
        return [
            Part("weights", self.weights),
            Part("adapter", 0 if self.full else self.trained),
            Part("optimizer", self.moments),
        ]

    def parts(self) -> list[Part]:
        training = self.config.training
        summed = training.gradient_accumulation_steps > 1 or self.rows * self.width > self.tokens
        return [
            *self.held(),
            Part("gradients", self.trained * (2 if summed else 1)),
            Part("activations", self.activations()),
            Part("output head", self.head()),
        ]

    def update(self) -> list[Part]:
        """Gradients as they were summed and as they are after clipping."""
        return [*self.held(), Part("gradients", 2 * self.trained)]

    def activations(self) -> int:
        """Of the blocks that a gradient runs through, or of the frozen ones before them where those take more."""
        kept, backward = self._numbers(_KEPT), self._numbers(_BACKWARD)
        if self.checkpointing:
            # A block keeps what enters it; one at a time is computed again.
            numbers = self.trained_blocks * self.shape.hidden + kept + backward
        elif self.at_once:
            # DPO runs the blocks before the first trained one by themselves; elsewhere they are kept too.
            blocks = self.trained_blocks if isinstance(self.config, DPOConfig) else self.shape.blocks
            numbers = blocks * self._numbers(_KEPT_AT_ONCE)
        else:
            numbers = self.trained_blocks * kept + backward
        if self.trained_blocks < self.shape.blocks:
            numbers = max(numbers, self._numbers(_FORWARD))
        return int(self.tokens * self.size * numbers) + self._of_dora()

    def _numbers(self, multiples: Multiples) -> float:
        """Numbers a token."""
        shape = self.shape
        sizes = {
            # A token's hidden state goes to each of its experts.
            "D": shape.hidden * (1 + shape.chosen_experts),
            "F": shape.inner,
            "Q": shape.heads * shape.head_dim,
            "K": shape.kv_heads * shape.head_dim,
            "A": shape.heads * self.width,
        }
        return sum(multiples[name] * size for name, size in sizes.items())

    def _of_dora(self) -> int:
        """DoRA makes the whole weight of each layer anew."""
        if self.config.adapter.type != "dora":
            return 0
        layers = list(_adapted(self.shape, self.config.adapter))
        if self.checkpointing:
            layers = [layer for layer in layers if layer.block == self.shape.blocks - 1]
        return 3 * 4 * sum(layer.inputs * layer.outputs * layer.experts for layer in layers)

    def head(self) -> int:
        """A chunk of logits in float32, what enters the head, and gradients of the head's own weights."""
        if not isinstance(self.config, DPOConfig | SFTConfig):
            return 0
        vocabulary, hidden = self.shape.vocabulary, self.shape.hidden
        positions = min(self.tokens, self.rows * self.lengths.response)
        most = max(_HEAD_ENTRIES[self.device] // vocabulary, _LEAST_POSITIONS)
        chunk = min(positions, most) * vocabulary
        needed = 4 * (_AT_ONCE if self.at_once else _LATER) * chunk + 3 * 4 * positions * hidden
        if self.full:
            copies = _TRAINED_AT_ONCE if self.at_once else _TRAINED_LATER
            needed += int(copies * 4 * vocabulary * hidden * -(-positions // most))
        return needed

    def samples(self, *, swapped: bool) -> list[Part]:
        """Answers to a few prompts at an evaluation; `swapped`: those of a reference whose weights are read in too."""
        assert isinstance(self.config, DPOConfig | SFTConfig)
        training = self.config.training
        copies = [Part("reference", self.weights)] if swapped else []
        return [*self.held(), *copies, *self._decoding(training.sample_prompts, training.sample_max_tokens)]

    def sampling(self) -> list[Part]:
        assert isinstance(self.config, DPOConfig)
        training = self.config.training
        return [*self.held(), *self._decoding(min(32, training.kl_samples), training.kl_max_tokens)]

    def _decoding(self, rows: int, tokens: int) -> list[Part]:
        shape = self.shape
        held = rows * _rounded(self.lengths.prompt + tokens, _CACHE_STEP)
        cache = 2 * held * shape.blocks * shape.kv_heads * shape.head_dim * self.size
        return [Part("keys and values", cache), Part("output head", 4 * 4 * rows * shape.vocabulary)]

    def reference(self) -> list[Part]:
        """Two copies of the weights, and a pass of one pair without gradient."""
        forward = int(2 * self.width * self.size * self._numbers(_FORWARD))
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
