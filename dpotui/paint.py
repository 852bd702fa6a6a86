"""What reaches the wire: only cells that differ from those on the screen, and style codes only where the style changes.

Textual repaints regions of widgets and writes each from the widget's left edge, every segment with its full style. Over
a slow line that is most of the traffic. Here the cells that stand on the screen are remembered and compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

# Equal cells between two changed ones are written again when moving over them would cost more.
_BRIDGE = 6


class Cell(NamedTuple):
    text: str  # one character with its marks; "" is the second half of a wide one
    codes: str


_UNKNOWN = Cell("\0", "")


class Painter:
    """Remembers the screen; turns an update of the compositor into the shortest sequence that shows it."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Cell]] = {}

    def forget(self) -> None:
        """The screen no longer shows what was written last: it was resized, suspended, or a write was dropped."""
        self._rows.clear()

    def paint(self, update: CompositorUpdate, console: Console) -> str:
        colors = console._color_system or ColorSystem.TRUECOLOR
        out: list[str] = []
        codes = ""
        for y, x, cells in self._changed(update, colors):
            out.append(f"\x1b[{y + 1};{x + 1}H")
            for cell in cells:
                if cell.codes != codes:
                    codes = cell.codes
                    out.append(f"\x1b[0;{codes}m" if codes else "\x1b[0m")
                out.append(cell.text)
        if codes:
            out.append("\x1b[0m")
        return "".join(out)

    def _changed(self, update: CompositorUpdate, colors: ColorSystem) -> Iterator[tuple[int, int, list[Cell]]]:
        for y, x, strip in _pieces(update):
            new = list(_cells(strip, colors))
            old = self._rows.setdefault(y, [])
            if len(old) < x + len(new):
                old.extend([_UNKNOWN] * (x + len(new) - len(old)))
            for start, stop in _differences(old[x : x + len(new)], new):
                yield y, x + start, new[start:stop]
            old[x : x + len(new)] = new


class Painted(CompositorUpdate):
    """An update that is written through the painter."""

    def __init__(self, painter: Painter, update: CompositorUpdate) -> None:
        self._painter, self._update = painter, update

    def render_segments(self, console: Console) -> str:
        return self._painter.paint(self._update, console)


def _pieces(update: CompositorUpdate) -> Iterator[tuple[int, int, Strip]]:
    """The parts of the screen that an update holds, as (y, x, strip)."""
    if isinstance(update, LayoutUpdate):
        for y, line in enumerate(update.strips, update.region.y):
            yield y, update.region.x, Strip.join(line)
    elif isinstance(update, ChopsUpdate):
        for y, x1, x2 in update.spans:
            for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                if strip is not None and x < x2 and end > x1:
                    start = max(x, x1)
                    yield y, start, strip.crop(start - x, min(end, x2) - x)


def _cells(strip: Strip, colors: ColorSystem) -> Iterator[Cell]:
    for text, style, control in strip:
        if control:
            continue
        codes = Strip.render_ansi(style, colors) if isinstance(style, Style) else ""
        if text.isascii():
            for character in text:
                yield Cell(character, codes)
            continue
        for character, width in _graphemes(text):
            yield Cell(character, codes)
            for _ in range(width - 1):
                yield Cell("", codes)


def _graphemes(text: str) -> Iterator[tuple[str, int]]:
    """Characters with the zero-width ones that follow them."""
    held, width = "", 0
    for character in text:
        size = cell_len(character)
        if size == 0 and held:
            held += character
            continue
        if held:
            yield held, width
        held, width = character, size
    if held:
        yield held, width


def _differences(old: list[Cell], new: list[Cell]) -> Iterable[tuple[int, int]]:
    """Ranges of `new` to write. A wide character is written whole, and the range ends behind it."""
    ranges: list[list[int]] = []
    for index, cell in enumerate(new):
        if cell == old[index]:
            continue
        if ranges and index - ranges[-1][1] <= _BRIDGE:
            ranges[-1][1] = index + 1
        else:
            ranges.append([index, index + 1])
    for bounds in ranges:
        while bounds[0] > 0 and new[bounds[0]].text == "":
            bounds[0] -= 1
        while bounds[1] < len(new) and new[bounds[1]].text == "":
            bounds[1] += 1
        # Terminals disagree about the width of what is not plain: the cursor is set again behind it.
        start = bounds[0]
        for index in range(bounds[0], bounds[1]):
            if index > start and (new[index - 1].text == "" or len(new[index - 1].text) > 1):
                yield start, index
                start = index
        yield start, bounds[1]
