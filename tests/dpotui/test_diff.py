"""Word differences: what is unmarked is the same in both, whatever the texts; and long ones cost a bounded time."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dpotui import diff
from dpotui.diff import marked_share, words
from tests.timing import least

_TEXT = st.text(alphabet="ab c.\n漢字é_", max_size=40)


def _shown(text: str, ranges: list[tuple[int, int]]) -> str:
    """The text with what is marked in brackets."""
    for start, stop in reversed(ranges):
        text = f"{text[:start]}[{text[start:stop]}]{text[stop:]}"
    return text


def _both(first: str, second: str) -> tuple[str, str]:
    left, right = words(first, second)
    return _shown(first, left), _shown(second, right)


def test_whole_words_are_marked() -> None:
    assert _both("The cat sat on the mat.", "The cart sat on a mat.") == (
        "The [cat] sat on [the] mat.",
        "The [cart] sat on [a] mat.",
    )
    assert _both("2 + 2 = 4", "2 + 2 = 42") == ("2 + 2 = [4]", "2 + 2 = [42]")
    assert _both("yes", "yes, indeed") == ("yes", "yes[, indeed]")


def test_what_is_the_same_has_no_mark() -> None:
    assert words("one two", "one two") == ([], [])
    assert words("", "") == ([], [])
    assert words("one  two\n", "one two") == ([], [])  # blanks are no words


def test_nothing_in_common_marks_all() -> None:
    assert _both("alpha beta", "gamma") == ("[alpha beta]", "[gamma]")
    assert _both("", "gamma delta") == ("", "[gamma delta]")


def test_a_word_that_happens_to_stand_in_both_is_no_common_part() -> None:
    first = "one two three four the five six seven eight"
    second = "een twee drie vier the vijf zes zeven acht"
    assert _both(first, second) == (f"[{first}]", f"[{second}]")


def test_scripts_without_blanks_are_compared_by_character() -> None:
    assert _both("我喜欢红茶", "我喜欢绿茶") == ("我喜欢[红]茶", "我喜欢[绿]茶")


@given(_TEXT, _TEXT)
def test_without_what_is_marked_the_words_are_the_same(first: str, second: str) -> None:
    left, right = words(first, second)

    def rest(text: str, ranges: list[tuple[int, int]]) -> list[str]:
        for start, stop in reversed(ranges):
            text = f"{text[:start]} {text[stop:]}"
        return diff._WORD.findall(text)

    assert rest(first, left) == rest(second, right)
    for text, ranges in ((first, left), (second, right)):
        assert all(0 <= a < b <= len(text) for a, b in ranges)
        assert all(one[1] <= other[0] for one, other in pairwise(ranges))


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=12))
def test_the_common_part_is_the_longest(left: list[str], right: list[str]) -> None:
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    found = diff._common(left, right)
    assert len(found) == table[-1][-1]
    assert all(left[i] == right[j] for i, j in found)
    assert all(x[0] < y[0] and x[1] < y[1] for x, y in pairwise(found))


def test_long_texts_take_a_bounded_time() -> None:
    chance = random.Random(1)
    first = " ".join(chance.choice(("to", "be", "or", "not")) for _ in range(300_000))
    second = " ".join(chance.choice(("to", "be", "or", "not")) for _ in range(300_000))
    assert least(lambda: words(first, second), 3) < 1.0  # 0.1 on two slow cores
    left, _ = words(first, second)
    assert left
    assert left[-1][1] < len(first) // 10  # what comes after the first 6,000 words is not compared


def test_how_much_is_marked() -> None:
    assert marked_share("abcd", [(0, 1), (2, 3)]) == 0.5
    assert marked_share("", []) == 0.0
