"""Rows of things side by side: a name and a cell each; as many as the room holds, the others reached sideways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.geometry import Size

from dpotui.compared import Rows
from dpotui.roles import Span
from dpotui.widgets.table import Column, Row, Table

_LEAST, _MOST = 16, 34  # of a run
_SHORT, _NAME = 22, 40  # of what is compared


class SideBySide(Table):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "sideways(-1)", "Left", show=False, tooltip="The runs to the left", id="compare.left"),
        Binding("right,l", "sideways(1)", "Right", show=False, tooltip="The runs to the right", id="compare.right"),
    ]

    def __init__(self, empty: str) -> None:
        super().__init__((Column(""),), empty)
        self._first = 0
        self._fits = 1

    def compare(self, heads: Sequence[str], rows: Rows, empty: str) -> None:
        name = min(_NAME, max((cell_len(name) for name, _ in rows), default=8))
        self._columns = (Column("", name), *(Column(head, 1) for head in heads))
        self._first = min(self._first, max(0, len(heads) - 1))
        self.remake()
        self.fill([Row(name, ((name, ""), *cells)) for name, cells in rows], empty)

    def prepare(self, size: Size) -> None:
        name, count = self._columns[0].width, len(self._columns) - 1
        # A long name gives way before the runs do.
        name = min(name, max(_SHORT, size.width - 2 - count * (_LEAST + 1)))
        room = size.width - name - 2
        fits = self._fits = max(1, min(count, room // (_LEAST + 1)))
        width = min(_MOST, max(1, room // fits - 1))
        self._first = min(self._first, max(0, count - fits))
        seen = range(self._first, self._first + fits)
        self._widths = [name, *(width if place in seen else 0 for place in range(count))]

    @property
    def hidden(self) -> int:
        """Runs that there is no room for."""
        return max(0, len(self._columns) - 1 - self._fits)

    def fixed(self, y: int, width: int) -> Sequence[Span]:
        spans = list(super().fixed(y, width))
        if self.hidden:
            # In place of the title that names have none of.
            name = self._widths[0]
            spans[1:3] = [(f"← → {self.hidden} more".ljust(name)[:name], "key"), (" ", "")]
        return spans

    def action_sideways(self, by: int) -> None:
        self._first = max(0, min(self._first + by, self.hidden))
        self.remake()
        self.show()
