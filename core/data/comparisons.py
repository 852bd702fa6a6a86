"""Two responses to one prompt that somebody is to compare: a person at the keyboard, a judge, a reward model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from core.data.candidates import Candidates, read_candidates
from core.data.jsonl import BadRow, Row, read_rows
from core.data.messages import Text, text_key
from core.data.pairs import Pair, read_pairs


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses in the order of the file. In a file of pairs the first is the chosen one.

    `key` is of the three texts and the same whichever response stands first: what was said of it is found again in
    another file that holds it.
    """

    key: str
    line: int
    prompt: Text
    first: Text
    second: Text
    offset: int = field(default=-1, compare=False)
    length: int = field(default=0, compare=False)


def comparison_key(prompt: Text, first: Text, second: Text) -> str:
    """32 hex digits of the prompt and both responses, in either order."""
    digest = blake2b(text_key(prompt).encode(), digest_size=16)
    for key in sorted((text_key(first), text_key(second))):
        digest.update(b"\x1d" + key.encode())
    return digest.hexdigest()


def holds_candidates(path: Path) -> bool:
    """Whether the first row that can be read has `responses`.

    Raises:
        UserError: the file cannot be read at all, or is empty.
    """
    first = next((row for row in read_rows(path) if isinstance(row, Row)), None)
    return first is not None and "responses" in first.fields


def comparisons(path: Path) -> Iterator[Comparison | BadRow]:
    """What can be compared in a file of preference pairs, or of candidates: there, every two responses of a prompt
    that differ.

    Raises:
        UserError: the file cannot be read at all, or is empty.
    """
    if not holds_candidates(path):
        for pair in read_pairs(path):
            yield pair if isinstance(pair, BadRow) else of_pair(pair)
        return
    for row in read_candidates(path):
        if isinstance(row, BadRow):
            yield row
        else:
            yield from of_candidates(row)


def of_pair(pair: Pair) -> Comparison:
    key = comparison_key(pair.prompt, pair.chosen, pair.rejected)
    return Comparison(key, pair.line, pair.prompt, pair.chosen, pair.rejected, pair.offset, pair.length)


def of_candidates(row: Candidates) -> Iterator[Comparison]:
    """Every two different responses, in their order; a response that stands there twice counts once."""
    texts = list(dict.fromkeys(response.text.strip() for response in row.responses))
    for first, second in itertools.combinations(texts, 2):
        key = comparison_key(row.prompt, first, second)
        yield Comparison(key, row.line, row.prompt, first, second, row.offset, row.length)
