"""What is drawn where, by what the environment says of the terminal."""

from __future__ import annotations

import pytest
from rich.color import ColorSystem

from dpotui import abilities
from dpotui.abilities import Abilities

MANY, SIXTEEN, FULL = ColorSystem.EIGHT_BIT, ColorSystem.STANDARD, ColorSystem.TRUECOLOR


@pytest.fixture(autouse=True)
def terminfo(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A process reads terminfo once: here it is a table."""
    known = {"xterm-256color": 256, "tmux-256color": 256, "xterm": 8, "linux": 8, "vt100": -1, "screen": 8}
    monkeypatch.setattr(abilities, "_terminfo", known.get)
    return known


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-256color"}, Abilities("dpotui-dark", False, MANY)),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, Abilities("dpotui-dark", False, FULL)),
        ({"TERM": "xterm-256color", "COLORFGBG": "0;15"}, Abilities("dpotui-light", False, MANY)),
        ({"TERM": "xterm-256color", "COLORFGBG": "15;default;0"}, Abilities("dpotui-dark", False, MANY)),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, Abilities("dpotui-plain", False, MANY)),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, Abilities("dpotui-dark", False, MANY)),
        ({"TERM": "xterm-ghostty"}, Abilities("dpotui-dark", False, MANY)),  # terminfo of few machines
        ({"TERM": "never-heard-of"}, Abilities("dpotui-ansi", False, SIXTEEN)),
        ({"TERM": "xterm"}, Abilities("dpotui-ansi", False, SIXTEEN)),
        ({"TERM": "screen"}, Abilities("dpotui-ansi", False, SIXTEEN)),
        ({"TERM": "linux"}, Abilities("dpotui-ansi", True, SIXTEEN)),
        ({"TERM": "vt100"}, Abilities("dpotui-plain", True, None)),
        ({"TERM": "tmux-256color", "LANG": "de_DE.ISO-8859-1"}, Abilities("dpotui-dark", True, MANY)),
        ({"TERM": "tmux-256color", "LC_ALL": "C", "LANG": "de_DE.UTF-8"}, Abilities("dpotui-dark", False, MANY)),
        ({"TERM": "tmux-256color", "LANG": "C.utf8"}, Abilities("dpotui-dark", False, MANY)),
    ],
)
def test_terminals(environment: dict[str, str], expected: Abilities) -> None:
    assert abilities.of(environment) == expected
