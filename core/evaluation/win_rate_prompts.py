"""The prompts of a win rate: the different ones of a file of held-out pairs, with categories, sampled by seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from core.data.jsonl import BadRow, Row, read_rows
from core.data.messages import Text, text_hash, text_key
from core.data.pairs import Pair, pair_of
from core.data.prompts import prompt_of
from core.errors import UserError
from core.text import one_line, printable

_LONGEST_CATEGORY = 60


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A prompt on the line of the file where it stands first; its category is "" where the row has none."""

    line: int
    prompt: Text
    category: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is asked, in the order of the file, and what else the file holds."""

    prompts: tuple[HeldOut, ...]
    rows: int
    duplicates: int  # rows whose prompt stood before
    beyond: int  # different prompts that were not drawn
    errors: dict[str, int]  # rows without a prompt, by kind
    examples: tuple[BadRow, ...]  # the first of them


def draw_prompts(path: Path, *, category_field: str, limit: int | None, seed: int, shown: int = 20) -> Drawn:
    """The different prompts of a file of pairs (or of prompts), `limit` of them drawn by `seed`.

    Which are drawn is a matter of seed and text alone: a smaller sample is part of every larger one, and rows that are
    added elsewhere in the file change no more than they must.

    Raises:
        UserError: the file cannot be read, or has no prompt.
    """
    found: dict[int, HeldOut] = {}
    errors: Counter[str] = Counter()
    bad: list[BadRow] = []
    rows = duplicates = 0
    for row in read_rows(path):
        rows += 1
        prompt = row if isinstance(row, BadRow) else _prompt(row)
        if isinstance(prompt, BadRow):
            errors[prompt.kind] += 1
            bad += [prompt] if len(bad) < shown else []
            continue
        assert isinstance(row, Row)
        key = text_hash(text_key(prompt))
        if key in found:
            duplicates += 1
        else:
            found[key] = HeldOut(row.line, prompt, _category(row.fields, category_field))
    if not found:
        raise UserError(f"{printable(str(path))} has no prompt: a row is {{'prompt', 'chosen', 'rejected'}}")
    drawn = list(found.items())
    if limit is not None and len(drawn) > limit:
        kept = set(sorted(found, key=lambda key: _place(seed, key))[:limit])
        drawn = [(key, prompt) for key, prompt in drawn if key in kept]
    return Drawn(
        tuple(prompt for _, prompt in drawn),
        rows,
        duplicates,
        len(found) - len(drawn),
        dict(sorted(errors.items())),
        tuple(bad),
    )


def _prompt(row: Row) -> Text | BadRow:
    """As the pair has it; of a row that is no pair, its prompt."""
    pair = pair_of(row)
    if isinstance(pair, Pair):
        return pair.prompt
    prompt = prompt_of(row)
    return prompt if isinstance(prompt, BadRow) else prompt.text


def _place(seed: int, key: int) -> bytes:
    return blake2b(f"win rate\0{seed}\0{key}".encode(), digest_size=8).digest()


def _category(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return one_line(str(value).strip(), _LONGEST_CATEGORY)
