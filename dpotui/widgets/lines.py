"""A widget that is lines of text: it keeps what it shows and repaints only the lines that differ."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dpotui import roles
from dpotui.roles import Palette, Span
from dpotui.wrap import wrap


class Lines(ScrollView, can_focus=False):
    """Base of everything here that is text in rows.

    A subclass says what row `y` of its content is (`row`) and calls `show` when there may be something new. Rows that
    are out of view are never made, so a list of ten thousand costs what its window costs.
    """

    COMPONENT_CLASSES = roles.CLASSES
    DEFAULT_CSS = f"""
    Lines {{ overflow-x: hidden; overflow-y: hidden; background: $background; }}
    {roles.css("Lines")}
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.palette = Palette(self)
        self._strips: list[Strip] = []
        self._made_for = Size(0, 0)

    def row(self, y: int, width: int) -> Sequence[Span]:
        """Row `y` of the content."""
        raise NotImplementedError

    def message(self, text: str, y: int, width: int) -> Sequence[Span]:
        """Row `y` of what is said where there is nothing to show: what to do next."""
        lines = wrap(text, width - 4)
        return [("  " + lines[y - 1], "empty")] if 0 < y <= len(lines) else []

    def base(self, y: int) -> Style:
        """The style under row `y`."""
        return self.rich_style

    def prepare(self, size: Size) -> None:
        """Called before rows are asked for, with the size of the window."""

    def show(self, height: int | None = None) -> None:
        """Look at the content anew. `height` is how many rows it has where it can be scrolled."""
        if height is not None and height != self.virtual_size.height:
            self.virtual_size = Size(self.size.width, height)
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

    @property
    def window(self) -> Size:
        return self.scrollable_content_region.size

    def _make(self) -> None:
        self._made_for = self.window
        self.prepare(self.window)
        self._strips = [self.line(y, self.window.width) for y in range(self.window.height)]

    def line(self, y: int, width: int) -> Strip:
        """Line `y` of the window."""
        content = self.scroll_offset.y + y
        return self.palette.strip(self.row(content, width), width, self.base(content))

    def render_line(self, y: int) -> Strip:
        if self._made_for != self.window:
            self._make()
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    def remake(self) -> None:
        """Forget what was made: it was scrolled, or looks otherwise now."""
        self._made_for = Size(0, 0)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        self.remake()
        super().watch_scroll_y(old_value, new_value)

    def on_resize(self) -> None:
        self.show()

    def on_focus(self) -> None:
        self.show()

    def on_blur(self) -> None:
        self.show()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self.palette.forget()
        self.remake()
