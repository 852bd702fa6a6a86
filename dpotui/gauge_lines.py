"""The machine's use in words and plots: a line for every reading, a plot for those that share a unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dpotui import say
from dpotui.roles import Span
from dpotui.widgets.plot import Limit, Line, Plot, Point, point

if TYPE_CHECKING:
    from core.monitor import Reading, Sample

_LABEL, _VALUE, _BAR = 11, 18, 12
# Heights of a core's bar, from idle to busy.
_CORES = "▁▂▃▄▅▆▇█"
# What is drawn together, what its numbers are divided by, and what the y axis reaches in any case: a use of 98 and 99 %
# is no mountain.
_PLOTS: tuple[tuple[str, tuple[str, ...], float, tuple[float, ...]], ...] = (
    ("use %", ("gpu", "cpu"), 1.0, (0.0, 100.0)),
    ("GPU memory GB", ("gpu.memory",), 1e9, (0.0,)),
    ("memory GB", ("memory", "engine.memory", "run.memory", "swap"), 1e9, (0.0,)),
    ("temperature °C", ("gpu.temperature", "cpu.temperature"), 1.0, ()),
    ("power W", ("power", "gpu.power", "cpu.power"), 1.0, (0.0,)),
)
# A pause this long (seconds) is a gap in the lines: nobody looked, so nothing is known.
_PAUSE = 7.0
# Where the x axis may end (minutes): between two of these a new point changes only the cells it falls into.
_ENDS = (2, 5, 10, 20, 30, 60, 90, 120, 150)


def amount(reading: Reading) -> str:
    """The value of a reading with its unit."""
    value = reading.value
    if value is None:
        return reading.text or "—"
    if reading.unit == "B":
        if 0 < value < 1e8:
            return f"{value / 1e6:.0f} MB"
        most = f" of {reading.limit / 1e9:.1f}" if reading.limit else ""
        return f"{value / 1e9:.1f}{most} GB"
    if reading.unit == "%":
        return f"{value:.0f}%" + (f", {reading.text}" if reading.text else "")
    digits = 1 if reading.unit == "W" and value < 100 else 0
    most = f" of {reading.limit:.0f}" if reading.limit and reading.unit == "W" else ""
    return f"{value:.{digits}f}{most} {reading.unit}"


def spans(reading: Reading, width: int) -> list[Span]:
    """A reading on one line: what it is, how much, as a bar or core by core, and where it is from."""
    if not reading.present:
        return [(f" {reading.label:{_LABEL}}", "dim"), (f"{'—':>{_VALUE}}  ", "dim"), (reading.reason, "dim")]
    line: list[Span] = [(f" {reading.label:{_LABEL}}", ""), (f"{amount(reading):>{_VALUE}}  ", "title")]
    if reading.value is not None and reading.limit:
        done, left = say.bar(round(min(reading.value, reading.limit)), max(1, round(reading.limit)), _BAR)
        line += [(done, "bar"), (left, "faint")]
    else:
        line.append((" " * _BAR, ""))
    room = width - _LABEL - _VALUE - _BAR - 4
    if reading.unit == "%" and 1 < len(reading.parts) <= room - 9:
        cores = "".join(_CORES[min(7, int(part / 12.5))] for part in reading.parts)
        line.append((f"  {cores}", "bar"))
    return [*line, (f"  {reading.source}", "dim")]


def plots(samples: Sequence[Sample], limits: Mapping[str, float]) -> list[Plot]:
    """What changed over the session, by minutes since it began. `limits`: the most that a key's value should be."""
    if not samples:
        return []
    first = _beginning(samples)
    found = []
    for title, wanted, divisor, held in _PLOTS:
        keys = [reading for reading in samples[-1].shown() if reading.key.partition("#")[0] in wanted]
        keys.sort(key=lambda reading: wanted.index(reading.key.partition("#")[0]))
        lines = []
        most: dict[float, Limit] = {}
        for reading in keys:
            points = _points(samples, reading.key, first, divisor)
            if not any(math.isfinite(one.mean) for one in points):
                continue
            lines.append(Line(reading.label, points, smooth=False))
            bound = limits.get(reading.key)
            if bound is not None:
                most[bound] = Limit("≤", round(bound / divisor, 1))
        if lines:
            found.append(Plot(title, tuple(lines), tuple(most.values()), _end(samples, first), held=held))
    return found


def _beginning(samples: Sequence[Sample]) -> float:
    """The time at which the x axis begins: it stands still for ten minutes once older samples are dropped."""
    from core.monitor import KEPT

    oldest = samples[0].time
    return oldest if len(samples) < KEPT else math.ceil(oldest / 600) * 600


def _end(samples: Sequence[Sample], first: float) -> float:
    last = (samples[-1].time - first) / 60
    return float(next((end for end in _ENDS if end >= last), math.ceil(last / 30) * 30))


def _points(samples: Sequence[Sample], key: str, first: float, divisor: float) -> list[Point]:
    points: list[Point] = []
    before = math.inf
    for sample in samples:
        at = sample.time - first
        if at < 0:
            continue
        if at - before > _PAUSE:
            points.append(point((before + at) / 120, math.nan))
        value = sample.value(key)
        points.append(point(at / 60, math.nan if value is None else value / divisor))
        before = at
    return points
