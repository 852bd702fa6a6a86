"""Examples packed into rows of one width, nearly without padding: best fit, the longest first."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.data.batches import Batch, Floats, Ints, padded_count
from core.data.tokenize import Tokens

# Of 883 examples 62 % of those that share a row with one are the same in the next epoch where lengths are told apart to
# the token, and 7 % with this step; rows are as full, 99.4 %.
STEP = 32


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch takes `rows` rows of `width` tokens, and each row as many examples as fit."""

    rows: int
    width: int

    def usual(self, lengths: Sequence[int]) -> int:
        return self.rows * max(1, int(self.width * len(lengths) / sum(lengths)))

    def batches(self, order: list[int], lengths: Sequence[int]) -> list[list[int]]:
        filled = fill_rows(order, lengths, self.width)
        # The first rows have the longest examples: back to a random order.
        place = {index: number for number, index in enumerate(order)}
        filled.sort(key=lambda row: place[row[0]])
        return [[index for row in filled[i : i + self.rows] for index in row] for i in range(0, len(filled), self.rows)]

    def refuse(self, lengths: Sequence[int]) -> None:
        assert max(lengths) <= self.width, "rows are as wide as the longest example"


def fill_rows(order: Sequence[int], lengths: Sequence[int], width: int) -> list[list[int]]:
    """The examples of `order` in rows of at most `width` tokens.

    Each goes into the fullest row that has room for it, the longest ones first; within STEP tokens in the order given.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # ascending: tokens that are free, row
    for index in sorted(order, key=lambda i: -(lengths[i] // STEP)):
        length = lengths[index]
        found = bisect_left(room, (length, -1))
        if found == len(room):
            rows.append([index])
            insort(room, (width - length, len(rows) - 1))
        else:
            free, row = room.pop(found)
            rows[row].append(index)
            insort(room, (free - length, row))
    return rows


def rows_of(indices: Sequence[int], lengths: Sequence[int], width: int) -> list[list[int]]:
    """The rows of a batch that was made of whole rows: never more of them than there were."""
    rows: list[list[int]] = []
    free = -1
    for index in indices:
        if lengths[index] > free:
            rows.append([])
            free = width
        rows[-1].append(index)
        free -= lengths[index]
    return rows


def collate_rows(examples: Sequence[Tokens], rows: Sequence[Sequence[int]], width: int) -> tuple[Batch, Ints]:
    """A batch of rows of examples; and (R, T) which example of its row each token is of, from 1 on, 0 for padding.

    The examples have one response each.
    """
    ids = np.zeros((len(rows), width), np.int32)
    segments = np.zeros((len(rows), width), np.int32)
    positions: list[int] = []
    targets: list[int] = []
    of_row: list[int] = []
    for number, row in enumerate(rows):
        at = 0
        for segment, index in enumerate(row, 1):
            prompt, (response,) = examples[index].prompt, examples[index].responses
            end = at + len(prompt) + len(response)
            ids[number, at:end] = prompt + response
            segments[number, at:end] = segment
            first = number * width + at + len(prompt) - 1
            positions.extend(range(first, first + len(response)))
            targets.extend(response)
            of_row.extend([number] * len(response))
            at = end
    count = len(positions)
    padding = padded_count(count) - count
    weights: Floats = np.array([1.0] * count + [0.0] * padding, np.float32)
    batch = Batch(
        ids=ids,
        positions=np.array(positions + [0] * padding, np.int32),
        targets=np.array(targets + [0] * padding, np.int32),
        rows=np.array(of_row + [0] * padding, np.int32),
        weights=weights,
        indices=[index for row in rows for index in row],
        tokens=int((segments > 0).sum()),
    )
    return batch, segments
