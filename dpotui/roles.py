"""What a piece of text means on screen, and its style: widgets paint by role, the theme says how a role looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.strip import Strip
from textual.widget import Widget

from core.text import printable


class Look(NamedTuple):
    """Colours are variables of the theme; "" leaves what lies beneath. `text` is bold, underline or both."""

    color: str = ""
    background: str = ""
    text: str = ""


# Words and marks carry the meaning; a role only helps the eye. These are no component classes of Textual's: it would
# look through its rules for each of them, in each widget, whenever the focus moves.
_LOOKS = {
    "dim": Look("dim"),
    "faint": Look("faint"),
    "title": Look(text="bold"),
    "key": Look("accent", text="bold"),
    "accent": Look("accent"),
    "good": Look("success"),
    "bad": Look("error", text="bold"),
    "warn": Look("warning"),
    "live": Look("success", text="bold"),
    "hit": Look("background", background="warning", text="bold underline"),
    "mark": Look("background", background="primary", text="bold"),
    "differs": Look(text="bold underline"),
    "here": Look(background="panel", text="bold"),
    "cursor": Look(background="block-cursor-background"),
    "cursor-idle": Look(background="panel"),
    "bar": Look("primary"),
    "axis": Look("faint"),
    "raw": Look("raw"),
    "limit": Look("warning"),
    "empty": Look("dim"),
    "line0": Look("primary"),
    "line1": Look("accent"),
    "line2": Look("success"),
    "line3": Look("warning"),
    "line4": Look("secondary"),
    "line5": Look("error"),
}

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


def plain(text: str) -> str:
    """The last look before text is drawn: whatever a widget forgot to clean, no control character gets past here."""
    return text if text.isprintable() else printable(text).replace("\n", " ").replace("\t", " ")


class Palette:
    """The styles of one widget's roles, looked up once until its style changes."""

    def __init__(self, widget: Widget) -> None:
        self._widget = widget
        self._known: dict[str, Style] = {}
        self._base: Style | None = None
        self._looked: tuple[object, ...] = ()

    def outdated(self) -> bool:
        """Whether the widget looks otherwise now than when a style was looked up; then all are forgotten."""
        looks = self._looks()
        if self._base is not None and looks == self._looked:
            return False
        self._known.clear()
        self._base = None
        return True

    def _looks(self) -> tuple[object, ...]:
        return self._widget.rich_style, self._widget.app.theme

    @property
    def base(self) -> Style:
        """The widget's own style, which looks up all its ancestors."""
        if self._base is None:
            self._looked = self._looks()
            self._base = self._widget.rich_style
        return self._base

    def style(self, role: str) -> Style:
        """A role's own part of the style, without the background it is laid on."""
        if role not in self._known:
            self._known[role] = _style(_LOOKS[role], self._widget.app.theme_variables) if role else Style.null()
        return self._known[role]

    def strip(self, spans: Iterable[Span], width: int, base: Style) -> Strip:
        """A line of exactly `width` cells."""
        segments = [Segment(plain(text), base + self.style(role)) for text, role in spans if text]
        return Strip(segments).adjust_cell_length(width, base)


def _style(look: Look, variables: Mapping[str, str]) -> Style:
    color, background = (Color.parse(variables[name]) if name else None for name in look[:2])
    text = Style.parse(look.text)
    if background is not None and background.a == 0:
        # A theme of the terminal's own colours has no shades to lay under text.
        background, text = None, text + Style(underline=True)
    return (
        Style(
            color=color.rich_color if color is not None else None,
            bgcolor=background.rich_color if background is not None else None,
        )
        + text
    )
