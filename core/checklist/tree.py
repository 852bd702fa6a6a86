"""The words of a checklist: an item with its blanks, target and bound facts, as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Op = Literal["≥", "≤", ">", "<", "=", "≈"]


@dataclass(frozen=True, slots=True)
class Target:
    """A comparison that a value has to meet. `number` is in `unit`: 70 with unit "%" is 70 points."""

    op: Op
    number: Decimal
    unit: str = ""
    tolerance: Decimal | None = None  # how near ≈ is; always there when an item is judged by ≈

    def met(self, value: Decimal) -> bool:
        """Whether a value in the target's unit meets it, exactly: 0.1004 is not ≤0.1."""
        if value.is_nan():
            return False
        match self.op:
            case "≥":
                return value >= self.number
            case "≤":
                return value <= self.number
            case ">":
                return value > self.number
            case "<":
                return value < self.number
            case "=":
                return value == self.number
            case "≈":
                assert self.tolerance is not None
                return abs(value - self.number) <= self.tolerance

    def __str__(self) -> str:
        return f"{self.op}{self.number}{' ' if self.unit[:1].isalpha() else ''}{self.unit}"


@dataclass(frozen=True, slots=True)
class Blank:
    """A place to fill, `_____`, in the text of an item.

    `bare`: the page itself says the unit beside the blank, so that it is filled with the number alone.
    `start` and `end` are columns of the line in its file.
    """

    start: int
    end: int
    label: str
    unit: str = ""
    bare: bool = True
    fact: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A checklist, a heading in it, or a line with a box.

    A node with children is derived from them and is never ticked itself; only a `kind` of "item" without children is.
    """

    id: str
    text: str
    kind: Literal["stage", "group", "item"]
    stage: int | None  # the number in front of the file's name
    file: str  # from the workspace
    line: int  # counted from 1; 0 for a checklist without a title
    children: tuple[Item, ...] = ()
    blanks: tuple[Blank, ...] = ()
    unit: str = ""  # of the first blank or the target: "", "%", "/10", "examples/sec", ...
    target: Target | None = None
    facts: tuple[str, ...] = ()  # without "-" places: the names that this item looks at
    measured: bool = False  # done as soon as its facts were measured, whatever they say
    signed: bool = False  # its facts fill it, a person ticks it
    optional: bool = False  # its parent can be done without it
    code: str | None = None
    box: bool = False  # ticked in the file itself
    box_at: int = 0  # column of the character between the brackets
    own_id: bool = True  # the id stands in the file, and was not made from the text

    @property
    def fact(self) -> str | None:
        """The fact that the verdict is about: that of the first blank, or the first one."""
        if self.blanks:
            return self.blanks[0].fact
        return self.facts[0] if self.facts else None

    @property
    def blank(self) -> bool:
        return bool(self.blanks)

    @property
    def leaf(self) -> bool:
        return self.kind == "item" and not self.children

    def walk(self) -> Iterator[Item]:
        """This node and all below it, in the order of the page."""
        yield self
        for child in self.children:
            yield from child.walk()


def by_id(roots: list[Item]) -> dict[str, Item]:
    return {item.id: item for root in roots for item in root.walk()}
