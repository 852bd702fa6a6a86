"""Pairs through the model, from token ids to what enters the output head, with as little work as the model allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt
from mlx.utils import tree_flatten
from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache

from core.data.batches import pieces
from core.data.pair_batches import PairBatch, collate_pairs, share_prompts
from core.data.tokenize import Tokens
from core.models.body import evaluating
from core.models.gradient_checkpointing import checkpointed
from core.models.head import Head
from core.models.prompt import SharedPrompt

Array = mx.array
Inputs = dict[str, Array]
Numbers = npt.NDArray[Any]
Parts = tuple[Numbers, ...]

# Tokens in one forward pass on the CPU: a larger one needs more memory and is no faster there.
PIECE = 512

# Largest relative difference of hidden states that two ways to compute them may have, by the size of a float.
TOLERANCE = {4: 1e-3, 2: 5e-2}


class PairForward:
    """How pairs go through this model.

    - Only response positions reach the output head.
    - The prompt is run once for both responses where that is less work and the model's attention allows it.
    - Blocks before the first one that is trained (the frozen trunk) can be left out when what they give is known.

    Attributes:
        head: the model's output head.
        trunk: how many blocks come before the first one that is trained; 0 where there is no such part.
        dtype, width: of the hidden states that enter the trained blocks.
        why_not_shared: what keeps prompts from being shared; empty where nothing does.
    """

    def __init__(self, model: nn.Module, *, sharing: bool = True, tail_weight: float = 1.0) -> None:
        self.head = Head(model)
        self._model = model
        self._tail_weight = tail_weight
        self.trunk = self._frozen_blocks()
        self.dtype, self.width = self._hidden_kind()
        self._pads = True
        self.why_not_shared = self._obstacle() if sharing else "switched off"

    @property
    def shares(self) -> bool:
        # A block that is computed again in the backward pass does not see that its keys came from elsewhere.
        return not self.why_not_shared and not any(map(checkpointed, self.head.body.blocks))

    def collate(self, examples: Sequence[Tokens], indices: Sequence[int]) -> PairBatch:
        pairs = [examples[i] for i in indices]
        multiple = _multiple()
        return collate_pairs(
            examples,
            indices,
            shared=self.shares
            and (self._pads or len({len(pair.prompt) for pair in pairs}) == 1)
            and share_prompts(pairs, multiple),
            multiple=multiple,
            tail_weight=self._tail_weight,
        )

    def pieces(self, lengths: Sequence[int], indices: list[int]) -> list[list[int]]:
        """A batch in parts that are run one after the other: on a GPU whole, on the CPU without padding to spare."""
        if _on_gpu():
            return [indices]
        # A pair has two sequences.
        return pieces(lengths, indices, PIECE // 2)

    @staticmethod
    def inputs(batch: PairBatch) -> Inputs:
        """The batch as MLX takes it; the names are those of PairBatch."""
        arrays = {
            name: mx.array(getattr(batch, name))
            for name in ("ids", "positions", "targets", "rows", "weights", "real", "counts")
        }
        if batch.prompts is not None and batch.padding is not None:
            arrays["prompts"] = mx.array(batch.prompts)
            if batch.padding.any():
                arrays["padding"] = mx.array(batch.padding)
        return arrays

    def hidden(self, inputs: Inputs) -> Inputs:
        """What enters the first trained block, evaluated: `hidden` (2B, T, D); `prompt_hidden` of shared prompts."""
        body = self.head.body
        if "prompts" not in inputs:
            found = {"hidden": body.before(self.trunk, inputs["ids"])}
        else:
            cache = self._caches(inputs)
            prompts = body.before(self.trunk, inputs["prompts"], cache)
            self._turn(cache, inputs)
            found = {"prompt_hidden": prompts, "hidden": body.before(self.trunk, inputs["ids"], cache)}
        mx.eval(found)
        return found

    def features(self, inputs: Inputs) -> Array:
        """What enters the head at the response positions, (N, D); uses `hidden` where the inputs have it."""
        if not self.head.split:
            return self.head.features(inputs["ids"], inputs["positions"])
        body = self.head.body
        if "prompts" not in inputs:
            everywhere = body(inputs["ids"], hidden=inputs.get("hidden"), start=self.trunk)
        else:
            cache = self._caches(inputs)
            body(inputs["prompts"], cache, hidden=inputs.get("prompt_hidden"), start=self.trunk)
            self._turn(cache, inputs)
            everywhere = body(inputs["ids"], cache, hidden=inputs.get("hidden"), start=self.trunk)
        rows: Array = everywhere.reshape(-1, everywhere.shape[-1])[inputs["positions"]]
        return rows

    def _caches(self, inputs: Inputs) -> list[SharedPrompt]:
        return [SharedPrompt(inputs.get("padding")) for _ in self.head.body.blocks]

    @staticmethod
    def _turn(cache: list[SharedPrompt], inputs: Inputs) -> None:
        for layer in cache:
            layer.then(2, inputs["prompts"].shape[1])

    def _hidden_kind(self) -> tuple[mx.Dtype, int]:
        if not self.trunk:
            return mx.float32, 0
        probe = self.head.body.before(self.trunk, mx.zeros((1, 1), mx.int32))
        return probe.dtype, probe.shape[-1]

    def _frozen_blocks(self) -> int:
        if not self.head.split:
            return 0
        blocks = self.head.body.blocks
        trained = (number for number, block in enumerate(blocks) if tree_flatten(block.trainable_parameters()))
        first = next(trained, 0)
        drops = any(isinstance(module, nn.Dropout) for block in blocks[:first] for module in block.modules())
        if drops or not self.head.body.divisible(first) or self._embedding_trained(first):
            return 0
        return first

    def _embedding_trained(self, first: int) -> bool:
        """Whether something that is trained outside of the blocks comes before them."""
        return self.head.trained_in(lambda: self.head.body.before(first, mx.arange(1, 9)[None])) != []

    def _obstacle(self) -> str:
        """Why prompts cannot be shared; empty where they can: found out by computing both ways once."""
        if not self.head.split:
            return "the model has no body of its own"
        kinds = {type(layer) for layer in make_prompt_cache(self._model)}
        if not kinds <= {KVCache, RotatingKVCache}:
            return "its layers keep more than keys and values"
        one, other = Tokens([1, 2, 3, 4, 5, 6, 7], ([1, 2, 3], [4, 5])), Tokens([3, 2, 1], ([5], [6, 7, 8, 9]))
        # Some take one mask for all rows and not one for each: their prompts must be of one length.
        self._pads = not self._differs([one, other])
        return "" if self._pads else self._differs([one])

    def _differs(self, pairs: list[Tokens]) -> str:
        """How the hidden states of these pairs with shared prompts differ from the plain way's; empty: they do not."""
        try:
            with evaluating(self._model):
                found = [
                    self.features(self.inputs(collate_pairs(pairs, range(len(pairs)), shared=shared, multiple=1)))
                    for shared in (True, False)
                ]
                mx.eval(found)
        except Exception as error:  # a model's code raises what it likes when its cache is another
            return f"its code takes no other cache ({type(error).__name__})"
        shared, plain = (array.astype(mx.float32) for array in found)
        difference = float(mx.abs(shared - plain).max() / mx.abs(plain).max())
        if not difference <= TOLERANCE[found[1].itemsize]:
            return f"its hidden states would differ by {difference:.1e}"
        return ""


