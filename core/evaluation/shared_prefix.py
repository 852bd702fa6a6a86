"""Which common beginnings of token sequences are run once: where that is less work than running them with each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

# Beginnings within beginnings: header, subject, question, and one to spare. Each level keeps a cache in memory.
LEVELS = 4


@dataclass(slots=True)
class Node:
    """A common beginning.

    Attributes:
        depth: its tokens.
        row: one of the sequences that begin so.
        rows: those that are run from here on, by index.
        children: longer beginnings that are run from here on first.
    """

    depth: int
    row: int
    rows: list[int] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)
    height: int = 1
    count: int = 0  # sequences below
    total: int = 0  # their tokens
    cost: float = 0  # tokens that are run below this node


def plan(sequences: Sequence[Sequence[int]], overhead: float, lengths: Sequence[int] | None = None) -> Node:
    """The root, of depth 0, of the beginnings that are worth it.

    Args:
        sequences: what may be shared of each, token ids.
        overhead: what a forward pass costs beside its tokens, in tokens.
        lengths: of the whole sequences, where they go on behind what may be shared.
    """
    arrays = [np.asarray(sequence, ">u4") for sequence in sequences]
    lengths = [len(sequence) for sequence in sequences] if lengths is None else lengths
    # Big-endian bytes sort as the tokens do.
    keys = [array.tobytes() for array in arrays]
    order = sorted(range(len(keys)), key=lambda index: (keys[index], index))
    stack = [Node(0, order[0] if order else 0)]
    for place, index in enumerate(order):
        # How much this sequence has in common with the next: there its own branch ends.
        common = _common(arrays[index], arrays[order[place + 1]]) if place + 1 < len(order) else 0
        last = _common(arrays[order[place - 1]], arrays[index]) if place else 0
        depth = max(common, last)
        if depth > stack[-1].depth:
            stack.append(Node(depth, index))
        stack[-1].rows.append(index)
        while stack[-1].depth > common:
            closed = stack.pop()
            _close(closed, lengths, overhead)
            if stack[-1].depth < common:
                stack.append(Node(common, index))
            stack[-1].children.append(closed)
    root = stack[0]
    _close(root, lengths, overhead)
    return root


def _close(node: Node, lengths: Sequence[int], overhead: float) -> None:
    """Decide of each child whether its beginning is run on its own; what is not becomes part of this node."""
    kept: list[Node] = []
    for child in node.children:
        edge = child.depth - node.depth
        together = child.total - child.count * node.depth
        if together <= edge + overhead + child.cost:
            node.rows += _rows(child)
        elif child.height >= LEVELS:
            node.rows += child.rows
            kept += child.children
        else:
            kept.append(child)
    node.children = kept
    node.count = len(node.rows) + sum(child.count for child in kept)
    node.total = sum(lengths[row] for row in node.rows) + sum(child.total for child in kept)
    node.cost = sum(lengths[row] - node.depth for row in node.rows) + (overhead if node.rows else 0)
    node.cost += sum(child.depth - node.depth + overhead + child.cost for child in kept)
    node.height = 1 + max((child.height for child in kept), default=0)


def _rows(node: Node) -> list[int]:
    return [*node.rows, *(row for child in node.children for row in _rows(child))]


def _common(a: npt.NDArray[np.uint32], b: npt.NDArray[np.uint32]) -> int:
    size = min(len(a), len(b))
    differ = np.flatnonzero(a[:size] != b[:size])
    return int(differ[0]) if len(differ) else size
