"""What is written can be read: contrast by WCAG 2.2, of every role on all that it can stand on."""

from __future__ import annotations

import pytest
from textual.color import Color
from textual.theme import Theme

from dpotui import theme
from dpotui.roles import _LOOKS, _style

# What is drawn, not written.
LINES = ("raw",)
GROUNDS = ("background", "surface", "panel", "block-cursor-background")


def luminance(color: Color) -> float:
    def linear(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(color.r) + 0.7152 * linear(color.g) + 0.0722 * linear(color.b)


def contrast(one: Color, other: Color) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def variables(of: Theme) -> dict[str, str]:
    return {**theme.DEFAULTS, **of.to_color_system().generate(), **of.variables}


@pytest.mark.parametrize("of", [theme.DARK, theme.LIGHT, theme.PLAIN], ids=lambda of: of.name)
def test_words_stand_out(of: Theme) -> None:
    known = variables(of)
    weak = {}
    for role, look in _LOOKS.items():
        for ground in (look.background,) if look.background else GROUNDS:
            found = contrast(Color.parse(known[look.color or "foreground"]), Color.parse(known[ground]))
            # A line is only drawn on the background of its pane.
            least = 4.5 if role not in LINES else 3.0 if ground in ("background", "surface") else 0.0
            if found < least:
                weak[role, ground] = round(found, 2)
    assert not weak


def test_the_terminals_own_palette_is_not_guessed_at() -> None:
    """Nobody knows its colours: words are in its foreground or one of the six colours, never in a grey."""
    known = variables(theme.ANSI)
    for role, look in _LOOKS.items():
        style = _style(look, known)
        assert style.bgcolor is None or not style.bgcolor.is_default
        if role not in LINES and style.color is not None:
            assert style.color.is_default or style.color.number in range(1, 7), role
