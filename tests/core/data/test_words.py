"""Text as words to compare."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.words import words, words_with_places


def test_case_and_punctuation_do_not_matter() -> None:
    assert words("Janet's ducks — lay 16 eggs, PER day!") == words("janet’s ducks lay\n16 eggs per day")
    assert words("has_close_elements(a)") == ["has", "close", "elements", "a"]
    assert words("e\u0301tude ﬁve") == ["étude", "five"]


def test_scripts_without_spaces_count_characters() -> None:
    assert words("今日は good") == ["今", "日", "は", "good"]


def test_nothing_but_punctuation_has_no_words() -> None:
    assert words("?! ____ ---") == [] == words("…")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_every_word_stands_where_it_is_said_to(text: str) -> None:
    for word, begin, end in words_with_places(text):
        assert word in words(text[begin:end])


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_ascii_words_are_those_at_their_places(text: str) -> None:
    assert words(text) == [word for word, _, _ in words_with_places(text)]
