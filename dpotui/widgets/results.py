"""What is special to a stage, one block under the other: tables and small charts of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from core.text import one_line
from dpotui.results import Block
from dpotui.roles import Span
from dpotui.widgets.lines import Lines


class Results(Lines, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="results.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="results.down"),
        Binding("pageup", "move(-10)", "Page up", show=False, id="results.page-up"),
        Binding("pagedown", "move(10)", "Page down", show=False, id="results.page-down"),
        Binding("home", "move(-1000000)", "First line", show=False, id="results.first"),
        Binding("end", "move(1000000)", "Last line", show=False, id="results.last"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._blocks: tuple[Block, ...] = ()
        self._made: list[Sequence[Span]] = []
        self._laid_out: tuple[int, tuple[Block, ...]] = (0, ())
        self._empty = ""

    def fill(self, blocks: Sequence[Block], empty: str) -> None:
        """Show these; `empty` is said where there is none."""
        self._blocks, self._empty = tuple(blocks), empty
        self._lay_out()
        self.show(len(self._made))

    def on_resize(self) -> None:
        self._lay_out()
        self.show(len(self._made))

    def _lay_out(self) -> None:
        # A cell on the left, and one for the scroll bar whether there is one or not: nothing moves when it comes.
        width = self.size.width - 2
        if width <= 0 or self._laid_out == (width, self._blocks):
            return
        self._laid_out = (width, self._blocks)
        self._made = []
        for block in self._blocks:
            if self._made:
                self._made.append([])
            self._made.append([(" ", ""), (one_line(block.title, width), "title")])
            self._made += [[(" ", ""), *line] for line in block.lines(width)]

    def row(self, y: int, width: int) -> Sequence[Span]:
        if not self._made:
            return self.message(self._empty, y, width)
        return self._made[y] if y < len(self._made) else []

    def action_move(self, by: int) -> None:
        self.scroll_rows(self.top + by)
