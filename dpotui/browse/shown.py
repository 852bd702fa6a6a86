"""What is shown of a row: its line in the list, and all of it with what is known of it. Plain data, safe to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.messages import Text
from core.text import one_line, printable
from dpotui.diff import Range, words
from dpotui.roles import Span

# Characters of one text that are shown; files hold the rest. 60,000 wrap in 15 ms.
LONGEST = 60_000
# Cells of a prompt in the list; no screen shows more.
_HEAD = 160


@dataclass(frozen=True, slots=True)
class Listed:
    """A row in the list. `gap` is on 0 to 1. `marks` are kinds of findings; of a row that cannot be read, why."""

    place: int  # in the list as it is narrowed
    line: int
    words: str
    sizes: tuple[int, ...] = ()  # characters of the responses
    gap: float | None = None
    marks: tuple[str, ...] = ()
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One text. `differs`: ranges that are not in the other one. `left_out`: characters that are not shown."""

    title: str
    text: str
    note: str = ""
    differs: tuple[Range, ...] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Detail:
    """A row in full.

    Attributes:
        title: which row it is.
        line, offset: where it stands in its file.
        head: what is known of it, in lines of spans, wrapped by who shows them.
        partners: other pairs of the index that belong to it: duplicates, the other side of a conflict.
    """

    title: str
    line: int
    offset: int
    head: tuple[tuple[Span, ...], ...] = ()
    parts: tuple[Part, ...] = ()
    responses: tuple[Part, ...] = ()
    partners: tuple[int, ...] = ()
    pair: int | None = None  # its own number in the index


def clean(text: str) -> tuple[str, int]:
    """A foreign text as it is drawn, and how many of its characters are left out."""
    return printable(text[:LONGEST]).expandtabs(4), max(0, len(text) - LONGEST)


def first_words(text: str) -> str:
    return one_line(text, _HEAD)


def said(text: Text) -> str:
    """A text or a chat as one text: its turns under their roles where there is more than one."""
    if isinstance(text, str):
        return text
    if len(text) == 1 and text[0]["role"] in ("user", "assistant"):
        return str(text[0]["content"])
    return "\n\n".join(f"── {message['role']}\n{message['content']}" for message in text)


def part(title: str, text: str, note: str = "") -> Part:
    shown, left_out = clean(text)
    return Part(title, shown, note, (), left_out)


def both(first: Part, second: Part) -> tuple[Part, Part]:
    """Two texts with what each has and the other has not."""
    one, two = words(first.text, second.text)
    return (
        Part(first.title, first.text, first.note, tuple(one), first.left_out),
        Part(second.title, second.text, second.note, tuple(two), second.left_out),
    )


def characters(count: int) -> str:
    return f"{count:,} character{'s' if count != 1 else ''}"


def loose(value: Any) -> str:
    """Whatever stands in a field, as text: chats are read leniently, anything else as it was written."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, Mapping) and "content" in item for item in value):
        turns: Sequence[Mapping[str, Any]] = value
        if len(turns) == 1:
            return loose(turns[0]["content"])
        return "\n\n".join(f"── {turn.get('role', '?')}\n{loose(turn['content'])}" for turn in turns)
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return str(value["text"])
    return str(value)
