"""Times as a person types them: `2d` and `90m`, `2026-11-21`, `yesterday`."""

from __future__ import annotations

import datetime
import re

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_CLOCK = re.compile(r"(?:(today|tomorrow)\s+)?(\d{1,2}):(\d{2})")
_LONGEST = 1e10

SPANS = "90s, 5m, 2h, 3d or 1w"
LATER = "22:00, tomorrow 6:30, +2h, 2026-11-21T14:30 or now"
MOMENTS = "2d (ago), today, yesterday, 2026-11-21 or 2026-11-21T14:30"


def span(text: str) -> float | None:
    """Seconds; None where it is no span of time."""
    match = _SPAN.fullmatch(text.strip().casefold())
    seconds = float(match[1]) * _UNITS[match[2]] if match else None
    return seconds if seconds is not None and seconds < _LONGEST else None


def moment(text: str, now: float) -> float | None:
    """Unix seconds, days in local time; None where it is no moment."""
    ago = span(text)
    if ago is not None:
        return now - ago
    word = text.strip().casefold()
    try:
        if word in ("today", "yesterday"):
            day = datetime.datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
            return (day - datetime.timedelta(days=word == "yesterday")).timestamp()
        return datetime.datetime.fromisoformat(word).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def later(text: str, now: float) -> float | None:
    """Unix seconds of a moment to come, in local time; None where it is none. `now` is now; 22:00 the next one there
    is; +2h and 2h are from now on."""
    word = text.strip().casefold()
    if word == "now":
        return now
    ahead = span(word.removeprefix("+"))
    if ahead is not None:
        return now + ahead
    clock = _CLOCK.fullmatch(word)
    try:
        if clock is None:
            found = datetime.datetime.fromisoformat(word).timestamp()
            return found if found > now else None
        today = datetime.datetime.fromtimestamp(now)
        at = today.replace(hour=int(clock[2]), minute=int(clock[3]), second=0, microsecond=0)
        if clock[1] == "tomorrow" or (clock[1] is None and at.timestamp() <= now):
            at += datetime.timedelta(days=1)
        return at.timestamp() if at.timestamp() > now else None
    except (ValueError, OverflowError, OSError):
        return None
