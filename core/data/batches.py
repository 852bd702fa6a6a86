"""Batches of token ids: by length, padded to few shapes, in an order that is a function of seed and epoch alone.

Measured on 2,990 pairs of people's and models' answers (25 to 1,122 tokens), four pairs a batch, widths for a GPU:
padding is 54 % of a random order and 27 % here; 20 % are the differences between the two responses of a pair. An epoch
of 748 batches has 27 widths, and 115 shapes with the number of response positions; with multiples of 32 throughout
there would be 33 and 334. The longest pairs meet others in every epoch: 2 % of a pair's companions are those it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from core import blas as blas  # before mlx.core
from core.data.tokenize import Tokens
from core.errors import UserError

# Batches that are sorted by length together: little padding, and still another mix every epoch.
WINDOW = 100

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


class Fill(Protocol):
    """How large a batch is where that is no number of examples."""

    def usual(self, lengths: Sequence[int]) -> int:
        """About how many examples of such lengths are in a batch."""
        ...

    def batches(self, order: list[int], lengths: Sequence[int]) -> list[list[int]]:
        """Batches of the indices in `order`, which is random, all of them."""
        ...

    def refuse(self, lengths: Sequence[int]) -> None:
        """Raise a UserError where an example is too long for any batch."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """A batch takes as many examples as fit into `tokens`, padding counted; each has `rows` sequences."""

    tokens: int
    rows: int = 1

    def usual(self, lengths: Sequence[int]) -> int:
        mean = sum(map(padded_width, lengths)) / len(lengths)
        return max(1, int(self.tokens / (self.rows * mean)))

    def batches(self, order: list[int], lengths: Sequence[int]) -> list[list[int]]:
        return self.filled(_by_width(order, lengths), lengths)

    def filled(self, order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
        """Batches of consecutive indices; their padded widths ascend."""
        batches: list[list[int]] = []
        for index in order:
            if not batches or len(batches[-1]) >= self._holds(lengths[index]):
                batches.append([])
            batches[-1].append(index)
        return batches

    def refuse(self, lengths: Sequence[int]) -> None:
        """A budget is there so that memory suffices: it is not overdrawn for one long row."""
        longest = padded_width(max(lengths))
        if self.rows * longest > self.tokens:
            raise UserError(
                f"training.batch_tokens: {self.tokens} has no room for the longest row, {self.rows} x {longest} tokens "
                f"with padding: set it to {self.rows * longest} or more, or lower data.max_response_length"
            )

    def _holds(self, longest: int) -> int:
        return self.tokens // (self.rows * padded_width(longest))


# A number of examples, or what fits.
Size = int | Fill


@dataclass(frozen=True, slots=True)
class Batch:
    """R rows of T tokens, right-padded; a causal model never looks right, so no mask enters it.

    The rows of a pair batch of B pairs are its B chosen sequences, then its B rejected ones.

    Attributes:
        ids: (R, T) token ids.
        positions: (N,) positions in the flattened R*T whose next token is a response token.
        targets: (N,) that next token.
        rows: (N,) the row of each position.
        weights: (N,) 1 for a real position, 0 for padding of N.
        indices: which examples these are.
        tokens: real tokens in `ids`.
    """

    ids: Ints
    positions: Ints
    targets: Ints
    rows: Ints
    weights: Floats
    indices: list[int]
    tokens: int


def padded_width(tokens: int) -> int:
    """Of a row: on a GPU, where a step is compiled for each shape, multiples of 32, and beyond 512 an eighth apart."""
    return in_steps(tokens, _pad_to(), eighths=1)


def padded_count(positions: int) -> int:
    """Of the response positions of a batch, which vary more than its width: on a GPU a quarter apart beyond 128."""
    return in_steps(positions, _pad_to(), eighths=2)


def in_steps(count: int, least: int, eighths: int) -> int:
    """Up to a multiple of `least`, or of so many eighths of the power of two below where that is more.

    Steps of 8 and less are for alignment alone, where no shape is compiled: they stay as they are.
    """
    coarse = eighths << max(0, (count - 1).bit_length() - 4) if least > 8 else 1
    return _round_up(count, max(least, coarse))


def _pad_to() -> int:
    return 32 if mx.default_device() == mx.Device(mx.gpu) else 8


def collate(examples: Sequence[Tokens], indices: Sequence[int], pad: int = 0) -> Batch:
    """One batch of the examples at `indices`: all first responses, then all second ones."""
    chosen = [examples[i] for i in indices]
    sequences = [
        (len(example.prompt), example.prompt + example.responses[which])
        for which in range(len(chosen[0].responses))
        for example in chosen
    ]
    width = padded_width(max(len(ids) for _, ids in sequences))
    ids = np.full((len(sequences), width), pad, np.int32)
    positions: list[int] = []
    targets: list[int] = []
    rows: list[int] = []
    for row, (start, sequence) in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        positions.extend(range(row * width + start - 1, row * width + len(sequence) - 1))
        targets.extend(sequence[start:])
        rows.extend([row] * (len(sequence) - start))
    count = len(positions)
    padding = padded_count(count) - count
    return Batch(
        ids=ids,
        positions=np.array(positions + [0] * padding, np.int32),
        targets=np.array(targets + [0] * padding, np.int32),
        rows=np.array(rows + [0] * padding, np.int32),
        weights=np.array([1.0] * count + [0.0] * padding, np.float32),
        indices=list(indices),
        tokens=sum(len(sequence) for _, sequence in sequences),
    )


def arrays(batch: Batch) -> tuple[mx.array, mx.array, mx.array, mx.array, mx.array]:
    """ids, positions, targets, rows, weights as MLX takes them."""
    return (
        mx.array(batch.ids),
        mx.array(batch.positions),
        mx.array(batch.targets),
        mx.array(batch.rows),
        mx.array(batch.weights),
    )


def epoch_order(lengths: Sequence[int], size: Size, seed: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch as lists of indices: every index once, near lengths together, shuffled from the seed."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    per_window = WINDOW * (size if isinstance(size, int) else size.usual(lengths))
    batches: list[list[int]] = []
    for start in range(0, len(order), per_window):
        window = [int(i) for i in order[start : start + per_window]]
        if isinstance(size, int):
            batches.extend(_in_groups(_by_width(window, lengths), size))
        else:
            batches.extend(size.batches(window, lengths))
    return [batches[int(i)] for i in rng.permutation(len(batches))]


def _by_width(order: list[int], lengths: Sequence[int]) -> list[int]:
    """By padded width alone: within one the order stays random, and nothing is padded more."""
    least = _pad_to()
    return sorted(order, key=lambda i: in_steps(lengths[i], least, eighths=1))


def _in_groups(order: Sequence[int], size: int) -> list[list[int]]:
    return [list(order[i : i + size]) for i in range(0, len(order), size)]


class BatchStream:
    """Epoch after epoch of batches. `position` counts batches taken, and is all that a resume needs.

    Where an epoch may have more batches than another, its beginning is found by walking through those before.
    """

    def __init__(self, lengths: Sequence[int], size: Size, seed: int, position: int = 0) -> None:
        if not isinstance(size, int):
            size.refuse(lengths)
        self._lengths = lengths
        self._size = size
        self._seed = seed
        self._epoch = 0
        self._begins = 0  # the position of this epoch's first batch
        self._order: list[list[int]] | None = None
        self.position = position
        if isinstance(size, int):
            per_epoch = -(-len(lengths) // size)
            self._epoch, self._begins = position // per_epoch, position // per_epoch * per_epoch
        self._seek()

    @property
    def epoch(self) -> float:
        """Epochs seen so far."""
        return self._epoch + (self.position - self._begins) / len(self._seek())

    def take(self) -> list[int]:
        order = self._seek()
        self.position += 1
        return order[self.position - 1 - self._begins]

    def _seek(self) -> list[list[int]]:
        """The batches of the epoch in which the position is."""
        if self._order is None:
            self._order = epoch_order(self._lengths, self._size, self._seed, self._epoch)
        while self.position >= self._begins + len(self._order):
            self._begins += len(self._order)
            self._epoch += 1
            self._order = epoch_order(self._lengths, self._size, self._seed, self._epoch)
        return self._order


def pieces(lengths: Sequence[int], indices: Sequence[int], tokens: int) -> list[list[int]]:
    """A batch in parts of at most so many tokens (or one example), by length, so that there is little padding."""
    found: list[list[int]] = []
    for index in sorted(indices, key=lambda i: (lengths[i], i)):
        if not found or (len(found[-1]) + 1) * lengths[index] > tokens:
            found.append([])
        found[-1].append(index)
    return found


def in_order(lengths: Sequence[int], size: Size) -> list[list[int]]:
    """All indices by length, for evaluation; one that a budget has no room for is a batch of its own."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    if isinstance(size, int):
        return _in_groups(order, size)
    return size.filled(order, lengths) if isinstance(size, Budget) else size.batches(order, lengths)


def examples_per_batch(lengths: Sequence[int], size: Size) -> float:
    """How many examples a batch has, on the whole."""
    return len(lengths) / len(in_order(lengths, size))


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
