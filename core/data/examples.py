"""SFT examples read from JSONL: a prompt and the response to learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.jsonl import BadRow, Row, read_rows
from core.data.messages import Refused, Text, as_messages, common_turns, text_hash, text_key, text_of
from core.text import one_line

RESPONSE_FIELDS = ("response", "completion")


@dataclass(frozen=True, slots=True)
class Example:
    """One row. Prompt and response are of one form: both plain text, or both lists of messages."""

    line: int
    prompt: Text
    response: Text


def read_examples(path: Path) -> Iterator[Example | BadRow]:
    """The examples of a file (JSONL, CSV, Parquet), in order, and for every line that is none the reason.

    A row holds `prompt` and `response` (or `completion`), as text or chat messages; or `messages`, a conversation
    whose last turn, the assistant's, is the response (as mlx-lm's `mask_prompt` takes it). Other fields are ignored.

    Raises:
        UserError: the file cannot be read at all, or is empty.
    """
    for row in read_rows(path):
        yield row if isinstance(row, BadRow) else example_of(row)


def example_of(row: Row) -> Example | BadRow:
    """The SFT example in a row, or why there is none."""
    try:
        if row.fields.get("messages") is not None:
            return Example(row.line, *_conversation(row.fields["messages"]))
        return Example(row.line, *_prompt_and_response(row.fields))
    except Refused as refused:
        return refused.row(row)


def _conversation(value: object) -> tuple[Text, Text]:
    turns = text_of(value, "messages")
    if isinstance(turns, str):
        raise Refused("type", "messages", "must be a list of messages, not text")
    if turns[-1]["role"] != "assistant":
        raise Refused(
            "messages", "messages", f"end with a turn of the {turns[-1]['role']}: there is no response to learn"
        )
    if len(turns) == 1:
        raise Refused("prompt", "messages", "hold a response only: a turn before it is wanted")
    return turns[:-1], turns[-1:]


def _prompt_and_response(fields: dict[str, Any]) -> tuple[Text, Text]:
    given = [name for name in RESPONSE_FIELDS if fields.get(name) is not None]
    if fields.get("prompt") is None or not given:
        lacking = "prompt" if fields.get("prompt") is None else "response"
        if lacking in fields:
            raise Refused("missing", lacking, "is null")
        has = one_line(", ".join(fields) or "nothing", 80)
        raise Refused(
            "missing", lacking, f"is missing (the row has {has}; prompt and response, or messages, are wanted)"
        )
    prompt, response = text_of(fields["prompt"], "prompt"), text_of(fields[given[0]], given[0])
    if isinstance(prompt, str) and isinstance(response, str):
        return prompt, response
    turns, answer = as_messages(prompt, "user"), as_messages(response, "assistant")
    if common_turns(turns, answer) == len(turns):
        answer = answer[len(turns) :]
    if not answer or answer[-1]["role"] != "assistant":
        raise Refused("messages", given[0], "must end with a turn of the assistant")
    return turns, answer


@dataclass(frozen=True, slots=True)
class ExampleCount:
    """What a file of SFT examples holds."""

    path: Path
    rows: int
    valid: int
    errors: dict[str, int]  # by kind
    examples: tuple[BadRow, ...]  # the first bad rows
    unique_prompts: int


def count_examples(path: Path, shown: int = 20) -> ExampleCount:
    """Read a file of SFT examples once and count; `shown` bad rows are kept word for word."""
    errors: Counter[str] = Counter()
    bad: list[BadRow] = []
    prompts: set[int] = set()
    valid = 0
    for row in read_examples(path):
        if isinstance(row, BadRow):
            errors[row.kind] += 1
            if len(bad) < shown:
                bad.append(row)
        else:
            valid += 1
            prompts.add(text_hash(text_key(row.prompt)))
    return ExampleCount(path, valid + errors.total(), valid, dict(sorted(errors.items())), tuple(bad), len(prompts))


def holds_examples(path: Path) -> bool:
    """Whether the first row that can be read is an SFT example and not a preference pair."""
    for row in read_rows(path):
        if isinstance(row, Row):
            names = row.fields.keys()
            return not names & {"chosen", "rejected"} and bool(names & {"messages", *RESPONSE_FIELDS})
    return False
