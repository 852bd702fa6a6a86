"""Draw numbers as lines: points in, a grid of characters with their roles out. Knows nothing of Textual."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dpotui.say import number
from dpotui.widgets.canvas import ASCII, BOXES, LINE_ROLES, Frame, Role
from dpotui.widgets.field import Field
from dpotui.widgets.scale import Axis, Scale

# What stands for a line where there are no dots: that of the run in hand first.
_STROKES = "*+x%@&"


class Point(NamedTuple):
    """One value at `x`, or the extremes and the mean of the range of so many steps around it. NaN leaves a gap."""

    x: float
    low: float
    high: float
    mean: float
    wide: int = 1


def point(x: float, value: float) -> Point:
    return Point(x, value, value, value)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot. Lines of other runs are more of the same; the first one is the run in hand."""

    label: str
    points: Sequence[Point]
    smooth: bool = True
    mark: str = ""  # a character at every point, for the few points of an evaluation
    tag: str = ""  # a character at its end and before its label, which tells it from others without colour
    dash: int = 0  # how it is broken, for the same reason
    raw: bool = True  # what it is smoothed from may be drawn, too


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
    held: tuple[float, ...] = ()  # values that the y axis reaches in any case


@dataclass(frozen=True, slots=True)
class Look:
    """How a plot is looked at."""

    smoothing: float = 0.9
    raw: bool = True
    log: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """Which part of it, and where the cursor stands."""

    window: tuple[float, float] | None = None  # of x; None is all
    cursor: float | None = None


class Reading(NamedTuple):
    """What a line says where the cursor stands: of all points that are drawn in its column, else of the nearest."""

    line: Line
    role: Role
    first: float
    last: float
    mean: float
    low: float
    high: float
    smoothed: float


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """The exponential moving average of `values`, corrected for its start; NaN stays NaN and is skipped over.

    `weight` is the share of the past, 0 to below 1: m_t = w·m_{t-1} + (1-w)·x_t, divided by 1 - w^t.
    """
    average, mass, share, nan = 0.0, 0.0, 1 - weight, math.nan
    found: list[float] = []
    append = found.append
    for value in values:
        if value - value:  # NaN, which is true, for what is not finite
            append(nan)
            continue
        average = weight * average + share * value
        mass = weight * mass + share
        append(average / mass)
    return found


class _Drawn(NamedTuple):
    """A line with its averages, cut to the window."""

    line: Line
    role: Role
    points: Sequence[Point]
    means: Sequence[float]
    averages: Sequence[float]  # of the whole line


