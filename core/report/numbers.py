"""Numbers as a report says them: four digits that count or as many as a gate needs, never another in another place."""

from __future__ import annotations

import math
from decimal import Decimal

from core.checklist.values import format_number

NOTHING = "—"
BLOCKS = "▁▂▃▄▅▆▇█"


def number(value: float | None, unit: str = "") -> str:
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    text = format_number(Decimal(repr(float(value))), None)
    return f"{text}%" if unit == "%" else f"{text} {unit}".rstrip()


def interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return NOTHING
    return f"{number(low)} to {number(high)}"


def spark(values: list[float]) -> str:
    """The course of values in blocks."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return NOTHING
    low, high = min(finite), max(finite)
    span = high - low
    return "".join(
        " " if not math.isfinite(value)
        # Halves first: the span of two huge numbers may be infinite.
        else BLOCKS[3] if not span
        else BLOCKS[min(7, int((value / 2 - low / 2) / (high / 2 - low / 2) * 8)) if high / 2 > low / 2 else 0]
        for value in values
    )  # fmt: skip
