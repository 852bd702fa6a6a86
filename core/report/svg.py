"""Curves as inline SVG: the mean as a line, its extremes as a band, limits dashed. No script, no style attribute."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from core.report.document import Chart
from core.report.line import Written
from core.report.numbers import number

WIDTH, HEIGHT = 360, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 22, 22


def draw(chart: Chart) -> Iterator[Written]:
    """One chart, a line of the file for each of its parts."""
    bins = [each for line in chart.lines for each in line.bins]
    # Values near the ends of what a float holds would overflow the scale.
    finite = [max(-1e300, min(1e300, v)) for each in bins for v in (each.low, each.high) if math.isfinite(v)]
    if chart.limit is not None:
        finite.append(chart.limit)
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    first, last = min(each.first for each in bins), max(each.last for each in bins)

    def x(step: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (step - first) / max(1, last - first)

    def y(value: float) -> float:
        share = (max(low, min(high, value)) / 2 - low / 2) / (high / 2 - low / 2)
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share

    title = escape(chart.title)
    yield Written(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">')
    for line in chart.lines:
        yield Written(f"<desc>{escape(line.name)} {escape(line.data.shown)}</desc>", (line.data,))
    yield Written(f'<text class="name" x="{_LEFT}" y="13">{title}</text>')
    yield Written(
        f'<path class="axis" d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>'
        f'<text class="tick" x="{_LEFT - 4}" y="{_TOP + 8}" text-anchor="end">{number(high)}</text>'
        f'<text class="tick" x="{_LEFT - 4}" y="{HEIGHT - _BOTTOM}" text-anchor="end">{number(low)}</text>'
        f'<text class="tick" x="{_LEFT}" y="{HEIGHT - 7}">step {first}</text>'
        f'<text class="tick" x="{WIDTH - _RIGHT}" y="{HEIGHT - 7}" text-anchor="end">{last}</text>'
    )
    if chart.limit is not None:
        height = f"{y(chart.limit):.1f}"
        yield Written(f'<path class="limit" d="M{_LEFT} {height}H{WIDTH - _RIGHT}"/>')
        yield Written(
            f'<text class="limit-name" x="{WIDTH - _RIGHT}" y="{float(height) - 3:.1f}" text-anchor="end">'
            f"limit {number(chart.limit)}</text>"
        )
    for index, line in enumerate(chart.lines):
        middle = [(x((each.first + each.last) / 2), each) for each in line.bins]
        up = " ".join(f"{at:.1f},{y(each.high):.1f}" for at, each in middle)
        down = " ".join(f"{at:.1f},{y(each.low):.1f}" for at, each in reversed(middle))
        points = " ".join(f"{at:.1f},{y(each.mean):.1f}" for at, each in middle)
        if any(each.low != each.high for each in line.bins):
            yield Written(f'<polygon class="band b{index}" points="{up} {down}"/>')
        if len(middle) == 1:
            at, each = middle[0]
            yield Written(f'<circle class="dot d{index}" cx="{at:.1f}" cy="{y(each.mean):.1f}" r="2.5"/>')
        else:
            yield Written(f'<polyline class="line l{index}" points="{points}"/>')
    for index, line in enumerate(chart.lines[1:], 1):
        yield Written(
            f'<text class="key k{index}" x="{WIDTH - _RIGHT}" y="13" text-anchor="end">{escape(line.name)}</text>'
        )
    yield Written("</svg>")
