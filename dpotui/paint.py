"""What reaches the wire: only cells that differ from those on the screen, and style codes only where the style changes.

Textual repaints regions of widgets and writes each from the widget's left edge, every segment with its full style. Over
a slow line that is most of the traffic. Here the cells that stand on the screen are remembered and compared.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from rich.cells import cell_len, split_graphemes
from rich.color import ColorSystem, ColorType
from rich.console import Console
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

from dpotui.ascii import in_ascii

# Equal cells between two changed ones are written again when moving over them would cost more.
_BRIDGE = 6

# Without colours a background lighter than this, of 255, is what one has chosen, and is shown reversed.
_MARKED = 56

# Marks on one character, at most: no towers.
_MARKS = 4
_JOINING = re.compile("[\u200d\ufe0f]")
# Controls, what reorders or cannot be encoded, and what ends a line: of one cell, where the layout gives them one.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


class Cell(NamedTuple):
    text: str  # one character with its marks; "" is the second half of a wide one
    codes: str


_UNKNOWN = Cell("\0", "")
_text_of, _codes_of = itemgetter(0), itemgetter(1)

# Characters of one cell that nothing is drawn upon: letters of the West, and what lines, bars and charts are made of.
_SIMPLE = re.compile(
    "[ -~\u00a1-\u00ac\u00ae-\u02ff\u2010-\u2027\u2190-\u21ff\u2200-\u22ff\u2500-\u25fc\u2800-\u28ff]*"
)


class _Known(dict[str, Cell]):
    """Cells of one style, made once: most of a screen is the same few hundred, and equal ones are the same one."""

    def __init__(self, codes: str) -> None:
        super().__init__()
        self._codes = codes

    def __missing__(self, text: str) -> Cell:
        if len(self) > 4096:  # a page of Chinese
            self.clear()
        cell = self[text] = Cell(text, self._codes)
        return cell


_known = lru_cache(512)(_Known)


class Painter:
    """Remembers the screen; turns an update of the compositor into the shortest sequence that shows it."""

    def __init__(self, colours: ColorSystem | None = ColorSystem.TRUECOLOR, *, ascii: bool = False) -> None:
        """
        Args:
            colours: those that the terminal has; None when it has none.
            ascii: draw lines and marks with characters of ASCII.
        """
        self._colours, self._ascii = colours, ascii
        self._rows: dict[int, list[Cell]] = {}

    def forget(self) -> None:
        """The screen no longer shows what was written last: it was resized, suspended, or a write was dropped."""
        self._rows.clear()

    def paint(self, update: CompositorUpdate) -> str:
        out: list[str] = []
        codes = ""
        for y, x, cells in self._changed(update):
            out.append(f"\x1b[{y + 1};{x + 1}H")
            for wanted, run in groupby(cells, _codes_of):
                if wanted != codes:
                    codes = wanted
                    out.append(f"\x1b[0;{codes}m" if codes else "\x1b[0m")
                out.extend(map(_text_of, run))
        if codes:
            out.append("\x1b[0m")
        return "".join(out)

    def _changed(self, update: CompositorUpdate) -> Iterator[tuple[int, int, list[Cell]]]:
        for y, x, strip in _pieces(update):
            new, simple = self._cells(strip)
            old = self._rows.setdefault(y, [])
            if len(old) < x + len(new):
                old.extend([_UNKNOWN] * (x + len(new) - len(old)))
            for start, stop in _differences(old[x : x + len(new)], new, simple):
                yield y, x + start, new[start:stop]
            old[x : x + len(new)] = new

    def _cells(self, strip: Strip) -> tuple[list[Cell], bool]:
        """The cells of a strip, and whether each holds one plain character."""
        made: list[Cell] = []
        simple = True
        for text, style, control in strip:
            if control:
                continue
            known = _known(_codes(style, self._colours) if isinstance(style, Style) else "")
            if not text.isascii() and self._ascii:
                text = in_ascii(text)
            if _SIMPLE.fullmatch(text):
                made.extend(map(known.__getitem__, text))
                continue
            simple = False
            for character, width in _graphemes(text):
                made.append(known[character])
                made.extend([known[""]] * (width - 1))
        return made, simple


class Painted(CompositorUpdate):
    """An update that is written through the painter."""

    def __init__(self, painter: Painter, update: CompositorUpdate) -> None:
        self._painter, self._update = painter, update

    def render_segments(self, console: Console) -> str:
        return self._painter.paint(self._update)


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


@lru_cache(1024)
def _codes(style: Style, colours: ColorSystem | None) -> str:
    """The parameters of the SGR sequence for a style.

    A background of the terminal's own palette is shown reversed: nobody knows what can be read on it there. Where there
    are no colours, so is a background that stands out.
    """
    ground = style.bgcolor
    if colours is None:
        marked = ground is not None and sum(ground.get_truecolor()) > 3 * _MARKED
    else:
        marked = ground is not None and ground.type is ColorType.STANDARD
        if not marked:
            return Strip.render_ansi(style, colours)
    bare = style.without_color
    return Strip.render_ansi(bare + Style(reverse=True) if marked else bare, ColorSystem.STANDARD)


def _graphemes(text: str) -> Iterator[tuple[str, int]]:
    """Characters with the marks on them, and the cells they take, which are those that the layout counted on.

    Here is the last gate before the wire, for text that came through widgets which are not ours: what controls a
    terminal or reorders a line does not pass, and joined emoji, on whose width terminals disagree, are their first one.
    """
    if _JOINING.search(text):
        left = cell_len(text)  # which counts a joiner at the beginning otherwise than `split_graphemes`
        for start, end, width in split_graphemes(text)[0]:
            yield from _padded(text[start:end], min(width, left))
            left -= min(width, left)
        yield from _padded("", left)
        return
    held, width = "", 0
    for character in text:
        size = cell_len(character)
        if size == 0:
            if held and len(held) <= _MARKS and _marks(character):
                held += character
            continue
        if held:
            yield held, width
        held, width = "?" if unicodedata.category(character) in _UNSEEN else character, size
    if held:
        yield held, width


def _padded(cluster: str, width: int) -> Iterator[tuple[str, int]]:
    """What is seen of a cluster in the cells that it was given."""
    for seen, size in _graphemes(_JOINING.sub("", cluster)):
        if size <= width:
            yield seen, size
            width -= size
        break
    for _ in range(width):
        yield " ", 1


def _marks(character: str) -> bool:
    """Whether this is drawn upon the character before it: an accent, or the second letter of a Korean syllable."""
    return unicodedata.category(character) in ("Mn", "Me") or "\u1161" <= character <= "\u11ff"


def _differences(old: list[Cell], new: list[Cell], simple: bool) -> Iterable[tuple[int, int]]:
    """Ranges of `new` to write. A wide character is written whole, and the range ends behind it."""
    if new == old:
        return
    ranges: list[list[int]] = []
    for index, (cell, stood) in enumerate(zip(new, old, strict=True)):
        if cell is stood or cell == stood:
            continue
        if ranges and index - ranges[-1][1] <= _BRIDGE:
            ranges[-1][1] = index + 1
        else:
            ranges.append([index, index + 1])
    for start, stop in ranges:
        if simple:
            yield start, stop
            continue
        while start > 0 and new[start].text == "":
            start -= 1
        while stop < len(new) and new[stop].text == "":
            stop += 1
        # Terminals disagree about the width of what is not plain: the cursor is set again behind it.
        for index in range(start + 1, stop):
            if new[index].text != "" and (new[index - 1].text == "" or len(new[index - 1].text) > 1):
                yield start, index
                start = index
        yield start, stop
