"""A grid of characters with what each of them means, and the characters that lines are drawn with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from rich.cells import cell_len

from dpotui.widgets.scale import Axis

# What a cell is, so that a style can be given to it.
Role = Literal[
    "", "title", "axis", "raw", "limit", "empty", "accent", "line0", "line1", "line2", "line3", "line4", "line5"
]
LINE_ROLES: tuple[Role, ...] = ("line0", "line1", "line2", "line3", "line4", "line5")


@dataclass(frozen=True, slots=True)
class Strokes:
    """The characters of axes and limits."""

    side: str
    tick: str
    corner: str
    floor: str
    limit: str
    cursor: str


BOXES = Strokes("│", "┤", "└", "─", "╌", "┊")
ASCII = Strokes("|", "+", "+", "-", "-", ":")


@dataclass(slots=True)
class Frame:
    """A grid of single-width characters and their roles."""

    width: int
    height: int
    left: int = 0  # the first column of what is drawn on the x axis
    axis: Axis | None = None
    characters: list[list[str]] = field(init=False)
    roles: list[list[Role]] = field(init=False)

    def __post_init__(self) -> None:
        self.characters = [[" "] * self.width for _ in range(self.height)]
        self.roles = [[""] * self.width for _ in range(self.height)]

    def put(self, x: int, y: int, text: str, role: Role) -> int:
        """Write text, cut at the edges; returns the column after it."""
        for character in text:
            if 0 <= x < self.width and 0 <= y < self.height:
                # A wide character would push the rest of the line aside.
                self.characters[y][x] = character if cell_len(character) == 1 else "?"
                self.roles[y][x] = role
            x += 1
        return x

    def spans(self, y: int) -> Iterator[tuple[str, Role]]:
        """Row `y` as runs of one role."""
        characters, roles = self.characters[y], self.roles[y]
        start = 0
        for x in range(1, self.width + 1):
            if x == self.width or roles[x] != roles[start]:
                yield "".join(characters[start:x]), roles[start]
                start = x

    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self.characters)
