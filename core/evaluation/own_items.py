"""The rows of a person's own benchmark: what is asked, the right answers, and why a line is no item."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.evaluate import Benchmark
from core.data.jsonl import BadRow, Row, read_rows
from core.errors import UserError
from core.evaluation.own_answers import last_number
from core.text import one_line, printable

# More of these is no question, and would fill a model's positions or the memory.
MOST_CHARACTERS, MOST_CHOICES = 100_000, 100

_PROMPTS = ("prompt", "question")
_IDS = ("id", "task_id", "question_id")


@dataclass(frozen=True, slots=True)
class OwnItem:
    """One item.

    Attributes:
        id: the row's own, or its line; no two are alike.
        answers: texts that are right; of multiple choice the one right choice.
        choices: of multiple choice, else none.
    """

    line: int
    id: str
    prompt: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()

    @property
    def right(self) -> int:
        """The place of the right choice."""
        return self.choices.index(self.answers[0])

    @property
    def identity(self) -> list[Any]:
        """What makes it this item."""
        return [self.prompt, self.answers, self.choices]


@dataclass(frozen=True, slots=True)
class OwnItems:
    """The items of a file, in order, and the lines that are none."""

    path: Path
    items: tuple[OwnItem, ...]
    bad: tuple[BadRow, ...]


def read_items(path: Path, benchmark: Benchmark) -> OwnItems:
    """The items of a file.

    A row holds `prompt` (or `question`) and `answer`: a text or a number, or a list of them of which each is right. Of
    multiple choice it holds `choices`, and `answer` is the place of the right one, from 0, or its text, or its letter.

    Raises:
        UserError: the file cannot be read, or no row is an item.
    """
    items: list[OwnItem] = []
    bad: list[BadRow] = []
    seen: set[str] = set()
    for row in read_rows(path):
        found = row if isinstance(row, BadRow) else _item(row, benchmark)
        if isinstance(found, BadRow):
            bad.append(found)
            continue
        while found.id in seen:
            found = OwnItem(found.line, f"{found.id}:{found.line}", found.prompt, found.answers, found.choices)
        seen.add(found.id)
        items.append(found)
    if not items:
        first = bad[0]
        raise UserError(
            f"{printable(str(path))}:{first.line}: {first.reason}: no row of the file is an item of answer:"
            f" {benchmark.answer}"
        )
    return OwnItems(path, tuple(items), tuple(bad))


def drawn(items: tuple[OwnItem, ...], limit: int | None, seed: int) -> tuple[OwnItem, ...]:
    """So many of the items, drawn by the seed, in the order of the file."""
    if limit is None or limit >= len(items):
        return items
    places = sorted(random.Random(f"items {seed}").sample(range(len(items)), limit))
    return tuple(items[place] for place in places)


def shots(item: OwnItem, pool: tuple[OwnItem, ...], number: int, seed: int) -> tuple[OwnItem, ...]:
    """The examples before an item.

    Args:
        pool: what they are drawn from, by the seed: the same ones for every item, so that they are run once. Where one
            asks what the item asks the next one drawn takes its place.
    """
    if not number:
        return ()
    order = random.Random(f"shots {seed}").sample(range(len(pool)), min(len(pool), number + MOST_SPARE))
    # Not only the row itself: one that asks the same gives the answer away too, of whatever file it is.
    return tuple([pool[place] for place in order if pool[place].prompt != item.prompt][:number])


# Further examples that are drawn for those that ask what the item asks.
MOST_SPARE = 16


class _Bad(Exception):
    def __init__(self, kind: str, field: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.field = field


def _item(row: Row, benchmark: Benchmark) -> OwnItem | BadRow:
    try:
        prompt = _prompt(row.fields)
        own = next((row.fields[name] for name in _IDS if isinstance(row.fields.get(name), str | int)), row.line)
        name = one_line(str(own), 80).strip() or str(row.line)
        if benchmark.answer == "multiple_choice":
            choices = _choices(row.fields)
            return OwnItem(row.line, name, prompt, (choices[_right(row.fields, choices)],), choices)
        answers = _answers(row.fields)
        if benchmark.answer == "numeric":
            for answer in answers:
                if last_number(answer) is None:
                    raise _Bad("type", "answer", f"answer holds no number ({one_line(answer, 40)})")
        return OwnItem(row.line, name, prompt, answers)
    except _Bad as bad:
        return BadRow(row.line, bad.kind, bad.field, str(bad), row.offset, row.length)


def _prompt(fields: dict[str, Any]) -> str:
    name = next((name for name in _PROMPTS if name in fields), None)
    if name is None:
        raise _Bad(
            "missing", "prompt", f"prompt is missing (the row has {one_line(', '.join(fields) or 'nothing', 80)})"
        )
    return _text(fields[name], name)


def _text(value: object, field: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise _Bad("type", field, f"{field} must be text")
    if not value.strip():
        raise _Bad("empty", field, f"{field} is empty")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise _Bad("encoding", field, f"{field} holds half a character (a lone surrogate such as \\ud800)")
    if len(value) > MOST_CHARACTERS:
        raise _Bad("too_long", field, f"{field} has {len(value)} characters, {MOST_CHARACTERS} are the most")
    return value


def _answers(fields: dict[str, Any]) -> tuple[str, ...]:
    if "answer" not in fields:
        raise _Bad("missing", "answer", f"answer is missing (the row has {one_line(', '.join(fields), 80)})")
    value = fields["answer"]
    if not isinstance(value, list):
        return (_text(value, "answer"),)
    if not value or len(value) > MOST_CHOICES:
        raise _Bad("empty", "answer", f"answer is a list of {len(value)}: 1 to {MOST_CHOICES} are allowed")
    return tuple(_text(one, "answer") for one in value)


def _choices(fields: dict[str, Any]) -> tuple[str, ...]:
    value = fields.get("choices")
    if not isinstance(value, list):
        raise _Bad("missing" if value is None else "type", "choices", "choices must be a list of texts")
    if not 2 <= len(value) <= MOST_CHOICES:
        raise _Bad("type", "choices", f"choices has {len(value)} entries: 2 to {MOST_CHOICES} are wanted")
    # What follows the prompt is the choice without the blanks around it: two that differ in these are one.
    choices = tuple(_text(one, f"choice {place}").strip() for place, one in enumerate(value))
    if len(set(choices)) < len(choices):
        raise _Bad("type", "choices", "choices has the same entry twice")
    return choices


def _right(fields: dict[str, Any], choices: tuple[str, ...]) -> int:
    value = fields.get("answer")
    if value is None:
        raise _Bad("missing", "answer", "answer is missing: the place of the right choice, from 0, or its text")
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(choices):
            raise _Bad(
                "type", "answer", f"answer is {one_line(str(value), 24)}, and places go from 0 to {len(choices) - 1}"
            )
        if value in fields["choices"] and fields["choices"].index(value) != value:
            raise _Bad("type", "answer", f"answer is {value}, a place and also a choice: in quotes it is the choice")
        return value
    if isinstance(value, str):
        if value.strip() in choices:
            return choices.index(value.strip())
        letter = value.strip().upper()
        if len(letter) == 1 and 0 <= (place := ord(letter) - ord("A")) < min(26, len(choices)):
            return place
    raise _Bad("type", "answer", f"answer is none of the {len(choices)} choices, and no place or letter of one")
