"""The axes of a plot: where they begin and end, and which of their values are labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dpotui.say import number

# Beyond this the length of an axis is not a number any more.
_LARGEST = 1e150

# The x axis grows in jumps of this factor: between two jumps a new point changes only the cells it falls into.
_GROWTH = 1.25


def axis_end(last: float, total: float = 0) -> float:
    """Where the x axis should end for a run that has come to step `last` of `total` (0 when not known).

    A function of its arguments alone, so that it stands still between two jumps and two clients agree.
    """
    end = 20.0
    while end < last:
        end *= _GROWTH
    end = math.ceil(end)
    return min(end, total) if total >= last > 0 else end


def nice(step: float) -> float:
    """The next larger of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if step <= factor * power * (1 + 1e-9))


@dataclass(frozen=True, slots=True)
class Axis:
    """The x axis: a window of steps over a number of columns of dots."""

    start: float
    end: float
    dots: int

    def column(self, x: float) -> int:
        """The column of dots in which a step falls; what lies outside sticks to the edge."""
        last = self.dots - 1
        return min(last, max(0, int((x - self.start) * (last / ((self.end - self.start) or 1.0)))))

    def x(self, column: int) -> float:
        """The middle of a column of dots."""
        return self.start + (column + 0.5) * (self.end - self.start) / max(1, self.dots - 1)

    def labels(self, columns: int) -> list[tuple[float, str]]:
        """Values to be labelled, so many that they have room in these columns of characters."""
        jump = max(1.0, nice(((self.end - self.start) or 1.0) / max(1, columns // 12)))
        first = math.ceil(self.start / jump - 1e-9)
        found = []
        for index in range(first, math.floor(self.end / jump + 1e-9) + 1):
            value = index * jump
            found.append((value, _step(value, jump)))
        return found


def _step(value: float, jump: float) -> str:
    """A step as short as it can be told from its neighbours."""
    if value >= 1e6 and jump >= 1e4:
        return f"{value / 1e6:g}M"
    if value >= 1e4 and jump >= 100:
        return f"{value / 1e3:g}k"
    return f"{value:.0f}" if value >= 1e6 else f"{value:g}"


@dataclass(frozen=True, slots=True)
class Scale:
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
    def of(cls, values: Sequence[float], limits: Sequence[float], rows: int, log: bool) -> Scale:
        """An axis of so many rows on which these values stand, and those limits that are near them."""
        if log and (positive := [v for v in values if v > 0]):
            return cls._logarithmic(positive, rows)
        low, high = (min(max(value, -_LARGEST), _LARGEST) for value in (min(values), max(values)))
        if low == high and limits:
            low, high = min(low, limits[0]), max(high, limits[0])
        for limit in limits:
            # A threshold is drawn when it is near enough not to flatten what was measured.
            room = max(high - low, abs(high) * 0.05, 1e-12) * 2
            if low - room <= limit <= high + room:
                low, high = min(low, limit), max(high, limit)
        if high - low <= max(abs(low), abs(high)) * 1e-9 + 1e-300:
            pad = abs(low) * 0.1 or 1.0
            low, high = low - pad, high + pad
        step = nice((high - low) / max(1, min(4, rows // 2)))
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
    def _logarithmic(cls, values: Sequence[float], rows: int) -> Scale:
        smallest, largest = (min(value, _LARGEST) for value in (min(values), max(values)))
        low, high = math.floor(math.log10(smallest)), math.ceil(math.log10(largest))
        high = max(high, low + 1)
        jump = max(1, math.ceil((high - low) / max(1, rows // 2)))
        return cls(low, high, True, tuple((10.0**e, number(10.0**e)) for e in range(low, high + 1, jump)))
