"""The words of a report: sections of paragraphs, lists, tables and curves, made of text and figures.

All text is text: nothing in it is markup, and each form of the report escapes it in its own way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Key = tuple[str | int, ...]
Mood = Literal["", "good", "bad", "warn"]


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that can be looked up again.

    Attributes:
        key: what it is of, such as ("fact", "eval.retention", "value").
        shown: how it reads.
        raw: what it is, exactly; two figures are the same when this is.
        stale: why it no longer speaks of what lies in the workspace; "" while it does.
    """

    key: Key
    shown: str
    raw: str
    stale: str = ""
    mood: Mood = ""


Inline = str | Figure
Cell = tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: Cell
    mood: Mood = ""


@dataclass(frozen=True, slots=True)
class Bullets:
    items: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """`head` names the columns; a column in `numbers` is aligned to the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Bin:
    """A range of steps: its extremes and its mean."""

    first: int
    last: int
    low: float
    high: float
    mean: float


@dataclass(frozen=True, slots=True)
class Line:
    """A metric over the steps of a run. `data` is a figure that stands for all of its points."""

    name: str
    bins: tuple[Bin, ...]
    data: Figure
    spark: Figure
    points: Figure
    first: Figure
    last: Figure
    low: Figure
    high: Figure


@dataclass(frozen=True, slots=True)
class Chart:
    """Metrics that share an axis, with a limit where a gate sets one."""

    title: str
    lines: tuple[Line, ...]
    limit: float | None = None
    unit: str = ""
    log: bool = False  # its axis


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts of one run, side by side."""

    title: str
    charts: tuple[Chart, ...]


Block = Paragraph | Bullets | Table | Charts


@dataclass(frozen=True, slots=True)
class Section:
    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Report:
    title: str
    lead: tuple[Block, ...]
    sections: tuple[Section, ...]

    def blocks(self) -> Iterator[Block]:
        yield from self.lead
        for section in self.sections:
            yield from section.blocks


def cell(*parts: Inline | None) -> Cell:
    """Text and figures one after another; what is None or empty is left out."""
    return tuple(part for part in parts if part)


def row(*cells: Inline | Cell | None) -> tuple[Cell, ...]:
    return tuple(each if isinstance(each, tuple) else cell(each) for each in cells)


def table(head: Sequence[str], rows: Sequence[tuple[Cell, ...]], numbers: Sequence[int] = ()) -> Table:
    return Table(tuple(head), tuple(rows), tuple(numbers))


def plain(text: Cell) -> str:
    """A cell as it reads."""
    return "".join(part if isinstance(part, str) else part.shown for part in text)
