"""Prompts to be answered, read from JSONL: of a file of prompts, or those of preference pairs or SFT examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.data.jsonl import BadRow, Row, read_rows
from core.data.messages import Refused, Text, common_turns, text_hash, text_key, text_of
from core.text import one_line


@dataclass(frozen=True, slots=True)
class Prompt:
    """One row: plain text, or chat messages after which the assistant speaks."""

    line: int
    text: Text


@dataclass(frozen=True, slots=True)
class Prompts:
    """The different prompts of a file, in its order, and what else it holds."""

    path: Path
    prompts: tuple[Prompt, ...]
    rows: int
    duplicates: int  # rows whose prompt stood before
    beyond: int  # different prompts beyond the limit
    errors: dict[str, int]  # by kind
    examples: tuple[BadRow, ...]  # the first bad rows


def read_prompts(path: Path) -> Iterator[Prompt | BadRow]:
    """The prompts of a JSONL file, in order, and for every line that has none the reason.

    A row holds `prompt`, as text or chat messages; or `messages`, a conversation, whose last turn is left out where it
    is the assistant's; or `chosen` and `rejected`, conversations that begin with the same turns. Other fields are
    passed over.

    Raises:
        UserError: the file cannot be read at all, or is empty.
    """
    for row in read_rows(path):
        yield row if isinstance(row, BadRow) else prompt_of(row)


def load_prompts(path: Path, limit: int | None = None, shown: int = 20) -> Prompts:
    """The different prompts of a file, the first `limit` of them; `shown` bad rows are kept word for word.

    Raises:
        UserError: the file cannot be read at all, or is empty.
    """
    found: list[Prompt] = []
    seen: set[int] = set()
    errors: Counter[str] = Counter()
    bad: list[BadRow] = []
    rows = duplicates = beyond = 0
    for row in read_prompts(path):
        rows += 1
        if isinstance(row, BadRow):
            errors[row.kind] += 1
            if len(bad) < shown:
                bad.append(row)
            continue
        key = text_hash(text_key(row.text))
        if key in seen:
            duplicates += 1
            continue
        seen.add(key)
        if limit is not None and len(found) >= limit:
            beyond += 1
        else:
            found.append(row)
    return Prompts(path, tuple(found), rows, duplicates, beyond, dict(sorted(errors.items())), tuple(bad))


def prompt_of(row: Row) -> Prompt | BadRow:
    """The prompt in a row, or why there is none."""
    try:
        return Prompt(row.line, _text(row))
    except Refused as refused:
        return refused.row(row)


def _text(row: Row) -> Text:
    fields = row.fields
    if fields.get("prompt") is not None:
        return text_of(fields["prompt"], "prompt")
    if fields.get("messages") is not None:
        turns = text_of(fields["messages"], "messages")
        if isinstance(turns, str):
            raise Refused("type", "messages", "must be a list of messages, not text")
        if turns[-1]["role"] == "assistant":
            turns = turns[:-1]
        if not turns:
            raise Refused("prompt", "messages", "hold a response only: a turn before it is wanted")
        return turns
    if isinstance(fields.get("chosen"), list) and isinstance(fields.get("rejected"), list):
        chosen, rejected = text_of(fields["chosen"], "chosen"), text_of(fields["rejected"], "rejected")
        assert isinstance(chosen, list) and isinstance(rejected, list)
        shared = chosen[: common_turns(chosen, rejected)]
        if shared and shared[-1]["role"] == "assistant":
            shared = shared[:-1]
        if not shared:
            raise Refused("prompt", "prompt", "is missing, and chosen and rejected begin with different turns")
        return shared
    if "prompt" in fields:
        raise Refused("missing", "prompt", "is null")
    has = one_line(", ".join(fields) or "nothing", 80)
    raise Refused("missing", "prompt", f"is missing (the row has {has})")
