"""Preference pairs read from JSONL: a prompt, the chosen and the rejected response, and their scores if any."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.data.jsonl import BadRow, Row, kind_of, read_rows
from core.data.messages import Message, Refused, Text, as_messages, common_turns, text_of
from core.text import one_line

# Names under which published preference sets keep the scores of both responses.
SCORE_FIELDS = (
    ("chosen_score", "rejected_score"),
    ("score_chosen", "score_rejected"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_reward", "rejected_reward"),
    ("reward_chosen", "reward_rejected"),
    ("chosen_avg_rating", "rejected_avg_rating"),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """One row. Prompt and responses are of one form: all plain text, or all lists of messages.

    Scores are as the file has them; None where it has none. `score_fields` names where they stood. `margin` is by how
    much the chosen response is better, for those who ask for it.
    """

    line: int
    prompt: Text
    chosen: Text
    rejected: Text
    chosen_score: float | None = None
    rejected_score: float | None = None
    score_fields: str = ""
    margin: float | None = None
    # Where its line stands in the file, in bytes.
    offset: int = field(default=-1, compare=False)
    length: int = field(default=0, compare=False)


def read_pairs(path: Path, *, margins: bool = False) -> Iterator[Pair | BadRow]:
    """The pairs of a JSONL file, in order, and for every line that is none the reason.

    A row holds `prompt`, `chosen` and `rejected`, as text or chat messages. Without `prompt`, `chosen` and `rejected`
    are whole conversations, and the prompt is the longest run of turns that both begin with. Other fields are
    passed over.

    Args:
        margins: read `margin` too, which then must be a number where it stands.

    Raises:
        UserError: the file cannot be read at all, or is empty.
    """
    for row in read_rows(path):
        yield row if isinstance(row, BadRow) else pair_of(row, margins=margins)


def pair_of(row: Row, *, margins: bool = False) -> Pair | BadRow:
    """The pair in a row, or why there is none."""
    try:
        prompt, chosen, rejected = _texts(row.fields)
        if chosen == rejected:
            raise Refused("identical", "rejected", "is the same as chosen: there is nothing to prefer")
        names, scores = _scores(row.fields)
        margin = _score(row.fields.get("margin"), "margin") if margins else None
        return Pair(row.line, prompt, chosen, rejected, *scores, names, margin, row.offset, row.length)
    except Refused as refused:
        return refused.row(row)


def _texts(fields: dict[str, Any]) -> tuple[Text, Text, Text]:
    """Prompt, chosen and rejected in one form."""
    for name in ("chosen", "rejected"):
        if fields.get(name) is None:
            raise _missing(fields, name)
    chosen, rejected = text_of(fields["chosen"], "chosen"), text_of(fields["rejected"], "rejected")
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise Refused("type", "rejected", "and chosen must both be text or both be lists of messages")
    if fields.get("prompt") is None:
        if isinstance(chosen, str) or isinstance(rejected, str):
            raise _missing(fields, "prompt")
        return _implicit(chosen, rejected)
    prompt = text_of(fields["prompt"], "prompt")
    if isinstance(chosen, str) or isinstance(rejected, str):
        if isinstance(prompt, str):
            return prompt, chosen, rejected
        chosen, rejected = as_messages(chosen, "assistant"), as_messages(rejected, "assistant")
    turns = as_messages(prompt, "user")
    # Some sets repeat the prompt as the first turns of both responses.
    if common_turns(turns, chosen) == len(turns) and common_turns(turns, rejected) == len(turns):
        chosen, rejected = chosen[len(turns) :], rejected[len(turns) :]
    return turns, _answer(chosen, "chosen"), _answer(rejected, "rejected")


def _implicit(chosen: list[Message], rejected: list[Message]) -> tuple[Text, Text, Text]:
    if chosen == rejected:
        raise Refused("identical", "rejected", "is the same as chosen: there is nothing to prefer")
    shared = common_turns(chosen, rejected)
    if not shared:
        raise Refused("prompt", "prompt", "is missing, and chosen and rejected begin with different turns")
    return chosen[:shared], _answer(chosen[shared:], "chosen"), _answer(rejected[shared:], "rejected")


def _answer(turns: list[Message], field: str) -> list[Message]:
    """The turns of a response: they begin and end with the assistant."""
    if not turns:
        raise Refused("empty", field, "holds nothing after the prompt")
    if turns[0]["role"] != "assistant":
        raise Refused("prompt", field, f"goes on after the prompt with a turn of the {turns[0]['role']}")
    if turns[-1]["role"] != "assistant":
        raise Refused("messages", field, f"ends with a turn of the {turns[-1]['role']}, not of the assistant")
    return turns


def _missing(fields: dict[str, Any], name: str) -> Refused:
    if name in fields:
        return Refused("missing", name, "is null")
    has = ", ".join(fields) or "nothing"
    return Refused("missing", name, f"is missing (the row has {one_line(has, 80)})")


def _scores(fields: dict[str, Any]) -> tuple[str, tuple[float | None, float | None]]:
    """The first two score fields that the row has, and their values; a score that is null counts as not there."""
    for names in SCORE_FIELDS:
        if any(fields.get(name) is not None for name in names):
            chosen, rejected = (_score(fields.get(name), name) for name in names)
            return "/".join(names), (chosen, rejected)
    return "", (None, None)


def _score(value: object, field: str) -> float | None:
    if value is None:
        return None
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            raise Refused("score", field, f"must be a number, not '{one_line(value, 24)}'") from None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise Refused("score", field, f"must be a number, not {kind_of(value)}")
    try:
        score = float(number)
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        raise Refused("score", field, "must be a finite number")
    return score
