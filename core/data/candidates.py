"""Several responses to one prompt, as `generate` writes them and `judge` and people compare them: a JSONL row each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.data.jsonl import BadRow, Row, read_rows
from core.data.messages import Refused, Text, text_of
from core.text import one_line


@dataclass(frozen=True, slots=True)
class Response:
    """One response: its text, and what is known of how it came about.

    `finish` is "stop" where the model ended it, "length" where it was cut at the limit of tokens, "" where unknown.
    """

    text: str
    model: str = ""
    recipe: str = ""
    finish: str = ""
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """A row `{"prompt": ..., "responses": [{"text", "model", "recipe", "finish", "tokens"}, ...]}`."""

    line: int
    prompt: Text
    responses: tuple[Response, ...]
    offset: int = field(default=-1, compare=False)
    length: int = field(default=0, compare=False)


def read_candidates(path: Path) -> Iterator[Candidates | BadRow]:
    """The rows of a file of candidates, in order, and for every line that is none the reason.

    A response may be plain text too. Other fields are passed over.

    Raises:
        UserError: the file cannot be read at all, or is empty.
    """
    for row in read_rows(path):
        yield row if isinstance(row, BadRow) else candidates_of(row)


def candidates_of(row: Row) -> Candidates | BadRow:
    """What a row of such a file holds, or why it is none."""
    try:
        if row.fields.get("prompt") is None:
            raise Refused("missing", "prompt", "is missing")
        responses = row.fields.get("responses")
        if not isinstance(responses, list) or not responses:
            raise Refused("missing", "responses", "must be a list of responses, with at least one")
        found = tuple(_response(value, f"responses[{index}]") for index, value in enumerate(responses))
        return Candidates(row.line, text_of(row.fields["prompt"], "prompt"), found, row.offset, row.length)
    except Refused as refused:
        return refused.row(row)


def _response(value: Any, field: str) -> Response:
    if isinstance(value, str):
        return Response(_plain(value, field))
    if not isinstance(value, dict):
        raise Refused("type", field, "must be text or an object with text")
    told = {name: value.get(name, "") for name in ("model", "recipe", "finish")}
    for name, words in told.items():
        if not isinstance(words, str):
            raise Refused("type", f"{field}.{name}", f"must be text, not {one_line(str(words), 24)}")
    tokens = value.get("tokens")
    return Response(
        _plain(value.get("text"), f"{field}.text"),
        **told,
        tokens=tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else None,
    )


def _plain(value: Any, field: str) -> str:
    text = text_of(value, field)
    if not isinstance(text, str):
        raise Refused("type", field, "must be text")
    return text
