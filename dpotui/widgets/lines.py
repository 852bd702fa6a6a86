"""A widget that is lines of text: it keeps what it shows and repaints only the lines that differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.style import Style
from textual import events
from textual.content import Content
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from dpotui.roles import Palette, Span, plain
from dpotui.wrap import wrap

_WHEEL = 3


class Lines(Widget, can_focus=False):
    """Base of everything here that is text in rows.

    A subclass says what row `y` of its content is (`row`) and calls `show` when there may be something new. Rows that
    are out of view are never made, so a list of ten thousand costs what its window costs. It scrolls by itself: to
    Textual a line more in a log is a new layout of the whole screen.
    """

    DEFAULT_CSS = "Lines { background: $background; height: 1fr; }"

    # Lines at the top of the window that stay when the content is scrolled.
    FIXED = 0

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.palette = Palette(self)
        self.top = 0  # the first row of the content that is shown
        self.rows = 0  # how many there are, where the content can be longer than the window
        self._strips: list[Strip] = []
        self._made_for = Size(0, 0)

    def row(self, y: int, width: int) -> Sequence[Span]:
        """Row `y` of the content."""
        raise NotImplementedError

    def fixed(self, y: int, width: int) -> Sequence[Span]:
        """Line `y` of those that stay."""
        return []

    def base(self, y: int) -> Style:
        """The style under row `y`."""
        return self.palette.base

    def message(self, text: str, y: int, width: int) -> Sequence[Span]:
        """Row `y` of what is said where there is nothing to show: what to do next."""
        lines = wrap(text, width - 4)
        return [("  " + lines[y - 1], "empty")] if 0 < y <= len(lines) else []

    def prepare(self, size: Size) -> None:
        """Called before rows are asked for, with the size of the window."""

    @property
    def page(self) -> int:
        """How many rows of the content are seen at once."""
        return max(1, self.size.height - self.FIXED)

    @property
    def last_top(self) -> int:
        return max(0, self.rows - self.page)

    def scroll_rows(self, top: int) -> None:
        """Let the window begin at this row, as far as there are rows."""
        self.top = min(max(0, top), self.last_top)
        self.show()

    def show(self, rows: int | None = None) -> None:
        """Look at the content anew. `rows`: how many it has, where it can be scrolled."""
        if rows is not None:
            self.rows = rows
            self.top = min(self.top, self.last_top)
        if not self.is_mounted or not self.size:
            return
        old, made_for = self._strips, self._made_for
        self._make()
        if made_for != self._made_for:
            self.refresh()
            return
        width = self.size.width
        changed = [Region(0, y, width, 1) for y, strip in enumerate(self._strips) if old[y] != strip]
        if changed:
            self.refresh(*changed)

    def _make(self) -> None:
        size = self._made_for = self.size
        overflowing = self.rows > self.page
        width = size.width - 1 if overflowing else size.width
        self.prepare(Size(width, size.height))
        strips = [self.palette.strip(self.fixed(y, width), width, self.palette.base) for y in range(self.FIXED)]
        for y in range(self.top, self.top + size.height - self.FIXED):
            strips.append(self.palette.strip(self.row(y, width), width, self.base(y)))
        if overflowing:
            # In a window lower than what stays in it there is more bar than lines.
            strips = [Strip.join([strip, bar]) for strip, bar in zip(strips, self._bar(), strict=False)]
        self._strips = strips[: size.height]

    def _bar(self) -> list[Strip]:
        """The scroll bar: where the window stands in the content."""
        length = max(1, self.page * self.page // self.rows)
        start = round((self.page - length) * self.top / max(1, self.last_top))
        strip, base = self.palette.strip, self.palette.base
        blank, thumb = strip([(" ", "")], 1, base), strip([("▐", "faint")], 1, base)
        bar = [thumb if start <= y < start + length else blank for y in range(self.page)]
        return [blank] * self.FIXED + bar

    def render_line(self, y: int) -> Strip:
        if self._made_for != self.size:
            self._make()
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.palette.base)

    def remake(self) -> None:
        """Forget what was made: it looks otherwise now."""
        self._made_for = Size(0, 0)

    def render_str(self, text_content: str | Content) -> Content:
        """Titles in a border: text. Textual reads markup there, so that a name with a bracket would end the program."""
        return Content(plain(text_content)) if isinstance(text_content, str) else text_content

    def get_selection(self, selection: Any) -> None:
        """Text is not selected with the mouse here; the terminal's own selection works."""

    def on_resize(self) -> None:
        self.top = min(self.top, self.last_top)
        self.show()

    def watch_has_focus(self, has_focus: bool) -> None:
        # Not on the events Focus and Blur: Textual asks a subclass for those before it knows itself.
        super().watch_has_focus(has_focus)
        self.show()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_rows(self.top + _WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_rows(self.top - _WHEEL)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        # With the focus a border looks otherwise, not the lines.
        if self.palette.outdated():
            self.remake()
