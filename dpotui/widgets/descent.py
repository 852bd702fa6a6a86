"""The lineage of a run as a list: a cursor on the runs in it, enter goes to one."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from core.text import one_line
from dpotui.descent import Line
from dpotui.roles import Span
from dpotui.widgets.table import Column, Row, Table


class Descent(Table):
    FIXED = 0

    def __init__(self, empty: str) -> None:
        super().__init__((Column(""),), empty)
        self._lines: tuple[Line, ...] = ()
        self._of = ""

    @property
    def run(self) -> str | None:
        """The run under the cursor."""
        return self._lines[int(self.key)].run if self.key is not None else None

    def fill_lines(self, lines: Sequence[Line], empty: str, of: str = "") -> None:
        """The lineage of a run; of another one the cursor begins on that run itself."""
        self._lines = tuple(lines)
        self.fill([Row(str(y) if line.run else None, ((line.text, ""),)) for y, line in enumerate(lines)], empty)
        if of != self._of:
            self._of = of
            self.top = 0
            self.select(str(next((y for y, line in enumerate(lines) if line.own), 0)))

    def row(self, y: int, width: int) -> Sequence[Span]:
        if not self._lines:
            return self.message(self._empty, y, width)
        if y >= len(self._lines):
            return []
        spans: list[Span] = [(" ", "")]
        left = width - 2
        for text, role in self._lines[y].spans:
            # The indent of a line and the gap before a word are its own.
            blanks = len(text) - len(text.lstrip(" "))
            shown = " " * blanks + one_line(text.lstrip(" "), max(0, left - blanks))
            spans.append((shown, role))
            left -= cell_len(shown)
            if left <= 1:
                break
        return spans
