"""A list with a cursor: columns that give way on a narrow screen, headings between rows, a fixed row of titles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message

from core.text import one_line
from dpotui.roles import Span
from dpotui.widgets.lines import Lines


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    width: int = 0  # 0: shares what is left
    align: Literal["left", "right"] = "left"
    least: int = 0  # shown on lists at least this wide


@dataclass(frozen=True, slots=True)
class Row:
    """A row with one span a column; without a key it is a heading of one span."""

    key: str | None
    cells: tuple[Span, ...]


class Table(Lines, can_focus=True):
    FIXED = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="list.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="list.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="list.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="list.page-down"),
        Binding("home", "move(-1000000000)", "First", show=False, id="list.first"),
        Binding("end", "move(1000000000)", "Last", show=False, id="list.last"),
        Binding("enter", "choose", "Details", id="list.choose"),
    ]

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, table: Table, key: str | None) -> None:
            super().__init__()
            self.table, self.key = table, key

        @property
        def control(self) -> Table:
            return self.table

    class Chosen(Message):
        """Enter on a row."""

        def __init__(self, table: Table, key: str) -> None:
            super().__init__()
            self.table, self.key = table, key

        @property
        def control(self) -> Table:
            return self.table

    def __init__(
        self, columns: Sequence[Column], empty: str, *, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._columns = tuple(columns)
        self._empty = empty
        self._rows: tuple[Row, ...] = ()
        self._cursor = 0
        self._widths: list[int] = []

    @property
    def key(self) -> str | None:
        """The row under the cursor."""
        return self._rows[self._cursor].key if self._cursor < len(self._rows) else None

    def fill(self, rows: Sequence[Row], empty: str | None = None) -> None:
        """Show these rows; the cursor stays on the row of its key."""
        key, before = self.key, self._cursor
        self._rows = tuple(rows)
        self._empty = empty if empty is not None else self._empty
        self._cursor = next((i for i, row in enumerate(rows) if key is not None and row.key == key), before)
        self._settle(1)
        self.show(len(self._rows))
        if self.key != key:
            self.post_message(self.Moved(self, self.key))

    def select(self, key: str) -> None:
        """Set the cursor on a row, if it is there."""
        for index, row in enumerate(self._rows):
            if row.key == key:
                self._go(index, 1)

    def _settle(self, direction: int) -> None:
        """Bring the cursor into the list and off a heading."""
        if not self._rows:
            self._cursor = 0
            return
        self._cursor = min(max(self._cursor, 0), len(self._rows) - 1)
        for way in (direction, -direction):
            index = self._cursor
            while 0 <= index < len(self._rows):
                if self._rows[index].key is not None:
                    self._cursor = index
                    return
                index += way

    def _go(self, index: int, direction: int) -> None:
        key = self.key
        self._cursor = index
        self._settle(direction)
        self._scroll_to_cursor()
        self.show()
        if self.key != key:
            self.post_message(self.Moved(self, self.key))

    def _scroll_to_cursor(self) -> None:
        # A heading above the cursor is worth seeing.
        first = self._cursor
        while first > 0 and self._rows[first - 1].key is None:
            first -= 1
        if first < self.top:
            self.scroll_rows(first)
        elif self._cursor >= self.top + self.page:
            self.scroll_rows(self._cursor - self.page + 1)

    def action_move(self, by: int) -> None:
        self._go(self._cursor + by, 1 if by > 0 else -1)

    def action_page(self, direction: int) -> None:
        self.action_move(direction * max(1, self.page - 1))

    def action_choose(self) -> None:
        if self.key is not None:
            self.post_message(self.Chosen(self, self.key))

    def on_click(self, event: events.Click) -> None:
        index = event.y - self.FIXED + self.top
        if event.y >= self.FIXED and index < len(self._rows) and self._rows[index].key is not None:
            again = index == self._cursor
            self._go(index, 1)
            if again:
                self.action_choose()

    def prepare(self, size: Size) -> None:
        shown = [column if column.least <= size.width else None for column in self._columns]
        fixed = sum(column.width + 1 for column in shown if column is not None)
        flexible = [column for column in shown if column is not None and column.width == 0]
        left = max(0, size.width - 1 - fixed)
        share = left // max(1, len(flexible))
        self._widths = [0 if c is None else c.width or share for c in shown]

    def fixed(self, y: int, width: int) -> Sequence[Span]:
        return self._cells(tuple((column.title, "dim") for column in self._columns))

    def row(self, y: int, width: int) -> Sequence[Span]:
        if not self._rows:
            return self.message(self._empty, y, width)
        if y >= len(self._rows):
            return []
        row = self._rows[y]
        if row.key is None:
            return [(" " + one_line(row.cells[0][0], width - 1), row.cells[0][1])]
        return self._cells(row.cells)

    def _cells(self, cells: Sequence[Span]) -> list[Span]:
        spans: list[Span] = [(" ", "")]
        for (text, role), column, width in zip(cells, self._columns, self._widths, strict=True):
            if not width:
                continue
            text = one_line(text, width)
            pad = " " * (width - cell_len(text))
            spans += [(pad + text, role), (" ", "")] if column.align == "right" else [(text, role), (pad + " ", "")]
        return spans

    def base(self, y: int) -> Style:
        if y != self._cursor or not self._rows:
            return self.palette.base
        return self.palette.base + self.palette.style("cursor" if self.has_focus else "cursor-idle")
