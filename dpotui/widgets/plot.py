"""Draw numbers as braille: points in, a grid of characters with their roles out. Knows nothing of Textual."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rich.cells import cell_len

from dpotui.say import number, steps

# Dots of a cell by column and row, counted from its top left corner.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BRAILLE = 0x2800

# Beyond this the length of an axis is not a number any more.
_LARGEST = 1e150

# The x axis grows in jumps of this factor: between two jumps a new point changes only the cells it falls into.
_GROWTH = 1.25


class Point(NamedTuple):
    """One value at `x`, or the extremes and the mean of a range that begins there. NaN leaves a gap."""

    x: float
    low: float
    high: float
    mean: float


def point(x: float, value: float) -> Point:
    return Point(x, value, value, value)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot. Lines of other runs are more of the same; the first one is the run in hand."""

    label: str
    points: Sequence[Point]
    smooth: bool = True
    mark: str = ""  # a character at every point, for the few points of an evaluation


@dataclass(frozen=True, slots=True)
class Limit:
    """A threshold: the side on which values pass."""

    op: str  # as shown: ≤ or ≥
    value: float


@dataclass(frozen=True, slots=True)
class Plot:
    title: str
    lines: tuple[Line, ...] = ()
    limits: tuple[Limit, ...] = ()
    end: float = 0.0  # where the x axis ends; 0 means at the last point
    log: bool = False  # spans orders of magnitude by nature: a logarithmic y axis unless asked otherwise


@dataclass(frozen=True, slots=True)
class Look:
    """How a plot is looked at."""

    smoothing: float = 0.9
    raw: bool = True
    log: bool = False


# What a cell is, so that a style can be given to it.
Role = Literal["", "title", "axis", "raw", "limit", "empty", "line0", "line1", "line2", "line3", "line4", "line5"]
LINE_ROLES: tuple[Role, ...] = ("line0", "line1", "line2", "line3", "line4", "line5")


@dataclass(slots=True)
class Frame:
    """A grid of single-width characters and their roles."""

    width: int
    height: int
    characters: list[list[str]] = field(init=False)
    roles: list[list[Role]] = field(init=False)

    def __post_init__(self) -> None:
        self.characters = [[" "] * self.width for _ in range(self.height)]
        self.roles = [[""] * self.width for _ in range(self.height)]

    def put(self, x: int, y: int, text: str, role: Role) -> int:
        """Write text, cut at the edges; returns the column after it."""
        for character in text:
            if 0 <= x < self.width and 0 <= y < self.height:
                # A wide character would push the rest of the line aside.
                self.characters[y][x] = character if cell_len(character) == 1 else "?"
                self.roles[y][x] = role
            x += 1
        return x

    def spans(self, y: int) -> Iterator[tuple[str, Role]]:
        """Row `y` as runs of one role."""
        characters, roles = self.characters[y], self.roles[y]
        start = 0
        for x in range(1, self.width + 1):
            if x == self.width or roles[x] != roles[start]:
                yield "".join(characters[start:x]), roles[start]
                start = x

    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self.characters)


def axis_end(last: float, total: float = 0) -> float:
    """Where the x axis should end for a run that has come to step `last` of `total` (0 when not known).

    A function of its arguments alone, so that it stands still between two jumps and two clients agree.
    """
    end = 20.0
    while end < last:
        end *= _GROWTH
    end = math.ceil(end)
    return min(end, total) if total >= last > 0 else end


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """The exponential moving average of `values`, corrected for its start; NaN stays NaN and is skipped over.

    `weight` is the share of the past, 0 to below 1: m_t = w·m_{t-1} + (1-w)·x_t, divided by 1 - w^t.
    """
    average, mass = 0.0, 0.0
    found = []
    for value in values:
        if math.isfinite(value):
            average = weight * average + (1 - weight) * value
            mass = weight * mass + (1 - weight)
            found.append(average / mass)
        else:
            found.append(math.nan)
    return found


