"""A list of any length with a cursor: rows come a block at a time from whoever has them, and few are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from rich.style import Style
from textual import events
from textual.message import Message

from dpotui.roles import Span
from dpotui.widgets.table import Column, Row, Table

BLOCK = 64
# A screen of 200 rows with what is before and behind it.
_KEPT = 32
_WAITING = "…"


class Pages(Table):
    """Row `n` has the key `str(n)`.

    Blocks are asked for by `Wanted`; until one comes its rows show a mark. `soon` is called first: whoever can have
    the block within a moment saves the line a screen of marks.
    """

    class Wanted(Message):
        """A block is to be brought with `put`."""

        def __init__(self, pages: Pages, block: int) -> None:
            super().__init__()
            self.pages, self.block = pages, block

        @property
        def control(self) -> Pages:
            return self.pages

    def __init__(
        self,
        columns: Sequence[Column],
        empty: str,
        soon: Callable[[int], Sequence[Row] | None],
        *,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(columns, empty, id=id, classes=classes)
        self._soon = soon
        self._count = 0
        self._blocks: OrderedDict[int, tuple[Row, ...]] = OrderedDict()
        self._asked: set[int] = set()

    @property
    def count(self) -> int:
        return self._count

    @property
    def place(self) -> int:
        """Where the cursor stands."""
        return self._cursor

    @property
    def key(self) -> str | None:
        return str(self._cursor) if self._cursor < self._count else None

    def fill(self, rows: Sequence[Row], empty: str | None = None) -> None:
        raise NotImplementedError("rows are brought with put")

    def reset(self, count: int, empty: str, place: int = 0) -> None:
        """Another list: so many rows, the cursor on one of them."""
        self._blocks.clear()
        self._asked.clear()
        self._empty = empty
        self._count = count
        self.rows = count
        self._cursor = max(0, min(place, count - 1))
        self.top = min(max(0, self._cursor - self.page // 3), self.last_top) if place else 0
        self.show(count)

    def grow(self, count: int) -> None:
        """More rows were found behind the last one."""
        if count == self._count:
            return
        last = (self._count - 1) // BLOCK
        self._blocks.pop(last, None)
        self._asked.discard(last)
        self._count = count
        self.show(count)

    def say_empty(self, empty: str) -> None:
        """What stands there while there are no rows."""
        if empty != self._empty:
            self._empty = empty
            self.show(self._count)

    def put(self, block: int, rows: Sequence[Row]) -> None:
        self._blocks[block] = tuple(rows)
        self._asked.discard(block)
        while len(self._blocks) > _KEPT:
            self._asked.discard(self._blocks.popitem(last=False)[0])
        self.show(self._count)

    def go(self, place: int) -> None:
        """Set the cursor on a row."""
        self._go(place, 1)

    def _settle(self, direction: int) -> None:
        self._cursor = max(0, min(self._cursor, self._count - 1))

    def _scroll_to_cursor(self) -> None:
        if self._cursor < self.top:
            self.scroll_rows(self._cursor)
        elif self._cursor >= self.top + self.page:
            self.scroll_rows(self._cursor - self.page + 1)

    def row(self, y: int, width: int) -> Sequence[Span]:
        if not self._count:
            return self.message(self._empty, y, width)
        if y >= self._count:
            return []
        row = self._row(y)
        return self._cells(row.cells) if row is not None else [(" " + _WAITING, "faint")]

    def _row(self, y: int) -> Row | None:
        block, index = divmod(y, BLOCK)
        rows = self._blocks.get(block)
        if rows is None and block not in self._asked:
            self._asked.add(block)
            found = self._soon(block)
            if found is None:
                self.post_message(self.Wanted(self, block))
            else:
                rows = self._blocks[block] = tuple(found)
                self._asked.discard(block)
        if rows is None:
            return None
        self._blocks.move_to_end(block)
        return rows[index] if index < len(rows) else None

    def base(self, y: int) -> Style:
        if y != self._cursor or not self._count:
            return self.palette.base
        return self.palette.base + self.palette.style("cursor" if self.has_focus else "cursor-idle")

    def on_click(self, event: events.Click) -> None:
        index = event.y - 1 + self.top
        if event.y > 0 and index < self._count:
            again = index == self._cursor
            self._go(index, 1)
            if again:
                self.action_choose()
