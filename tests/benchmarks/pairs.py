"""Pairs of an exact number of tokens, real or generated: texts for us, the same token ids for the peers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.data.jsonl import BadRow
from core.data.pairs import read_pairs
from core.data.tokenize import Limits, Tokens, tokenize


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of every prompt and of every response."""

    prompt: int
    response: int

    @classmethod
    def of(cls, length: int, prompt_share: float) -> Lengths:
        prompt = round(length * prompt_share)
        return cls(prompt, length - prompt)

    @property
    def share(self) -> float:
        """The prompt's share of a sequence."""
        return self.prompt / (self.prompt + self.response)


@dataclass(frozen=True, slots=True)
class Texts:
    """A row of preference data: plain text."""

    prompt: str
    chosen: str
    rejected: str


def tokenizer_of(model: Path) -> Any:
    from mlx_lm.utils import load_tokenizer

    from core import blas as blas  # before MLX, which comes with the next line

    return load_tokenizer(model)


def real_texts(files: Sequence[Path], seed: int) -> list[Texts]:
    """The plain-text pairs of JSONL files, shuffled, without such as have an empty text."""
    rows = []
    for file in files:
        for row in read_pairs(file):
            if isinstance(row, BadRow) or not isinstance(row.prompt, str):
                continue
            texts = Texts(row.prompt, str(row.chosen), str(row.rejected))
            if all(text.strip() for text in asdict(texts).values()):
                rows.append(texts)
    random.Random(seed).shuffle(rows)
    return rows


def generated_texts(words: int, count: int, length: int, seed: int) -> list[Texts]:
    """Rows of the words `w0` ... of a generated tokenizer, rare ones rarer (Zipf)."""
    rng = random.Random(seed)

    def text() -> str:
        return " ".join(f"w{min(words - 1, int(words ** rng.random()) - 1)}" for _ in range(length))

    return [Texts(text(), " " + text(), " " + text()) for _ in range(count)]


def cut_to(tokenizer: Any, rows: Sequence[Texts], lengths: Lengths, count: int) -> list[tuple[Texts, Tokens]]:
    """`count` pairs of exactly these lengths, each the texts and the token ids that we make of them.

    A prompt that is too short is preceded by a response of the row before, as a conversation would be; a response
    that is too short goes on with those of the rows after. What is over is cut by the product's own limits.

    Raises:
        ValueError: too few rows.
    """
    limits = Limits(lengths.prompt, lengths.response)
    found = []
    for number in range(len(rows)):
        texts = Texts(
            _long_enough(tokenizer, _before(rows, number), lengths.prompt, at_front=True),
            _long_enough(tokenizer, _after(rows, number, "chosen"), lengths.response),
            _long_enough(tokenizer, _after(rows, number, "rejected"), lengths.response),
        )
        tokens = tokenize(tokenizer, texts.prompt, (texts.chosen, texts.rejected), limits)
        exact = len(tokens.prompt) == lengths.prompt and all(len(r) == lengths.response for r in tokens.responses)
        if exact and tokens.responses[0] != tokens.responses[1]:
            found.append((texts, tokens))
        if len(found) == count:
            return found
    raise ValueError(f"{len(rows)} rows give {len(found)} pairs of {lengths}, {count} are wanted")


def write(folder: Path, name: str, pairs: Iterable[tuple[Texts, Tokens]]) -> tuple[Path, Path]:
    """`NAME.jsonl` with texts and `NAME.ids.jsonl` with token ids."""
    texts_file, ids_file = folder / f"{name}.jsonl", folder / f"{name}.ids.jsonl"
    with texts_file.open("w", encoding="utf-8") as texts_out, ids_file.open("w", encoding="utf-8") as ids_out:
        for texts, tokens in pairs:
            texts_out.write(json.dumps(asdict(texts)) + "\n")
            chosen, rejected = tokens.responses
            ids_out.write(json.dumps({"prompt": tokens.prompt, "chosen": chosen, "rejected": rejected}) + "\n")
    return texts_file, ids_file


def _before(rows: Sequence[Texts], number: int) -> Iterator[str]:
    yield rows[number].prompt
    for step in range(1, len(rows)):
        yield rows[number - step].chosen + "\n\n"


def _after(rows: Sequence[Texts], number: int, which: str) -> Iterator[str]:
    yield getattr(rows[number], which)
    for step in range(1, len(rows)):
        yield "\n\n" + getattr(rows[(number + step) % len(rows)], which)


def _long_enough(tokenizer: Any, pieces: Iterator[str], tokens: int, *, at_front: bool = False) -> str:
    """Pieces joined until they have more tokens than wanted, so that a boundary that moves costs none."""
    text = ""
    for piece in pieces:
        text = piece + text if at_front else text + piece
        if len(tokenizer.encode(text)) > tokens + 8:
            break
    return text
