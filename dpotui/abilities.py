"""What the person's terminal can show: read from its environment and terminfo, asked of nobody over a slow line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from rich.color import ColorSystem

# Terminals of terminfo's own small world, where it has no entry for them (macOS knows few).
_COLOURS = {"linux": 8, "ansi": 8, "cons25": 8, "vt100": 0, "vt102": 0, "vt220": 0, "xterm-mono": 0}
_MANY = ("kitty", "alacritty", "ghostty", "wezterm", "foot", "iterm", "contour", "rio")
# Their fonts have no braille and no round corners, if they have anything beyond ASCII.
_SIMPLE = ("linux", "ansi", "cons25", "vt100", "vt102", "vt220", "vt52")


class Abilities(NamedTuple):
    theme: str  # the one that suits
    ascii: bool  # nothing beyond ASCII can be drawn
    colours: ColorSystem | None  # None: bold, underlined and reverse are all there is


# Of a good terminal that says nothing about itself.
ALL = Abilities("dpotui-dark", False, ColorSystem.TRUECOLOR)


def of(environment: Mapping[str, str]) -> Abilities:
    """What can be shown where the environment says so."""
    term = environment.get("TERM", "")
    colours = _colours(term, environment.get("COLORTERM", "").lower())
    ascii = term.startswith(_SIMPLE) or _other_encoding(environment)
    if colours is None or environment.get("NO_COLOR"):
        return Abilities("dpotui-plain", ascii, colours)
    if colours is ColorSystem.STANDARD:
        return Abilities("dpotui-ansi", ascii, colours)
    return Abilities("dpotui-light" if _light(environment) else "dpotui-dark", ascii, colours)


def _colours(term: str, wanted: str) -> ColorSystem | None:
    if wanted in ("truecolor", "24bit"):
        return ColorSystem.TRUECOLOR
    number = _terminfo(term)
    if number is None:
        number = 256 if "256" in term or any(name in term for name in _MANY) else _COLOURS.get(term, 8)
    if number < 8:
        return None
    return ColorSystem.EIGHT_BIT if number >= 256 else ColorSystem.STANDARD


def _terminfo(term: str) -> int | None:
    """How many colours terminfo says it has; None where it does not know it."""
    import curses

    try:
        curses.setupterm(term, 2)
    except (curses.error, TypeError):
        return None
    return curses.tigetnum("colors")


def _other_encoding(environment: Mapping[str, str]) -> bool:
    """Whether the locale names an encoding that is not UTF-8. None named says nothing: ssh often hands on no locale."""
    locale = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    found = re.search(r"\.([^@]+)", locale)
    return found is not None and found[1].lower().replace("-", "") != "utf8"


def _light(environment: Mapping[str, str]) -> bool:
    """Whether the terminal says that its background is light: the last of "foreground;background"."""
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    return background in ("7", "15")