def take_apart(batch: PairBatch, hidden: dict[str, Numbers], examples: Sequence[Tokens]) -> list[Parts]:
    """Hidden states of a batch by pair: (tokens, D) of the prompt without its last token, of the chosen and of the
    rejected response's row from that last token on.
    """
    parts = []
    pairs = len(batch.indices)
    for number, index in enumerate(batch.indices):
        before = len(examples[index].prompt) - 1
        rows = [hidden["hidden"][which * pairs + number] for which in (0, 1)]
        lengths = [len(response) for response in examples[index].responses]
        if batch.prompts is not None:
            width = batch.prompts.shape[1]
            prompt = hidden["prompt_hidden"][number, width - before :]
            responses = [row[:length] for row, length in zip(rows, lengths, strict=True)]
        else:
            prompt = rows[0][:before]
            responses = [row[before : before + length] for row, length in zip(rows, lengths, strict=True)]
        parts.append((prompt, *responses))
    return parts


def put_together(batch: PairBatch, parts: Sequence[Parts]) -> dict[str, Numbers]:
    """The way back: the arrays of `PairForward.hidden`, zeros where there is padding."""
    size, kind = parts[0][1].shape[1], parts[0][1].dtype
    pairs = len(parts)
    hidden = np.zeros((*batch.ids.shape, size), kind)
    found = {"hidden": hidden}
    if batch.prompts is not None:
        found["prompt_hidden"] = np.zeros((*batch.prompts.shape, size), kind)
    for number, (prompt, *responses) in enumerate(parts):
        before = 0
        if batch.prompts is None:
            before = len(prompt)
        else:
            found["prompt_hidden"][number, batch.prompts.shape[1] - len(prompt) :] = prompt
        for which, response in enumerate(responses):
            row = hidden[which * pairs + number]
            if batch.prompts is None:
                row[:before] = prompt
            row[before : before + len(response)] = response
    return found


def to_numbers(hidden: Array) -> Numbers:
    """As NumPy has it: bfloat16, which it has not, as its bits."""
    return np.asarray(hidden.view(mx.uint16) if hidden.dtype == mx.bfloat16 else hidden)


def from_numbers(numbers: Numbers, dtype: mx.Dtype) -> Array:
    """The way back."""
    return mx.array(numbers).view(mx.bfloat16) if dtype == mx.bfloat16 else mx.array(numbers)


def _on_gpu() -> bool:
    return mx.default_device() == mx.Device(mx.gpu)


def _multiple() -> int:
    """Widths are multiples of this: on a GPU, where a step is compiled for each shape, so that there are few."""
    return 32 if _on_gpu() else 1
