"""A text in lines with their numbers, some of them marked: a file as it will be written, or differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType

from core.text import one_line
from dpotui.roles import Span
from dpotui.widgets.lines import Lines


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    role: str = ""
    mark: str = " "
    number: int = 0


class Listing(Lines, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="card.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="card.down"),
        Binding("pageup", "move(-10)", "Page up", show=False, id="card.page-up"),
        Binding("pagedown", "move(10)", "Page down", show=False, id="card.page-down"),
        Binding("home", "move(-1000000)", "First line", show=False, id="card.first"),
        Binding("end", "move(1000000)", "Last line", show=False, id="card.last"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: tuple[Line, ...] = ()
        self._here = -1
        self._subject = ""

    def fill(self, lines: Sequence[Line], subject: str, here: int = -1) -> None:
        """Show these. `here`: the line that is spoken of, which is brought into view when it is another."""
        self._lines = tuple(lines)
        if subject != self._subject:
            self._subject, self.top = subject, 0
            self._here = -1
        self.rows = len(self._lines)
        if here != self._here and here >= 0 and not self.top <= here < self.top + self.page:
            self.top = max(0, min(here - self.page // 3, self.last_top))
        self._here = here
        self.show(len(self._lines))

    def base(self, y: int) -> Style:
        return self.palette.base + self.palette.style("here") if y == self._here else self.palette.base

    def row(self, y: int, width: int) -> Sequence[Span]:
        if y >= len(self._lines):
            return []
        line = self._lines[y]
        number = f"{line.number:>4} " if line.number else " "
        text = line.text.replace("\t", "    ")
        indent = len(text) - len(text.lstrip(" "))
        room = width - len(number) - 2 - indent
        return [
            (number, "faint"),
            (f"{line.mark} ", "accent"),
            (" " * indent + one_line(text, room), line.role),
        ]

    def action_move(self, by: int) -> None:
        self.scroll_rows(self.top + by)
