"""How long the rows of a file are in tokens, from its longest rows alone: what memory and batch size depend on."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from core.data.examples import read_examples
from core.data.jsonl import BadRow
from core.data.messages import Text
from core.data.pairs import read_pairs

# Rows that are tokenized: the longest by their bytes, and some drawn from all for what is usual.
LONGEST = 24
DRAWN = 200

# Tokens that a chat template writes around a message.
_AROUND = 8


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens, after truncation. `longest`: prompt and longer response of one row; `usual`: the mean of that."""

    prompt: int
    response: int
    longest: int
    usual: int
    source: str


def of_limits(prompt: int, response: int) -> Lengths:
    """Where nothing is known of the rows: as long as the configuration lets them be."""
    return Lengths(prompt, response, prompt + response, prompt + response, "the limits of the configuration")


def of_file(
    path: Path, holds: Literal["pairs", "examples"], model: Path, limits: tuple[int, int], *, chat: bool = False
) -> Lengths:
    """The lengths of a file's rows for the tokenizer in a model's folder.

    A chat template is not rendered; it counts as a few tokens a message.

    Args:
        path: a JSONL file.
        holds: preference pairs or SFT examples.
        model: a folder with tokenizer.json.
        limits: `max_prompt_length` and `max_response_length`.
        chat: plain text goes into the chat template too.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        stamps = [(f.stat().st_size, f.stat().st_mtime_ns) for f in (path, model / "tokenizer.json")]
    except OSError:
        return of_limits(*limits)
    return _of_file(path, holds, model, limits, chat, tuple(stamps))


@lru_cache(maxsize=16)
def _of_file(path: Path, holds: str, model: Path, limits: tuple[int, int], chat: bool, stamps: object) -> Lengths:
    from core.errors import UserError

    try:
        encode = _encoder(model)
    except UserError:
        return of_limits(*limits)
    found = [_tokens(row, encode, limits, chat) for row in _chosen(path, holds)]
    if not found:
        return of_limits(*limits)
    longest, drawn = found[:LONGEST], found[LONGEST:] or found
    return Lengths(
        prompt=max(prompt for prompt, _ in found),
        response=max(response for _, response in found),
        longest=max(prompt + response for prompt, response in longest),
        usual=round(mean(prompt + response for prompt, response in drawn)),
        source=f"the longest rows of {path.name}, tokenized",
    )


_Row = tuple[Text, tuple[Text, ...]]  # prompt and responses


def _chosen(path: Path, holds: str) -> list[_Row]:
    """The longest rows, then some drawn from all; the same ones every time."""
    heap: list[tuple[int, int, _Row]] = []
    drawn: list[_Row] = []
    chance = random.Random(0)
    rows = read_pairs(path) if holds == "pairs" else read_examples(path)
    count = 0
    for row in rows:
        if isinstance(row, BadRow):
            continue
        responses = (row.chosen, row.rejected) if holds == "pairs" else (row.response,)  # type: ignore[union-attr]
        made: _Row = (row.prompt, responses)
        size = len(_text(row.prompt)) + max(len(_text(response)) for response in responses)
        (heapq.heappush if len(heap) < LONGEST else heapq.heappushpop)(heap, (size, count, made))
        count += 1
        # Every row has the same chance to be among the drawn (reservoir sampling).
        if len(drawn) < DRAWN:
            drawn.append(made)
        elif (place := chance.randrange(count)) < DRAWN:
            drawn[place] = made
    return [made for _, _, made in sorted(heap, key=lambda entry: entry[0], reverse=True)] + drawn


def _encoder(model: Path) -> Any:
    """From text to the number of its tokens."""
    from tokenizers import Tokenizer

    from core.errors import UserError

    try:
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    except Exception as error:  # a stranger's file can make it raise anything
        raise UserError(f"{model / 'tokenizer.json'} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def _tokens(row: _Row, encode: Any, limits: tuple[int, int], chat: bool) -> tuple[int, int]:
    """Tokens of the prompt and of the longer response, as far as they are taken."""

    def count(text: Text) -> int:
        messages = 1 if isinstance(text, str) else len(text)
        around = _AROUND * messages if chat or not isinstance(text, str) else 0
        return int(encode(_text(text))) + around + 1  # begin or end of the text

    prompt, responses = row
    return min(limits[0], count(prompt)), min(limits[1], max(count(response) for response in responses))


def _text(text: Text) -> str:
    return text if isinstance(text, str) else "\n".join(str(turn.get("content", "")) for turn in text)
