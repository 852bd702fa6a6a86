"""All that is known of one thing: labels on the left, words wrapped beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType

from core.text import one_line, printable
from dpotui.roles import Span
from dpotui.widgets.lines import Lines
from dpotui.wrap import wrap

_LABEL = 11
# What is shown of one text; files hold the rest.
_LONGEST = 20000


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a card. Without a label its text takes the whole width; `code` keeps its line breaks and indents."""

    label: str
    text: str
    role: str = ""
    code: bool = False


BLANK = Entry("", "")


class Card(Lines, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="card.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="card.down"),
        Binding("pageup", "move(-10)", "Page up", show=False, id="card.page-up"),
        Binding("pagedown", "move(10)", "Page down", show=False, id="card.page-down"),
        Binding("home", "move(-1000000)", "First line", show=False, id="card.first"),
        Binding("end", "move(1000000)", "Last line", show=False, id="card.last"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._entries: tuple[Entry, ...] = ()
        self._rows: list[list[Span]] = []
        self._laid_out: tuple[int, tuple[Entry, ...]] = (0, ())
        self._subject = ""

    def fill(self, entries: Sequence[Entry], subject: str = "") -> None:
        """Show these; a card of another subject begins at its top."""
        self._entries = tuple(entries)
        if subject != self._subject:
            self._subject = subject
            self.top = 0
        self._lay_out(self.size.width - 1)
        self.show(len(self._rows))

    def on_resize(self) -> None:
        # One cell is left for the scroll bar whether there is one or not: the text does not move when it comes.
        self._lay_out(self.size.width - 1)
        self.show(len(self._rows))

    def _lay_out(self, width: int) -> None:
        if self._laid_out == (width, self._entries) or width <= 0:
            return
        self._laid_out = (width, self._entries)
        self._rows = []
        for entry in self._entries:
            indent = _LABEL + 1 if entry.label else 1
            lines = _wrapped(entry, max(8, width - indent - 1))
            for index, line in enumerate(lines or [""]):
                label = f" {one_line(entry.label, _LABEL - 1):{_LABEL}}" if entry.label else " "
                self._rows.append([(label if index == 0 else " " * indent, "dim"), (line, entry.role)])

    def row(self, y: int, width: int) -> Sequence[Span]:
        return self._rows[y] if y < len(self._rows) else []

    def action_move(self, by: int) -> None:
        self.scroll_rows(self.top + by)


def _wrapped(entry: Entry, width: int) -> list[str]:
    text = printable(entry.text[:_LONGEST]).expandtabs(4)
    if entry.code:
        rows = []
        for line in text.split("\n"):
            indent = " " * min(width - 1, len(line) - len(line.lstrip()))
            rows.append(indent + one_line(line, width - len(indent)))
        return rows
    return wrap(text, width)
