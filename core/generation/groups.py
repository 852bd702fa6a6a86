"""What is judged: the different responses to one prompt, and the questions that are asked of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.data.candidates import read_candidates
from core.data.comparisons import holds_candidates
from core.data.jsonl import BadRow
from core.data.messages import Text, text_key
from core.data.pairs import read_pairs


@dataclass(frozen=True, slots=True)
class Group:
    """A row of candidates, or of pairs: then the first response is the one that the file prefers."""

    line: int
    prompt: Text
    responses: tuple[Text, ...]
    preferred: bool = False
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """Of responses of the row on `line`: how good is the `first`, or is the `first` better than the `second`."""

    line: int
    first: int
    second: int | None = None


def groups(path: Path) -> Iterator[Group | BadRow]:
    """The rows of a file of candidates or of preference pairs, and for every line that is none the reason.

    A response that stands in a row twice counts once.

    Raises:
        UserError: the file cannot be read at all, or is empty.
    """
    if not holds_candidates(path):
        for pair in read_pairs(path):
            yield (
                pair if isinstance(pair, BadRow) else Group(pair.line, pair.prompt, (pair.chosen, pair.rejected), True)
            )
        return
    for row in read_candidates(path):
        if isinstance(row, BadRow):
            yield row
            continue
        different: dict[str, Text] = {}
        for response in row.responses:
            different.setdefault(text_key(response.text), response.text)
        yield Group(row.line, row.prompt, tuple(different.values()), False, len(row.responses) - len(different))


def questions(
    group: Group, ask: Literal["pairwise", "scores"], *, per_prompt: int = 0, seed: int = 0
) -> list[Question]:
    """What is asked of a row: every response's worth, or every comparison in both orders.

    Args:
        per_prompt: comparisons at most, the same ones for every judge; 0 for all.
        seed: draws them, with the line.
    """
    if len(group.responses) < 2:
        return []
    if ask == "scores":
        return [Question(group.line, index) for index in range(len(group.responses))]
    every = list(itertools.combinations(range(len(group.responses)), 2))
    if per_prompt and len(every) > per_prompt:
        every = sorted(random.Random(f"{seed} {group.line}").sample(every, per_prompt))
    return [Question(group.line, *order) for pair in every for order in (pair, pair[::-1])]
