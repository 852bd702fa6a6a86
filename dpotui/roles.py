"""What a piece of text means on screen, and its style: widgets paint by role, the theme says how a role looks."""

from __future__ import annotations

from collections.abc import Iterable

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from core.text import printable

# Words and marks carry the meaning; a role only helps the eye.
_STYLES = {
    "dim": "color: $dim;",
    "faint": "color: $faint;",
    "title": "text-style: bold;",
    "key": "color: $accent; text-style: bold;",
    "accent": "color: $accent;",
    "good": "color: $success;",
    "bad": "color: $error; text-style: bold;",
    "warn": "color: $warning;",
    "live": "color: $success; text-style: bold;",
    "hit": "background: $warning; color: $background; text-style: bold underline;",
    "mark": "background: $primary; color: $background; text-style: bold;",
    "differs": "text-style: bold underline;",
    "here": "background: $panel; text-style: bold;",
    "cursor": "background: $block-cursor-background;",
    "cursor-idle": "background: $panel;",
    "bar": "color: $primary;",
    "axis": "color: $faint;",
    "raw": "color: $faint;",
    "limit": "color: $warning;",
    "empty": "color: $dim;",
    "line0": "color: $primary;",
    "line1": "color: $accent;",
    "line2": "color: $success;",
    "line3": "color: $warning;",
    "line4": "color: $secondary;",
    "line5": "color: $error;",
}

CLASSES = {f"role--{name}" for name in _STYLES}

Span = tuple[str, str]  # text and role; "" is the plain style of the widget

VERDICTS = {"PASS": "good", "FAIL": "bad", "STALE": "warn", "UNKNOWN": "dim"}
STATES = {
    "running": "live",
    "paused": "warn",
    "stopping": "warn",
    "queued": "accent",
    "finished": "good",
    "stopped": "warn",
    "failed": "bad",
    "interrupted": "warn",
}


def css(widget: str) -> str:
    """The style sheet of a widget that paints by role."""
    return "\n".join(f"{widget} > .role--{name} {{ {style} }}" for name, style in _STYLES.items())


def plain(text: str) -> str:
    """The last look before text is drawn: whatever a widget forgot to clean, no control character gets past here."""
    return text if text.isprintable() else printable(text).replace("\n", " ").replace("\t", " ")


class Palette:
    """The styles of one widget's roles, looked up once until its style changes."""

    def __init__(self, widget: Widget) -> None:
        self._widget = widget
        self._known: dict[str, Style] = {}
        self._base: Style | None = None

    def forget(self) -> None:
        self._known.clear()
        self._base = None

    @property
    def base(self) -> Style:
        """The widget's own style, which looks up all its ancestors."""
        if self._base is None:
            self._base = self._widget.rich_style
        return self._base

    def style(self, role: str) -> Style:
        """A role's own part of the style, without the background it is laid on."""
        if role not in self._known:
            self._known[role] = (
                self._widget.get_component_rich_style(f"role--{role}", partial=True) if role else Style.null()
            )
        return self._known[role]

    def strip(self, spans: Iterable[Span], width: int, base: Style) -> Strip:
        """A line of exactly `width` cells."""
        segments = [Segment(plain(text), base + self.style(role)) for text, role in spans if text]
        return Strip(segments).adjust_cell_length(width, base)