def draw(plot: Plot, look: Look, width: int, height: int) -> Frame:
    """The plot in a grid: a title row with the newest values, the field with its axis, a row of steps below."""
    frame = Frame(max(0, width), max(0, height))
    if width < 12 or height < 3:
        frame.put(0, 0, plot.title, "title")
        return frame
    lines = plot.lines[: len(LINE_ROLES)]
    averages = [_averages(line, look) for line in lines]
    _title(frame, plot, look, lines, averages)
    seen = [(p.x, v) for line, mean in zip(lines, averages, strict=True) for p, v in zip(line.points, mean, strict=True)
            if math.isfinite(v)]  # fmt: skip
    if not seen:
        frame.put(max(0, (width - 12) // 2), 1 + (height - 2) // 2, "no values yet", "empty")
        return frame
    values = [v for _, v in seen]
    if look.raw:
        values += [v for line in lines for p in line.points for v in (p.low, p.high) if math.isfinite(v)]
    scale = _Scale.of(values, plot.limits, rows=height - 2, log=look.log != plot.log)
    labels = [label for _, label in scale.ticks] + [f"{limit.value:g}" for limit in plot.limits]
    gutter = max(map(len, labels)) + 1
    end = plot.end or max(x for x, _ in seen) or 1.0
    field_ = _Field(frame, gutter, 1, width - gutter, height - 2, end, scale)
    _axes(frame, field_, plot.limits, gutter, height)
    for limit in plot.limits:
        field_.limit(limit)
    if look.raw and look.smoothing > 0:
        for line in lines:
            if line.smooth and not line.mark:
                field_.line([(p.x, p.low, p.high) for p in line.points], "raw")
    # The run in hand is painted last, over the others.
    for index in reversed(range(len(lines))):
        line, mean = lines[index], averages[index]
        flat = line.smooth and look.smoothing > 0
        shown = [(p.x, v, v) if flat else (p.x, p.low, p.high) for p, v in zip(line.points, mean, strict=True)]
        field_.line(shown, LINE_ROLES[index])
        if line.mark:
            field_.marks([(p.x, v) for p, v in zip(line.points, mean, strict=True)], line.mark, LINE_ROLES[index])
    return frame


def _averages(line: Line, look: Look) -> list[float]:
    means = [p.mean for p in line.points]
    # A young series is not averaged over more than a tenth of what there is: its end would lag far behind.
    weight = min(look.smoothing, 1 - 10 / max(10, len(means)))
    return smoothed(means, weight) if line.smooth and weight > 0 else means


def _title(frame: Frame, plot: Plot, look: Look, lines: Sequence[Line], averages: Sequence[Sequence[float]]) -> None:
    x = frame.put(0, 0, plot.title, "title")
    for index, (line, mean) in enumerate(zip(lines, averages, strict=True)):
        last = next((v for v in reversed(mean) if math.isfinite(v)), None)
        if last is None:
            continue
        text = f" {line.mark}{' ' if line.mark else ''}{line.label} {number(last)}".replace("  ", " ")
        if x + len(text) < frame.width:
            x = frame.put(x, 0, text + " ", LINE_ROLES[index]) - 1
    notes = [f"{limit.op}{limit.value:g}" for limit in plot.limits] + (["log"] if look.log != plot.log else [])
    text = " ".join(notes)
    if text and x + len(text) + 2 < frame.width:
        frame.put(frame.width - len(text), 0, text, "limit")


def _axes(frame: Frame, field_: _Field, limits: Sequence[Limit], gutter: int, height: int) -> None:
    for row in range(1, height - 1):
        frame.put(gutter - 1, row, "│", "axis")
    for value, label in field_.scale.ticks:
        row = field_.row(value)
        if 0 <= row < field_.height:
            frame.put(0, 1 + row, f"{label:>{gutter - 1}}┤", "axis")
    for limit in limits:
        if field_.holds(limit):
            frame.put(0, 1 + field_.row(limit.value), f"{limit.value:>{gutter - 1}g}┤", "limit")
    bottom = height - 1
    frame.put(gutter - 1, bottom, "└" + "─" * field_.width, "axis")
    jump = max(1.0, _nice(field_.end / max(1, field_.width // 12)))
    for index in range(math.floor(field_.end / jump) + 1):
        label = steps(index * jump)
        x = gutter + field_.column(index * jump) // 2
        if x + len(label) <= frame.width:
            frame.put(x, bottom, label, "axis")


@dataclass(frozen=True, slots=True)
class _Scale:
    """The y axis: its ends and its labelled values."""

    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """How far up a value stands, 0 to 1 within the axis."""
        if self.log:
            if value <= 0:
                return 0.0
            return (math.log10(value) - self.low) / (self.high - self.low)
        return (value - self.low) / (self.high - self.low)

    @classmethod
    def of(cls, values: Sequence[float], limits: Sequence[Limit], rows: int, log: bool) -> _Scale:
        if log and (positive := [v for v in values if v > 0]):
            return cls._logarithmic(positive, rows)
        low, high = (min(max(value, -_LARGEST), _LARGEST) for value in (min(values), max(values)))
        if low == high and limits:
            low, high = min(low, limits[0].value), max(high, limits[0].value)
        for limit in limits:
            # A threshold is drawn when it is near enough not to flatten what was measured.
            room = max(high - low, abs(high) * 0.05, 1e-12) * 2
            if low - room <= limit.value <= high + room:
                low, high = min(low, limit.value), max(high, limit.value)
        if high - low <= max(abs(low), abs(high)) * 1e-9 + 1e-300:
            pad = abs(low) * 0.1 or 1.0
            low, high = low - pad, high + pad
        step = _nice((high - low) / max(1, min(4, rows // 2)))
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        count = round((high - low) / step)
        digits = next(d for d in range(12) if d == 11 or abs(round(step, d) - step) < step * 1e-6)
        ticks = []
        for index in range(count + 1):
            value = low + index * step
            small = max(abs(low), abs(high)) < 1e-2
            ticks.append((value, number(value) if small or abs(value) >= 1e4 else f"{value + 0.0:.{digits}f}"))
        return cls(low, high, False, tuple(ticks))

    @classmethod
    def _logarithmic(cls, values: Sequence[float], rows: int) -> _Scale:
        smallest, largest = (min(value, _LARGEST) for value in (min(values), max(values)))
        low, high = math.floor(math.log10(smallest)), math.ceil(math.log10(largest))
        high = max(high, low + 1)
        jump = max(1, math.ceil((high - low) / max(1, rows // 2)))
        return cls(low, high, True, tuple((10.0**e, number(10.0**e)) for e in range(low, high + 1, jump)))


def _nice(step: float) -> float:
    """The next larger of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if step <= factor * power * (1 + 1e-9))


@dataclass(slots=True)
class _Field:
    """The part of a frame that holds the dots."""

    frame: Frame
    left: int
    top: int
    width: int
    height: int
    end: float
    scale: _Scale

    def column(self, x: float) -> int:
        """The column of dots in which a step falls."""
        last = self.width * 2 - 1
        return min(last, max(0, int(x * (last / (self.end or 1.0)))))

    def dot(self, value: float) -> int:
        """The row of dots, from the top, in which a value falls; values outside stick to the edge."""
        share = min(1.0, max(0.0, self.scale.share(value)))
        return round((1 - share) * (self.height * 4 - 1))

    def row(self, value: float) -> int:
        return self.dot(value) // 4

    def holds(self, limit: Limit) -> bool:
        return 0 <= self.scale.share(limit.value) <= 1

    def limit(self, limit: Limit) -> None:
        if not self.holds(limit):
            return
        self.frame.put(self.left, self.top + self.row(limit.value), "╌" * self.width, "limit")

    def line(self, points: Sequence[tuple[float, float, float]], role: Role) -> None:
        """Dots from low to high in every column, joined to the next column; a NaN breaks the line."""
        cells: dict[tuple[int, int], int] = {}

        def mark(x: int, top: int, bottom: int) -> None:
            column, half = divmod(x, 2)
            for y in range(top, bottom + 1):
                cells[column, y // 4] = cells.get((column, y // 4), 0) | _DOTS[half][y % 4]

        previous: tuple[int, int, int] | None = None  # column, top and bottom dot
        for run in self._columns(points):
            if run is None:
                previous = None
                continue
            column, low, high = run
            here = (column, self.dot(high), self.dot(low))
            if previous is not None:
                for between, y0, y1 in _join(previous, here):
                    mark(between, y0, y1)
            mark(*here)
            previous = here
        for (column, row), dots in cells.items():
            x, y = self.left + column, self.top + row
            self.frame.characters[y][x] = chr(_BRAILLE | dots)
            self.frame.roles[y][x] = role

    def _columns(self, points: Sequence[tuple[float, float, float]]) -> Iterator[tuple[int, float, float] | None]:
        """The extremes in each column of dots, None where the line is broken. Nothing that was measured is hidden."""
        isfinite, last, factor = math.isfinite, self.width * 2 - 1, (self.width * 2 - 1) / (self.end or 1.0)
        current, least, most = -1, math.inf, -math.inf
        for x, low, high in points:
            if not (isfinite(low) and isfinite(high)):
                if current >= 0:
                    yield current, least, most
                current = -1
                yield None
                continue
            column = min(last, max(0, int(x * factor)))
            if column == current:
                least, most = min(least, low), max(most, high)
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
            self.frame.put(self.left + self.column(x) // 2, self.top + self.row(value), mark, role)


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
