"""Preference pairs read from a file: a prompt, the chosen and the rejected response, and their scores if any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.data.formats import by_strength, is_transcript, number, other_shape, strength_of, transcript
from core.data.jsonl import BadRow, Row, read_rows
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
    """The pairs of a file (JSONL, CSV, Parquet), in order, and for every line that is none the reason.

    A row holds `prompt`, `chosen` and `rejected`, as text or chat messages. Without `prompt`, `chosen` and `rejected`
    are whole conversations, as messages or as Anthropic's transcripts, and the prompt is the longest run of turns that
    both begin with. Rows with two responses and the strength of the preference (HelpSteer2-Preference, HelpSteer3) are
    read too. Other fields are passed over.

    Args:
        margins: read `margin` too, which then must be a number where it stands.

    Raises:
        UserError: the file cannot be read at all, or is empty.
    """
    for row in read_rows(path):
        yield row if isinstance(row, BadRow) else pair_of(row, margins=margins)


def pair_of(row: Row, *, margins: bool = False) -> Pair | BadRow:
    """The pair in a row, or why there is none."""
    fields = row.fields
    try:
        if strength_of(fields) is None or "chosen" in fields:
            prompt, chosen, rejected = _texts(fields)
            names, scores = _scores(fields)
        else:
            prompt, chosen, rejected, *given = by_strength(fields)
            prompt, chosen, rejected = _one_form(prompt, chosen, rejected)
            names, scores = f"{strength_of(fields)} / 3", (given[0], given[1])
        if chosen == rejected:
            raise Refused("identical", "rejected", "is the same as chosen: there is nothing to prefer")
        margin = _score(fields.get("margin"), "margin") if margins else None
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
            if not isinstance(chosen, str) or not isinstance(rejected, str):
                raise _missing(fields, "prompt")
            if not is_transcript(chosen) or not is_transcript(rejected):
                raise _missing(fields, "prompt")
            chosen, rejected = transcript(chosen, "chosen"), transcript(rejected, "rejected")
        return _implicit(chosen, rejected)
    return _one_form(text_of(fields["prompt"], "prompt"), chosen, rejected)


def _one_form(prompt: Text, chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """All plain text, or all messages, the responses without the prompt that some sets repeat in them."""
    if isinstance(chosen, str) or isinstance(rejected, str):
        if isinstance(prompt, str):
            return prompt, chosen, rejected
        chosen, rejected = as_messages(chosen, "assistant"), as_messages(rejected, "assistant")
    turns = as_messages(prompt, "user")
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
    other = other_shape(fields) if fields.get("chosen") is None and fields.get("rejected") is None else None
    if other is not None:
        return other
    if name in fields:
        return Refused("missing", name, "is null")
    has = ", ".join(fields) or "nothing"
    return Refused("missing", name, f"is missing (the row has {one_line(has, 80)})")


def _scores(fields: dict[str, Any]) -> tuple[str, tuple[float | None, float | None]]:
    """The first two score fields that the row has, and their values; who judged, where it says so.

    A score that is null, or an empty cell, counts as not there.
    """
    for names in SCORE_FIELDS:
        if any(fields.get(name) is not None and fields[name] != "" for name in names):
            chosen, rejected = (_score(fields.get(name), name) for name in names)
            judge = fields.get("judge")
            by = f" by {one_line(judge, 40)}" if isinstance(judge, str) and judge.strip() else ""
            return "/".join(names) + by, (chosen, rejected)
    return "", (None, None)


def _score(value: object, field: str) -> float | None:
    return None if value is None or value == "" else number(value, field)
