"""How times, spans of time and values are said: short, with units, the same everywhere."""

from __future__ import annotations

import math
import time as _time


def number(value: float) -> str:
    """A number in seven characters and its sign, three or four digits that count."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    size = abs(value)
    if value == int(value) and size < 1e5:
        return f"{value:.0f}"
    if size < 1e-3 or size >= 1e7:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    if size >= 1e5:
        return f"{value / 1e3:.0f}k" if size < 1e6 else f"{value / 1e6:.2f}M"
    if size >= 1000:
        return f"{value:.0f}"
    power = math.floor(math.log10(size))
    return f"{value:.{3 - power if power >= 0 else 2 - power}f}"


def steps(value: float) -> str:
    """A number of steps, as short as it goes."""
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e4 and value % 100 == 0 else f"{value:g}"


def clock(moment: float) -> str:
    return _time.strftime("%H:%M:%S", _time.localtime(moment))


def date(moment: float | None) -> str:
    return _time.strftime("%Y-%m-%d %H:%M", _time.localtime(moment)) if moment else "—"


def span(seconds: float) -> str:
    """A time that something takes: 08:31, 2:08:31, 3 d 04 h."""
    whole = max(0, round(seconds))
    if whole >= 2 * 86400:
        return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"


def minutes(amount: float) -> str:
    """How long a person still needs: '40 min', '1.7 h'."""
    return f"{amount:.0f} min" if amount < 90 else f"{amount / 60:.1f} h"


def age(now: float, moment: float | None) -> str:
    """How long ago something was: now, 5 m, 3 h, 2 d."""
    if not moment:
        return "—"
    seconds = max(0.0, now - moment)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "now"


def ago(now: float, moment: float) -> str:
    """The same in a sentence: just now, 5 m ago."""
    told = age(now, moment)
    return "just now" if told == "now" else f"{told} ago"


def value(amount: float | None, unit: str = "") -> str:
    if amount is None:
        return "—"
    text = number(amount)
    return f"{text}%" if unit == "%" else f"{text} {unit}".rstrip()


def bar(done: int, total: int, width: int) -> tuple[str, str]:
    """A bar of `width` cells: what is done, and what is left of it."""
    filled = min(width, width * done // total) if total > 0 else 0
    return "━" * filled, "╌" * (width - filled)
