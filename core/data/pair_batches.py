"""Batches of preference pairs: each sequence for itself, or the prompt once for both of its responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.data.batches import Floats, Ints, in_steps
from core.data.tokenize import Tokens

# What attention over two parts and the bookkeeping cost, as a share of the work on tokens: below this gain the prompt
# is not shared.
OVERHEAD = 1.1


@dataclass(frozen=True, slots=True)
class PairBatch:
    """B pairs as rows of token ids; the B chosen rows first, then the B rejected ones.

    The last token of a response is predicted and predicts nothing, so it enters no row. Padding is on the right; a
    causal model never looks there.

    Shared: `prompts` (B, P) holds all but the last token of each prompt, padded on its left by `padding`, and a row of
    `ids` begins with that last token. Otherwise `prompts` is None and rows begin with their prompt.

    Attributes:
        ids: (2B, T).
        positions: (N,) positions in the flattened 2B*T whose next token is a response token.
        targets: (N,) that next token.
        rows: (N,) the row of each position.
        real: (N,) 1 for a real position, 0 for padding of N.
        weights: the same, but `tail_weight` past the length of the pair's shorter response.
        counts: (2B,) response tokens of each row.
        indices: which pairs these are.
    """

    ids: Ints
    positions: Ints
    targets: Ints
    rows: Ints
    real: Floats
    weights: Floats
    counts: Ints
    indices: list[int]
    prompts: Ints | None = None
    padding: Ints | None = None


def share_prompts(pairs: Sequence[Tokens], multiple: int) -> bool:
    """Whether running the prompts once is less work: by tokens, padding included."""
    if any(len(pair.prompt) < 2 for pair in pairs):
        return False
    prompts, responses, whole = _widths(pairs, multiple)
    return OVERHEAD * (prompts + 2 * responses) < 2 * whole


def collate_pairs(
    examples: Sequence[Tokens], indices: Sequence[int], *, shared: bool, multiple: int, tail_weight: float = 1.0
) -> PairBatch:
    """One batch of the pairs at `indices`; widths are rounded up to `multiple` and coarser steps, for few shapes."""
    pairs = [examples[i] for i in indices]
    prompts, responses, whole = _widths(pairs, multiple)
    width = responses if shared else whole
    ids = np.zeros((2 * len(pairs), width), np.int32)
    positions: list[int] = []
    targets: list[int] = []
    rows: list[int] = []
    weights: list[float] = []
    counts: list[int] = []
    for which in (0, 1):
        for number, pair in enumerate(pairs):
            row = which * len(pairs) + number
            response = pair.responses[which]
            before = pair.prompt[-1:] if shared else pair.prompt
            sequence = [*before, *response[:-1]]
            ids[row, : len(sequence)] = sequence
            first = row * width + len(before) - 1
            positions.extend(range(first, first + len(response)))
            targets.extend(response)
            rows.extend([row] * len(response))
            together = min(len(response), len(pair.responses[1 - which]))
            weights.extend([1.0] * together + [tail_weight] * (len(response) - together))
            counts.append(len(response))
    fill = in_steps(len(positions), multiple, eighths=2) - len(positions)
    left = None
    if shared:
        left = np.zeros((len(pairs), prompts), np.int32)
        for number, pair in enumerate(pairs):
            left[number, prompts - len(pair.prompt) + 1 :] = pair.prompt[:-1]
    return PairBatch(
        ids=ids,
        positions=np.array(positions + [0] * fill, np.int32),
        targets=np.array(targets + [0] * fill, np.int32),
        rows=np.array(rows + [0] * fill, np.int32),
        real=np.array([1.0] * len(targets) + [0.0] * fill, np.float32),
        weights=np.array(weights + [0.0] * fill, np.float32),
        counts=np.array(counts, np.int32),
        indices=list(indices),
        prompts=left,
        padding=np.array([prompts - len(pair.prompt) + 1 for pair in pairs], np.int32) if shared else None,
    )


def _widths(pairs: Sequence[Tokens], multiple: int) -> tuple[int, int, int]:
    """Of prompts without their last token, of responses, and of whole sequences without their last token."""
    longest = (
        max(len(pair.prompt) for pair in pairs) - 1,
        max(len(response) for pair in pairs for response in pair.responses),
        max(pair.length for pair in pairs) - 1,
    )
    prompts, responses, whole = (in_steps(n, multiple, eighths=1) for n in longest)
    return prompts, responses, whole
