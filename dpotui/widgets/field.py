"""The part of a chart that holds its lines: braille dots, or plain characters where a terminal has no braille."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dpotui.widgets.canvas import Frame, Role
from dpotui.widgets.scale import Axis, Scale

# Dots of a cell by column and row, counted from its top left corner.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BRAILLE = 0x2800

# The dots of a cell by column, from one row to another.
_MASKS = tuple(tuple(tuple(sum(side[a : b + 1]) for b in range(4)) for a in range(4)) for side in _DOTS)
_ONE = (((0,),),)

# How a line is broken, so that it is told from others without its colour: dots that are drawn, of how many.
_DASHES = ((1, 1), (6, 9), (2, 5), (9, 11))
DASHES = len(_DASHES)


@dataclass(slots=True)
class Field:
    """A window of a frame with its two axes."""

    frame: Frame
    left: int
    top: int
    width: int
    height: int
    axis: Axis
    scale: Scale
    ascii: bool = False

    @classmethod
    def dots(cls, width: int, ascii: bool) -> int:
        """How many columns of dots there are in so many columns of characters."""
        return width if ascii else width * 2

    def column(self, x: float) -> int:
        """The column of characters in which a step falls."""
        return self.axis.column(x) // (1 if self.ascii else 2)

    def row(self, value: float) -> int:
        return self._dot(value) // (1 if self.ascii else 4)

    def _dot(self, value: float) -> int:
        """The row of dots, from the top, in which a value falls; values outside stick to the edge."""
        share = min(1.0, max(0.0, self.scale.share(value)))
        return round((1 - share) * (self.height * (1 if self.ascii else 4) - 1))

    def holds(self, value: float) -> bool:
        return 0 <= self.scale.share(value) <= 1

    def line(self, points: Sequence[tuple[float, float, float]], role: Role, dash: int = 0, stroke: str = "*") -> None:
        """Dots from low to high in every column, joined to the next column; a NaN breaks the line.

        Args:
            dash: which of the ways to break the line.
            stroke: the character of the line where there are no dots.
        """
        cells: dict[tuple[int, int], int] = {}
        drawn, period = _DASHES[dash % DASHES]
        across, down = (1, 1) if self.ascii else (2, 4)
        masks = _ONE if self.ascii else _MASKS
        dot, get = self._dot, cells.get

        def mark(x: int, top: int, bottom: int) -> None:
            """The dots of a column from one to another, a cell at a time."""
            if x % period >= drawn:
                return
            column, half = divmod(x, across)
            (first, above), (last, below) = divmod(top, down), divmod(bottom, down)
            side = masks[half]
            if first == last:
                cells[column, first] = get((column, first), 0) | side[above][below]
                return
            cells[column, first] = get((column, first), 0) | side[above][-1]
            for row in range(first + 1, last):
                cells[column, row] = side[0][-1] | get((column, row), 0)
            cells[column, last] = get((column, last), 0) | side[0][below]

        previous: tuple[int, int, int] | None = None  # column, top and bottom dot
        for run in self._columns(points):
            if run is None:
                previous = None
                continue
            column, low, high = run
            bottom = dot(low)
            here = (column, bottom if high == low else dot(high), bottom)
            if previous is not None:
                for between, y0, y1 in _join(previous, here):
                    mark(between, y0, y1)
            mark(*here)
            previous = here
        characters, roles = self.frame.characters, self.frame.roles
        for (column, row), dots in cells.items():
            x, y = self.left + column, self.top + row
            characters[y][x] = stroke if self.ascii else chr(_BRAILLE | dots)
            roles[y][x] = role

    def _columns(self, points: Sequence[tuple[float, float, float]]) -> Iterator[tuple[int, float, float] | None]:
        """The extremes in each column of dots, None where the line is broken. Nothing that was measured is hidden."""
        last, start = self.axis.dots - 1, self.axis.start
        factor = last / ((self.axis.end - start) or 1.0)
        current, least, most = -1, math.inf, -math.inf
        # Thousands of points pass here twice a second: no function is called for one of them.
        for x, low, high in points:
            if low - low or high - high:  # NaN, which is true, for what is not finite
                if current >= 0:
                    yield current, least, most
                current = -1
                yield None
                continue
            column = int((x - start) * factor)
            column = 0 if column < 0 else last if column > last else column
            if column == current:
                if low < least:
                    least = low
                if high > most:
                    most = high
                continue
            if current >= 0:
                yield current, least, most
            current, least, most = column, low, high
        if current >= 0:
            yield current, least, most

    def marks(self, points: Sequence[tuple[float, float]], mark: str, role: Role) -> None:
        """A character at every point, when there is room to tell them apart."""
        finite = [(x, v) for x, v in points if math.isfinite(v)]
        if len(finite) * 3 > self.width:
            return
        for x, value in finite:
            self.frame.put(self.left + self.column(x), self.top + self.row(value), mark, role)


def _join(start: tuple[int, int, int], stop: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """What to set in the columns between two, so that the line has no hole."""
    x0, top0, bottom0 = start
    x1, top1, bottom1 = stop
    # From the nearest ends of both ranges.
    y0 = min(max((top1 + bottom1) // 2, top0), bottom0)
    y1 = min(max(y0, top1), bottom1)
    last = y0
    for x in range(x0 + 1, x1 + 1):
        y = round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
        # A steep piece fills its column, half of it on either side.
        yield x, min(last, y), max(last, y)
        last = y
