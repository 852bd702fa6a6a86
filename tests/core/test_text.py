"""No byte of foreign text reaches the terminal as a command, and lines keep to their width."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from core.text import one_line, printable
from tests.timing import least

ANY = st.text(
    st.characters(codec=None, categories=None)
    | st.sampled_from("\x1b\x9b\r\n\t\x00\x7f\u202e\ud800\u0301🙂漢\ufe0f\u200d")
)

BIDI = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(ANY)
def test_no_control_survives(text: str) -> None:
    shown = printable(text)
    assert {c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")} <= {"\n", "\t"}
    assert not set(shown) & set(BIDI)
    shown.encode()


@given(ANY)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert printable(printable(text)) == printable(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Mn"]) | st.sampled_from("\n\t ")))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x1b]52;c;ZXZpbA==\x07", "␛]52;c;ZXZpbA==␇"),
        ("a\x9b2Jb", "a�2Jb"),
        ("a\r\nb\rc", "a\nb␍c"),
        ("x\x7f\x00", "x␡␀"),
        ("abc\u202eexe.txt", "abc�exe.txt"),
        ("\udc80", "�"),
        ("tab\there\nnext", "tab\there\nnext"),
    ],
)
def test_stand_ins(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY, st.integers(-1, 40))
def test_line_keeps_to_its_width(text: str, width: int) -> None:
    line = one_line(text, width)
    assert "\n" not in line
    assert "\t" not in line
    assert cell_len(line) <= max(width, 0)


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=40), st.integers(1, 60))
def test_line_is_cut_only_when_it_must_be(text: str, width: int) -> None:
    line = one_line(text, width)
    assert line == (text if len(text) <= width else text[: width - 1] + "…")


@pytest.mark.parametrize(
    ("text", "width", "line"),
    [
        ("a\n\n   b\tc", 20, "a b c"),
        ("  two  spaces ", 20, "two  spaces"),
        ("漢字漢字", 8, "漢字漢字"),
        ("漢字漢字", 7, "漢字漢…"),
        ("漢字漢字", 6, "漢字…"),
        ("漢字", 1, "…"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301…"),
        ("anything", 0, ""),
        ("one two", 5, "one…"),
    ],
)
def test_lines(text: str, width: int, line: str) -> None:
    assert one_line(text, width) == line


def test_a_huge_text_costs_its_first_line() -> None:
    text = "漢 word\n" * 2_000_000
    assert cell_len(one_line(text, 80)) <= 80
    assert least(lambda: one_line(text, 80)) < 0.05


def test_a_tower_of_marks_ends() -> None:
    assert len(one_line("a" + "\u0301" * 100_000, 80)) < 1000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("👩‍👩‍👧 family", "👩👩👧 family"),
        ("👩‍❤️‍👨", "👩❤👨"),
        ("❤️ 1️⃣", "❤ 1⃣"),
        ("क्\u200dष", "क्ष"),
    ],
)
def test_joined_emoji_become_their_parts(text: str, shown: str) -> None:
    assert printable(text) == shown
    # As many cells as its characters take one by one, which is what a terminal is told.
    assert cell_len(shown) == sum(map(cell_len, shown))