def draw(plot: Plot, look: Look, width: int, height: int, view: View = View(), *, ascii: bool = False) -> Frame:
    """The plot in a grid: a title row with the values at the cursor, else the newest; the field with its axes; a row
    of steps below.

    Args:
        ascii: with characters that every terminal has.
    """
    frame = Frame(max(0, width), max(0, height))
    if width < 12 or height < 3:
        frame.put(0, 0, plot.title, "title")
        return frame
    lines = plot.lines[: len(LINE_ROLES)]
    averages = [_averages(line, look) for line in lines]
    window = _window(plot, view)
    drawn = [_cut(line, role, mean, window) for line, role, mean in zip(lines, LINE_ROLES, averages, strict=False)]
    values = _values(drawn, look)
    if not values:
        _title(frame, plot, look, lines, averages, ascii)
        words = "no values here" if view.window else "no values yet"
        frame.put(max(0, (width - 12) // 2), 1 + (height - 2) // 2, words, "empty")
        return frame
    scale = Scale.of(
        [*values, *plot.held], [limit.value for limit in plot.limits], rows=height - 2, log=look.log != plot.log
    )
    gutter = _gutter(plot, scale)
    if width - gutter < 2:  # a long limit in a narrow frame leaves nothing to draw on
        _title(frame, plot, look, lines, averages, ascii)
        return frame
    axis = Axis(*window, Field.dots(width - gutter, ascii))
    frame.left, frame.axis = gutter, axis
    field = Field(frame, gutter, 1, width - gutter, height - 2, axis, scale, ascii)
    if view.cursor is None:
        _title(frame, plot, look, lines, [each.means for each in drawn], ascii)
    else:
        read = _read(drawn, axis, view.cursor)
        _title(frame, plot, look, lines, [[_shown(look, reading)] if reading else [] for reading in read], ascii)
    _axes(frame, field, plot.limits)
    if view.cursor is not None:
        stroke = (ASCII if ascii else BOXES).cursor
        for row in range(height - 2):
            frame.put(gutter + field.column(view.cursor), 1 + row, stroke, "accent")
    _lines(field, drawn, look)
    return frame


def readings(plot: Plot, look: Look, axis: Axis, x: float) -> list[Reading]:
    """What every line says at `x`, on the axis on which it is drawn."""
    lines = plot.lines[: len(LINE_ROLES)]
    window = axis.start, axis.end
    drawn = [_cut(line, role, _averages(line, look), window) for line, role in zip(lines, LINE_ROLES, strict=False)]
    return [reading for reading in _read(drawn, axis, x) if reading is not None]


def _window(plot: Plot, view: View) -> tuple[float, float]:
    if view.window is not None:
        return view.window
    return 0.0, plot.end or max((line.points[-1].x for line in plot.lines if line.points), default=0.0) or 1.0


def _averages(line: Line, look: Look) -> list[float]:
    means = [p.mean for p in line.points]
    # A young series is not averaged over more than a tenth of what there is: its end would lag far behind.
    weight = min(look.smoothing, 1 - 10 / max(10, len(means)))
    return smoothed(means, weight) if line.smooth and weight > 0 else means


def _cut(line: Line, role: Role, means: Sequence[float], window: tuple[float, float]) -> _Drawn:
    """What lies in the window, and how the line enters and leaves it."""
    start, end = window
    points = line.points
    if not points or (points[0].x >= start and points[-1].x <= end):
        return _Drawn(line, role, points, means, means)
    first = bisect_left(points, start, key=lambda p: p.x)
    stop = bisect_right(points, end, key=lambda p: p.x)
    cut, cut_means = list(points[first:stop]), list(means[first:stop])
    for edge, at, (a, b) in ((start, 0, (first - 1, first)), (end, len(cut), (stop - 1, stop))):
        if a >= 0 and b < len(points) and (at or not cut or cut[0].x > start):
            share = (edge - points[a].x) / ((points[b].x - points[a].x) or 1.0)
            low, high, mean = (p + (q - p) * share for p, q in zip(points[a][1:4], points[b][1:4], strict=True))
            cut.insert(at, Point(edge, low, high, mean, 0))
            cut_means.insert(at, means[a] + (means[b] - means[a]) * share)
    return _Drawn(line, role, cut, cut_means, means)


def _values(drawn: Sequence[_Drawn], look: Look) -> list[float]:
    """All that has to find room between the ends of the y axis; nothing where no line has a value."""
    values = [v for each in drawn for v in each.means if not v - v]
    if look.raw and values:
        for each in drawn:
            if each.line.raw:
                values += [low for _, low, _, _, _ in each.points if not low - low]
                values += [high for _, _, high, _, _ in each.points if not high - high]
    return values


def _gutter(plot: Plot, scale: Scale) -> int:
    labels = [label for _, label in scale.ticks] + [f"{limit.value:g}" for limit in plot.limits]
    return max(map(len, labels)) + 1


def _read(drawn: Sequence[_Drawn], axis: Axis, x: float) -> list[Reading | None]:
    column, found = axis.column(x), list[Reading | None]()
    for line, role, points, means, averages in drawn:
        # What was put in at the edges of the window was not measured.
        inside = zip(points, means, strict=True)
        here = [(p, v) for p, v in inside if p.wide and math.isfinite(p.mean) and axis.column(p.x) == column]
        if not here:
            measured = [(p, v) for p, v in zip(line.points, averages, strict=True) if math.isfinite(p.mean)]
            here = [min(measured, key=lambda pair: abs(pair[0].x - x))] if measured else []
        if not here:
            found.append(None)
            continue
        (first, _), (last, smooth) = here[0], here[-1]
        total = sum(p.wide for p, _ in here)
        found.append(
            Reading(
                line,
                role,
                first.x - (first.wide - 1) / 2,
                last.x + (last.wide - 1) / 2,
                sum(p.mean * p.wide for p, _ in here) / total,
                min(p.low for p, _ in here),
                max(p.high for p, _ in here),
                smooth,
            )
        )
    return found


def _shown(look: Look, reading: Reading) -> float:
    return reading.smoothed if reading.line.smooth and look.smoothing else reading.mean


def _title(
    frame: Frame, plot: Plot, look: Look, lines: Sequence[Line], values: Sequence[Sequence[float]], ascii: bool
) -> None:
    x = frame.put(0, 0, plot.title, "title")
    for line, role, mean in zip(lines, LINE_ROLES, values, strict=False):
        last = next((v for v in reversed(mean) if math.isfinite(v)), None)
        if last is None:
            continue
        stroke = _STROKES[LINE_ROLES.index(role)] if ascii and len(lines) > 1 else ""
        words = (stroke, line.tag or line.mark, line.label, number(last))
        for told in (words, (*words[:2], "", words[3])):  # without its label, where that has no room
            text = " " + " ".join(word for word in told if word)
            if x + len(text) < frame.width and (line.tag or told is words):
                x = frame.put(x, 0, text + " ", role) - 1
                break
    notes = [f"{_op(limit, ascii)}{limit.value:g}" for limit in plot.limits] + (["log"] if look.log != plot.log else [])
    text = " ".join(notes)
    if text and x + len(text) + 2 < frame.width:
        frame.put(frame.width - len(text), 0, text, "limit")


def _op(limit: Limit, ascii: bool) -> str:
    return {"≤": "<=", "≥": ">="}.get(limit.op, limit.op) if ascii else limit.op


def _axes(frame: Frame, field: Field, limits: Sequence[Limit]) -> None:
    strokes, gutter = ASCII if field.ascii else BOXES, field.left
    for row in range(1, frame.height - 1):
        frame.put(gutter - 1, row, strokes.side, "axis")
    for value, label in field.scale.ticks:
        row = field.row(value)
        if 0 <= row < field.height:
            frame.put(0, 1 + row, f"{label:>{gutter - 1}}{strokes.tick}", "axis")
    for limit in limits:
        if field.holds(limit.value):
            row = 1 + field.row(limit.value)
            frame.put(0, row, f"{limit.value:>{gutter - 1}g}{strokes.tick}", "limit")
            frame.put(gutter, row, strokes.limit * field.width, "limit")
    bottom = frame.height - 1
    frame.put(gutter - 1, bottom, strokes.corner + strokes.floor * field.width, "axis")
    for value, label in field.axis.labels(field.width):
        x = gutter + field.column(value)
        if x + len(label) <= frame.width:
            frame.put(x, bottom, label, "axis")


def _lines(field: Field, drawn: Sequence[_Drawn], look: Look) -> None:
    if look.raw and look.smoothing > 0:
        for line, _, points, _means, _averages in drawn:
            if line.smooth and line.raw and not line.mark:
                field.line([p[:3] for p in points], "raw", stroke=".")
    # The run in hand is painted last, over the others.
    for index in reversed(range(len(drawn))):
        line, role, points, means, _ = drawn[index]
        flat = line.smooth and look.smoothing > 0
        shown = [(p[0], v, v) for p, v in zip(points, means, strict=True)] if flat else [p[:3] for p in points]
        field.line(shown, role, line.dash, _STROKES[index])
        if line.mark:
            field.marks([(p.x, v) for p, v in zip(points, means, strict=True) if p.wide], line.mark, role)
    for line, role, points, means, _averages in drawn:
        if line.tag:
            ends = [(p.x, v) for p, v in zip(points, means, strict=True) if math.isfinite(v)]
            field.marks(ends[-1:], line.tag, role)
