from __future__ import annotations

import pytest

from dpotui.osc import notice


def test_a_notice_is_one_sequence_with_nothing_of_its_words_in_control() -> None:
    said = notice("dpo-001 failed: \x1b]52;c;AAAA\x07 \x9c9;4;1 \nmore", {"TERM": "xterm-256color"}, "auto")
    assert said.startswith("\x1b]9;dpotui: dpo-001 failed: ")
    assert said.endswith("\x07")
    inner = said[2:-1]
    assert not [c for c in inner if ord(c) < 32 or 127 <= ord(c) < 160]


def test_tmux_hands_it_on() -> None:
    said = notice("done", {"TERM": "screen-256color", "TMUX": "/tmp/x,1,0"}, "auto")
    assert said == "\x1bPtmux;\x1b\x1b]9;dpotui: done\x07\x1b\\"


@pytest.mark.parametrize(
    ("term", "wanted", "told"),
    [
        ("xterm-256color", "auto", True),
        ("xterm-256color", "off", False),
        ("linux", "auto", False),
        ("linux", "on", True),
        ("vt100", "auto", False),
        ("screen", "auto", False),
    ],
)
def test_terminals_that_would_show_it_as_text_get_none(term, wanted, told) -> None:
    assert bool(notice("done", {"TERM": term}, wanted)) is told


def test_a_long_text_is_cut() -> None:
    assert len(notice("x" * 100_000, {"TERM": "xterm"}, "auto")) < 200
