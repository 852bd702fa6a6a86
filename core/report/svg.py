"""Curves as inline SVG: the mean as a line, its extremes as a band, targets dotted. No script, no style attribute."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from html import escape

from core.report.document import Chart
from core.report.line import Written
from core.report.numbers import number

WIDTH, HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 36, 36
_TICKS = 4  # lines across, at most, beside the axis


def draw(chart: Chart) -> Iterator[Written]:
    """One chart, a line of the file for each of its parts."""
    bins = [each for line in chart.lines for each in line.bins]
    # Values near the ends of what a float holds would overflow the scale.
    finite = [max(-1e300, min(1e300, v)) for each in bins for v in (each.low, each.high) if math.isfinite(v)]
    if chart.limit is not None:
        finite.append(chart.limit)
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if low == 0 == high:
        low, high = -0.5, 0.5
    elif high / 2 - low / 2 < 1e-300:
        # Also of numbers so small that halves of them are nothing.
        low, high = low - max(abs(low) / 2, 1e-300), high + max(abs(high) / 2, 1e-300)
    ticks = _decades(low, high) if chart.log else _round_ticks(low, high)
    # The axis ends at a tick where one lies outside.
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    first, last = min(each.first for each in bins), max(each.last for each in bins)

    def x(step: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (step - first) / max(1, last - first)

    def y(value: float) -> float:
        held = max(low, min(high, value))
        share = _share(math.log(held), math.log(low), math.log(high)) if chart.log else _share(held, low, high)
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share

    title = escape(chart.title)
    unit = ", ".join(part for part in (chart.unit, "log scale" if chart.log else "") if part)
    yield Written(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">')
    for line in chart.lines:
        yield Written(f"<desc>{escape(line.name)} {escape(line.data.shown)}</desc>", (line.data,))
    yield Written(f'<text class="name" x="8" y="15">{title}</text>')
    if unit:
        yield Written(f'<text class="tick" x="8" y="28">{escape(unit)}</text>')
    for tick in ticks:
        height = f"{y(tick):.1f}"
        yield Written(
            f'<path class="grid" d="M{_LEFT} {height}H{WIDTH - _RIGHT}"/>'
            f'<text class="tick" x="{_LEFT - 5}" y="{y(tick) + 3:.1f}" text-anchor="end">{number(tick)}</text>'
        )
    yield Written(
        f'<path class="axis" d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>'
        f'<text class="tick" x="{_LEFT}" y="{HEIGHT - 22}">{first}</text>'
        f'<text class="tick" x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{HEIGHT - 22}" text-anchor="middle">step</text>'
        f'<text class="tick" x="{WIDTH - _RIGHT}" y="{HEIGHT - 22}" text-anchor="end">{last}</text>'
    )
    if chart.limit is not None:
        height = f"{y(chart.limit):.1f}"
        yield Written(f'<path class="limit" d="M{_LEFT} {height}H{WIDTH - _RIGHT}"/>')
        yield Written(
            f'<text class="limit-name" x="{WIDTH - _RIGHT}" y="{float(height) - 3:.1f}" text-anchor="end">'
            f"target {number(chart.limit)}</text>"
        )
    for index, line in enumerate(chart.lines):
        middle = [(x((each.first + each.last) / 2), each) for each in line.bins]
        up = " ".join(f"{at:.1f},{y(each.high):.1f}" for at, each in middle)
        down = " ".join(f"{at:.1f},{y(each.low):.1f}" for at, each in reversed(middle))
        points = " ".join(f"{at:.1f},{y(each.mean):.1f}" for at, each in middle)
        if any(each.low != each.high for each in line.bins):
            yield Written(f'<polygon class="band b{index}" points="{up} {down}"/>')
        if len(middle) > 1:
            yield Written(f'<polyline class="line l{index}" points="{points}"/>')
        # A line alone would not say how few points it is drawn through.
        if len(middle) <= _FEW:
            for at, each in middle:
                yield Written(f'<circle class="d{index}" cx="{at:.1f}" cy="{y(each.mean):.1f}" r="2.2"/>')
    for index, line in enumerate(chart.lines):
        at = 8 + index * (WIDTH - 16) // 2
        yield Written(
            f'<path class="line l{index}" d="M{at} {HEIGHT - 8}h16"/>'
            f'<text class="key k{index}" x="{at + 20}" y="{HEIGHT - 5}">{escape(line.name)}</text>'
        )
    yield Written("</svg>")


_FEW = 12


def _share(value: float, low: float, high: float) -> float:
    # Halves first: the span of two huge numbers may be infinite.
    return (value / 2 - low / 2) / (high / 2 - low / 2)


def _round_ticks(low: float, high: float) -> list[float]:
    """Round numbers from the one at or below `low` to the one at or above `high`."""
    span = high / 2 - low / 2
    if not 1e-290 < span < 1e290:
        return [low, high]
    rough = span * 2 / _TICKS
    power = Decimal(10) ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if float(power * each) >= rough * (1 - 1e-9))
    start, end = math.floor(Decimal(repr(low)) / step), math.ceil(Decimal(repr(high)) / step)
    return [float(step * index) for index in range(start, end + 1)]


def _decades(low: float, high: float) -> list[float]:
    start, end = math.floor(math.log10(low)), math.ceil(math.log10(high))
    wide = max(1, math.ceil((end - start) / _TICKS))
    return [10.0**power for power in range(start, end + wide, wide)]
