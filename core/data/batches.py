"""Batches of token ids: by length, padded to few shapes, in an order that is a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from core import blas as blas  # before mlx.core
from core.data.tokenize import Tokens

# Batches that are sorted by length together: little padding, and still another mix every epoch.
WINDOW = 32

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


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


def _pad_to() -> int:
    """Widths are multiples of this: on a GPU, where a step is compiled for each shape, so that there are few."""
    return 32 if mx.default_device() == mx.Device(mx.gpu) else 8


def collate(examples: Sequence[Tokens], indices: Sequence[int], pad: int = 0) -> Batch:
    """One batch of the examples at `indices`: all first responses, then all second ones."""
    chosen = [examples[i] for i in indices]
    sequences = [
        (len(example.prompt), example.prompt + example.responses[which])
        for which in range(len(chosen[0].responses))
        for example in chosen
    ]
    multiple = _pad_to()
    width = _round_up(max(len(ids) for _, ids in sequences), multiple)
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
    padding = _round_up(count, multiple) - count
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


def epoch_order(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch as lists of indices: every index once, near lengths together, shuffled from the seed."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    batches: list[list[int]] = []
    for start in range(0, len(order), batch_size * WINDOW):
        window = sorted((int(i) for i in order[start : start + batch_size * WINDOW]), key=lambda i: lengths[i])
        batches.extend(window[i : i + batch_size] for i in range(0, len(window), batch_size))
    return [batches[int(i)] for i in rng.permutation(len(batches))]


class BatchStream:
    """Epoch after epoch of batches. `position` counts batches taken, and is all that a resume needs."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, position: int = 0) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._per_epoch = -(-len(lengths) // batch_size)
        self._order: tuple[int, list[list[int]]] = (-1, [])
        self.position = position

    @property
    def epoch(self) -> float:
        """Epochs seen so far."""
        return self.position / self._per_epoch

    def take(self) -> list[int]:
        epoch, index = divmod(self.position, self._per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, epoch_order(self._lengths, self._batch_size, self._seed, epoch))
        self.position += 1
        return self._order[1][index]


def pieces(lengths: Sequence[int], indices: Sequence[int], tokens: int) -> list[list[int]]:
    """A batch in parts of at most so many tokens (or one example), by length, so that there is little padding."""
    found: list[list[int]] = []
    for index in sorted(indices, key=lambda i: (lengths[i], i)):
        if not found or (len(found[-1]) + 1) * lengths[index] > tokens:
            found.append([])
        found[-1].append(index)
    return found


def in_order(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """All indices by length, for evaluation."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
