"""What reaches the wire: only cells that differ from those on the screen, and of a style only what changes in it.

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

# Equal cells between two changed ones are written again where that takes no more bytes than to move over them.
_BRIDGE = 4

# Without colours a background lighter than this, of 255, is what one has chosen, and is shown reversed.
_MARKED = 56

# Marks on one character, at most: no towers.
_MARKS = 4
_JOINING = re.compile("[\u200d\ufe0f]")
# Controls, what reorders or cannot be encoded, and what ends a line: of one cell, where the layout gives them one.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


class Look(NamedTuple):
    """How a character is shown, as parameters of SGR; "" is the terminal's own colour."""

    marks: frozenset[str] = frozenset()
    ink: str | None = ""  # None where nothing is seen of it: what is blank has none
    ground: str = ""


class Cell(NamedTuple):
    text: str  # one character with its marks; "" is the second half of a wide one
    look: Look


_PLAIN = Look()
_UNKNOWN = Cell("\0", _PLAIN)
_text_of, _look_of = itemgetter(0), itemgetter(1)

# What is seen of a mark on a blank: lines, and what changes places with its ground. The rest is not.
_SEEN = frozenset(("4", "7", "9", "21", "51", "52", "53"))
# What takes a mark back; 22 takes both that it stands for.
_OFF = {"1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "6": "25", "7": "27", "8": "28", "9": "29",
        "21": "24", "51": "54", "52": "54", "53": "55"}  # fmt: skip

# Characters of one cell that nothing is drawn upon: letters of the West, and what lines, bars and charts are made of.
_SIMPLE = re.compile(
    "[ -~\u00a1-\u00ac\u00ae-\u02ff\u2010-\u2027\u2190-\u21ff\u2200-\u22ff\u2500-\u25fc\u2800-\u28ff]*"
)


class _Known(dict[str, Cell]):
    """Cells of one style, made once: most of a screen is the same few hundred, and equal ones are the same one."""

    def __init__(self, codes: str) -> None:
        super().__init__()
        self._look = _look(codes)

    def __missing__(self, text: str) -> Cell:
        if len(self) > 4096:  # a page of Chinese
            self.clear()
        look = self._look
        cell = self[text] = Cell(text, _blank(look.ground) if text == " " and not look.marks & _SEEN else look)
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
        look = _PLAIN
        row, column = -1, -1  # where the cursor stands; -1 where terminals disagree about it
        for y, x, cells, simple in self._changed(update):
            if y != row:
                out.append(f"\x1b[{y + 1};{x + 1}H")
            elif x > column >= 0:
                out.append(f"\x1b[{x - column}C" if x - column > 1 else "\x1b[C")
            elif x != column:
                out.append(f"\x1b[{x + 1}G")
            for wanted, run in groupby(cells, _look_of):
                if wanted is not look:
                    codes, look = _turn(look, wanted)
                    out.append(codes)
                out.extend(map(_text_of, run))
            row, column = y, x + len(cells) if simple else -1
        if look != _PLAIN:
            out.append("\x1b[0m")
        return "".join(out)

    def _changed(self, update: CompositorUpdate) -> Iterator[tuple[int, int, list[Cell], bool]]:
        """What differs, as row, column, cells, and whether these are plain."""
        for y, x, strip in _pieces(update):
            new, simple = self._cells(strip)
            old = self._rows.setdefault(y, [])
            if len(old) < x + len(new):
                old.extend([_UNKNOWN] * (x + len(new) - len(old)))
            for start, stop in _differences(old[x : x + len(new)], new, simple):
                yield y, x + start, new[start:stop], simple
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


@lru_cache(1024)
def _look(codes: str) -> Look:
    marks, ink, ground = set(), "", ""
    left = codes.split(";") if codes else []
    while left:
        code, *left = left
        if code in ("38", "48"):
            count = 2 if left[0] == "5" else 4
            code, left = ";".join((code, *left[:count])), left[count:]
        if code in _OFF:
            marks.add(code)
        elif code[0] == "4" or code.startswith("10"):
            ground = "" if code == "49" else code
        else:
            ink = "" if code == "39" else code
    return Look(frozenset(marks), ink, ground)


@lru_cache(1024)
def _blank(ground: str) -> Look:
    return Look(frozenset(), None, ground)


@lru_cache(4096)
def _turn(old: Look, new: Look) -> tuple[str, Look]:
    """The sequence that leads from one look to another, and how the terminal writes then."""
    if new.ink is None:
        # A blank is written as the terminal writes now, where nothing is seen of that but the ground.
        marks = old.marks - _SEEN
        new = Look(marks, old.ink, new.ground)
    if new == old:
        return "", old
    off = {_OFF[mark] for mark in old.marks - new.marks}
    on = sorted(mark for mark in new.marks if mark not in old.marks or _OFF[mark] in off)
    ink = [] if new.ink == old.ink else [new.ink or "39"]
    ground = [] if new.ground == old.ground else [new.ground or "49"]
    anew = ["0", *sorted(new.marks), *filter(None, (new.ink, new.ground))]
    codes = min(";".join([*sorted(off), *on, *ink, *ground]), ";".join(anew), key=len)
    return f"\x1b[{codes}m", new


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
        if ranges and (index == ranges[-1][1] or _bridged(new[ranges[-1][1] - 1 : index])):
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


def _bridged(cells: list[Cell]) -> bool:
    """Whether the cells behind the first of these are to be written again."""
    if len(cells) > _BRIDGE + 1:
        return False
    look, size = cells[0].look, 0
    for text, its in cells[1:]:
        if its is not look and (its.ink is not None or its.ground != look.ground or look.marks & _SEEN):
            return False
        size += len(text.encode(errors="replace"))
    return size <= _BRIDGE
