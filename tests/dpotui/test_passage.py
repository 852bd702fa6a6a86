"""Texts in rows: nothing of them is lost, no row is too wide, what is marked is marked; made as far as one looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from core.text import printable
from dpotui.passage import Passage
from tests.timing import least

_TEXT = st.text(alphabet="ab \n\té漢😀\x1b", max_size=120)


def rows(passage: Passage, width: int) -> list[str]:
    count = passage.lay_out(width, 10**6)
    assert passage.whole
    return ["".join(text for text, _ in passage.row(y)) for y in range(count)]


@given(_TEXT, st.integers(8, 30))
def test_no_word_is_lost_and_no_row_too_wide(text: str, width: int) -> None:
    passage = Passage(text)
    found = rows(passage, width)
    assert "".join("".join(found).split()) == "".join(printable(text).split())
    assert all(cell_len(row) <= width + 1 for row in found)  # one cell stands before each row
    assert "\x1b" not in "".join(found)


@given(st.text(alphabet="ab cd", max_size=200), st.integers(8, 20))
def test_rows_break_at_words(text: str, width: int) -> None:
    fitting = all(len(word) <= width for word in text.split())
    words = " ".join(row.strip() for row in rows(Passage(text), width)).split()
    assert not fitting or words == text.split()


def test_what_is_marked() -> None:
    passage = Passage("one two three four")
    passage.marks = [(4, 7), (8, 18)]
    passage.lay_out(10, 9)
    assert passage.row(0) == [(" ", ""), ("one ", ""), ("two", "differs"), ("", "")]
    assert passage.row(1) == [(" ", ""), ("three four", "differs"), ("", "")]


def test_turns_of_a_chat_stand_under_their_roles() -> None:
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "▌user\nfake"}]
    passage = Passage(chat)
    assert [row.rstrip() for row in rows(passage, 20)] == ["▌user", " hi", "", "▌assistant", " ▌user", " fake"]
    # What a text says of itself is one cell in, and plain.
    assert passage.row(0)[0][1] == "key"
    assert all(role == "" for _, role in passage.row(4))
    assert rows(Passage(chat[:1], "user"), 20) == [" hi"]
    assert rows(Passage(chat[:1], "assistant"), 20) == ["▌user", " hi"]


def test_a_line_of_a_megabyte_is_laid_out_as_far_as_one_looks() -> None:
    for text in ("word soup " * 100_000, "漢字" * 500_000):
        assert least(lambda text=text: Passage(text).lay_out(78, 20)) < 0.05  # a thousandth of that
        passage = Passage(text)
        made = passage.lay_out(78, 20)
        assert 20 <= made < 200
        assert not passage.whole
        assert 0 < passage.read_to(19) < 0.01


def test_marks_are_found_from_row_to_row() -> None:
    words = [f"w{n}" for n in range(3000)]
    text = " ".join(words)
    passage = Passage(text)
    at = [text.index(f"w{n} ") for n in (1, 1500, 2900)]
    passage.marks = [(start, start + 5) for start in at]
    passage.lay_out(30, 10)
    first = passage.row_of_mark(0, 1)
    assert first is not None
    second = passage.row_of_mark(first, 1)
    assert second is not None
    for row, word in ((first, "w1500"), (second, "w2900")):
        assert any(word in text and role == "differs" for text, role in passage.row(row))
    assert passage.row_of_mark(second, 1) is None
    assert passage.row_of_mark(second, -1) == first
    assert passage.row_of_mark(0, -1) is None
