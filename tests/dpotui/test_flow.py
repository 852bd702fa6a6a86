"""Wrapped text keeps every character and every mark where it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dpotui.flow import flow, found, marked, of_spans


@given(st.text(alphabet="ab cd漢\n é.", max_size=120), st.integers(2, 20), st.data())
def test_marks_stay_on_their_characters(text: str, width: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    marks = [(start, stop, "differs") for start, stop in zip(cuts[::2], cuts[1::2], strict=False)]
    rows = list(flow(text, marks, width))
    assert all(cell_len("".join(words for words, _ in row)) <= width for row in rows)
    letters = [(letter, role) for row in rows for words, role in row for letter in words if letter != " "]
    wanted = [
        (letter, "differs" if any(start <= i < stop for start, stop, _ in marks) else "")
        for i, letter in enumerate(text)
        if letter not in " \n"
    ]
    assert letters == wanted
    assert len(rows) >= text.count("\n") + 1


@given(st.lists(st.integers(0, 40), max_size=12), st.lists(st.integers(0, 40), max_size=12))
def test_what_was_sought_lies_over_differences(one: list[int], two: list[int]) -> None:
    def ranges(cuts: list[int]) -> list[tuple[int, int]]:
        ordered = sorted(set(cuts))
        return list(zip(ordered[::2], ordered[1::2], strict=False))

    differs, hits = ranges(one), ranges(two)
    marks = marked(differs, hits)
    assert marks == sorted(marks)
    for start, stop, _ in marks:
        assert start < stop
    for at in range(41):
        roles = [role for start, stop, role in marks if start <= at < stop]
        wanted = (
            ["hit"]
            if any(start <= at < stop for start, stop in hits)
            else ["differs"]
            if any(start <= at < stop for start, stop in differs)
            else []
        )
        assert roles == wanted


def test_words_are_found_in_any_case_and_as_they_are() -> None:
    assert found("a.b A.B axb", "a.b") == [(0, 3), (4, 7)]
    assert found("anything", "") == []


def test_spans_wrap_with_their_roles() -> None:
    rows = list(of_spans([("gap ", "dim"), ("0.25 and more", "")], 9))
    assert rows == [[("gap ", "dim"), ("0.25", "")], [("and more", "")]]
