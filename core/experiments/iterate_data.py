"""The pairs that a round learns from: its fresh ones, with earlier ones where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from core.data.jsonl import BadRow
from core.data.manifest import writing
from core.data.messages import text_hash, text_key
from core.data.pairs import Pair, read_pairs
from core.data.prompts import read_prompts
from core.errors import UserError
from core.text import printable


class Written(NamedTuple):
    """Pairs of the file; `fresh` of them are the round's own; so many of these had a prompt that is held out."""

    pairs: int
    fresh: int
    held_out: int


def write_pairs(target: Path, fresh: Path, earlier: Iterable[Path], held_out: Iterable[Path]) -> Written:
    """Write the training file of a round: the earlier files' pairs, then the fresh ones.

    Args:
        held_out: files whose prompts must not be learned from: those that rounds are measured on.

    Raises:
        UserError: no fresh pair is left; a file cannot be read.
    """
    earlier, held_out = list(earlier), list(held_out)
    forbidden = {key for path in held_out for key in _prompts(path)}
    count = out = 0
    with writing(
        target, command="iterate", parameters={"held_out": [path.name for path in held_out]}, parents=[*earlier, fresh]
    ) as file:
        for path in (*earlier, fresh):
            for pair in read_pairs(path):
                if isinstance(pair, BadRow):
                    continue
                if _key(pair) in forbidden:
                    out += path == fresh
                    continue
                file.row(_fields(pair))
                count += path == fresh
        file.counts = {"fresh": count, "left_out_held_out": out}
        if not count:
            why = f"all {out} have prompts of {', '.join(path.name for path in held_out)}" if out else "there are none"
            raise UserError(f"{printable(fresh.name)}: no fresh pair can be learned from ({why}): name other prompts")
        return Written(file.rows, count, out)


def _prompts(path: Path) -> Iterator[int]:
    return (text_hash(text_key(row.text)) for row in read_prompts(path) if not isinstance(row, BadRow))


def _key(pair: Pair) -> int:
    return text_hash(text_key(pair.prompt))


def _fields(pair: Pair) -> dict[str, Any]:
    fields: dict[str, Any] = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    if pair.chosen_score is not None and pair.rejected_score is not None:
        fields |= {"chosen_score": pair.chosen_score, "rejected_score": pair.rejected_score}
    return fields
