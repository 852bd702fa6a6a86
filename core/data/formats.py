"""Shapes of published preference sets other than prompt, chosen and rejected: which one a row has, and its pair."""

from __future__ import annotations

import math
import re
from typing import Any

from core.data.jsonl import kind_of
from core.data.messages import Message, Refused, Text, text_of
from core.text import one_line

# Of a row with two responses: prompt, both responses, and how much better the second one is, from -3 to 3.
_STRENGTHS = (
    ("prompt", "response_1", "response_2", "preference_strength"),  # HelpSteer2-Preference
    ("context", "response1", "response2", "overall_preference"),  # HelpSteer3
)
STRENGTH_FIELDS = frozenset(name for names in _STRENGTHS for name in names) - {"prompt"}
_STRONGEST = 3.0

# Anthropic's transcripts: every turn begins so, and nothing keeps a turn from holding these words itself.
_TURN = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}
SPEAKER_OF = {role: speaker for speaker, role in _SPEAKERS.items()}

# HelpSteer joins the turns of a prompt with these.
_EXTRA = re.compile(r"\n<extra_id_1>(User|Assistant)\n")

_MAKES_PAIRS = "'dpotui data convert FILE --to ours -o OUT' makes pairs of them"


def is_transcript(text: str) -> bool:
    """Whether a text is a conversation as Anthropic's HH writes them."""
    return text.lstrip().startswith("Human:") and "\n\nAssistant:" in text


def transcript(text: str, field: str) -> list[Message]:
    """The turns of an Anthropic transcript, without the space after the colon."""
    before, *parts = _TURN.split("\n\n" + text.lstrip())
    assert not before
    turns: list[Message] = []
    for number, (speaker, said) in enumerate(zip(parts[::2], parts[1::2], strict=True), 1):
        role, content = _SPEAKERS[speaker], said.removeprefix(" ")
        if not content.strip():
            raise Refused("empty", field, f"holds an empty turn of the {role} (turn {number} of the transcript)")
        turns.append({"role": role, "content": text_of(content, field)})
    return turns


def write_transcript(turns: list[Message]) -> str:
    """The same the other way round. Every role must be in SPEAKER_OF."""
    return "".join(f"\n\n{SPEAKER_OF[turn['role']]}: {turn['content']}" for turn in turns)


def helpsteer_prompt(value: object, field: str) -> Text:
    """A prompt of HelpSteer: plain text, or messages where its turns are joined into one text."""
    text = text_of(value, field)
    if not isinstance(text, str) or "<extra_id_1>" not in text:
        return text
    first, *parts = _EXTRA.split(text)
    turns = [("User", first), *zip(parts[::2], parts[1::2], strict=True)]
    if any(not content.strip() for _, content in turns):
        raise Refused("empty", field, "holds an empty turn")
    return [{"role": speaker.lower(), "content": content} for speaker, content in turns]


def strength_of(fields: dict[str, Any]) -> str | None:
    """The name of the field that says which of two responses is better and by how much, if the row is of that shape."""
    for _, first, second, strength in _STRENGTHS:
        if strength in fields and first in fields and second in fields:
            return strength
    return None


def by_strength(fields: dict[str, Any]) -> tuple[Text, Text, Text, float, float]:
    """Prompt, chosen, rejected and their scores of a row with two responses and a strength from -3 to 3.

    Such a row knows a difference only: it is put on 0 to 1 as two scores whose sum is 1 and whose difference is
    strength / 3.
    """
    names = next(names for names in _STRENGTHS if names[3] == strength_of(fields))
    for name in names:
        if fields.get(name) is None:
            raise Refused("missing", name, "is null" if name in fields else "is missing")
    prompt = helpsteer_prompt(fields[names[0]], names[0])
    first, second = text_of(fields[names[1]], names[1]), text_of(fields[names[2]], names[2])
    strength = number(fields[names[3]], names[3])
    if abs(strength) > _STRONGEST:
        raise Refused("score", names[3], f"must be from -3 to 3, not {strength:g}")
    if not strength:
        raise Refused("tie", names[3], "is 0: neither response is preferred")
    half = abs(strength) / _STRONGEST / 2
    chosen, rejected = (second, first) if strength > 0 else (first, second)
    return prompt, chosen, rejected, 0.5 + half, 0.5 - half


def number(value: object, field: str) -> float:
    """A score: a finite number, or text that says one."""
    found = value
    if isinstance(value, str):
        try:
            found = float(value)
        except ValueError:
            raise Refused("score", field, f"must be a number, not '{one_line(value, 24)}'") from None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise Refused("score", field, f"must be a number, not {kind_of(value)}")
    try:
        score = float(found)
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        raise Refused("score", field, "must be a finite number")
    return score


def other_shape(fields: dict[str, Any]) -> Refused | None:
    """What a row without chosen and rejected is instead, and what makes pairs of it; None where nobody knows."""
    if "completion" in fields and "label" in fields:
        return Refused(
            "kto",
            "label",
            "says of one completion whether it is good (KTO): DPO wants two in one row, as chosen and rejected",
        )
    if isinstance(fields.get("completions"), list):
        return Refused("convert", "completions", f"are scored responses and no pair yet: {_MAKES_PAIRS}")
    if isinstance(fields.get("generations"), list):
        return Refused("convert", "generations", f"are scored responses and no pair yet: {_MAKES_PAIRS}")
    if "response" in fields and "helpfulness" in fields:
        return Refused("convert", "response", f"is one of several scored ones, a row each: {_MAKES_PAIRS}")
    if isinstance(fields.get("responses"), list):
        return Refused("convert", "responses", "are candidates and no pair yet: 'dpotui judge' makes pairs of them")
    return None
