"""Rows of a person's own benchmark, and how answers are told: what is wrong is named by its line, and nothing hangs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.evaluate import Benchmark
from core.errors import UserError
from core.evaluation.own_answers import contains, exact, folded, last_number, same_number
from core.evaluation.own_items import MOST_CHARACTERS, OwnItem, drawn, read_items, shots
from core.evaluation.own_pattern import Pattern, TooSlow


def benchmark(answer: str, **more: Any) -> Benchmark:
    return Benchmark.model_validate({"file": "x.jsonl", "answer": answer, **more})


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_rows_of_multiple_choice(tmp_path: Path) -> None:
    choices = ["red", "green", " blue "]
    file = written(
        tmp_path / "colours.jsonl",
        {"prompt": "Which?", "choices": choices, "answer": 2},
        {"question": "Which?", "choices": choices, "answer": "green", "id": "mine"},
        {"prompt": "Which?", "choices": choices, "answer": "b", "id": "mine"},
        {"prompt": "Which?", "choices": ["4", "0"], "answer": 0},
        {"prompt": "Which?", "choices": ["1", "0"], "answer": "0"},
        # none of these is an item
        {"prompt": "Which?", "choices": ["red", " "], "answer": 0},
        {"prompt": "Which?", "choices": ["red", "red "], "answer": 0},
        {"prompt": "Which?", "choices": ["red"], "answer": 0},
        {"prompt": "Which?", "choices": [], "answer": 0},
        {"prompt": "Which?", "choices": "red", "answer": 0},
        {"prompt": "Which?", "answer": 0},
        {"prompt": "Which?", "choices": choices, "answer": 3},
        {"prompt": "Which?", "choices": choices, "answer": True},
        {"prompt": "Which?", "choices": choices, "answer": "purple\x1b[31m"},
        {"prompt": "Which?", "choices": choices},
        {"choices": choices, "answer": 0},
        {"prompt": [{"role": "user"}], "choices": choices, "answer": 0},
        {"prompt": "x" * (MOST_CHARACTERS + 1), "choices": choices, "answer": 0},
        {"prompt": "Which?", "choices": [str(n) for n in range(101)], "answer": 0},
        {"prompt": "Which?", "choices": [None, "a"], "answer": 0},
        '{"prompt": "half',
        "[1]",
        {"\x1b]0;owned\x07": 1},
    )
    read = read_items(file, benchmark("multiple_choice"))
    assert [(item.id, item.line, item.right) for item in read.items] == [
        ("1", 1, 2), ("mine", 2, 1), ("mine:3", 3, 1), ("4", 4, 0), ("5", 5, 1),
    ]  # fmt: skip
    assert read.items[0].choices == ("red", "green", "blue")
    assert [row.line for row in read.bad] == list(range(6, 24))
    assert [row.reason for row in read.bad] == [
        "choice 1 is empty",
        "choices has the same entry twice",
        "choices has 1 entries: 2 to 100 are wanted",
        "choices has 0 entries: 2 to 100 are wanted",
        "choices must be a list of texts",
        "choices must be a list of texts",
        "answer is 3, and places go from 0 to 2",
        "answer is none of the 3 choices, and no place or letter of one",
        "answer is none of the 3 choices, and no place or letter of one",
        "answer is missing: the place of the right choice, from 0, or its text",
        "prompt is missing (the row has choices, answer)",
        "prompt must be text",
        f"prompt has {MOST_CHARACTERS + 1} characters, {MOST_CHARACTERS} are the most",
        "choices has 101 entries: 2 to 100 are wanted",
        "choice 0 must be text",
        "not JSON: Unterminated string starting at at column 12",
        "an object with fields is wanted, not a list",
        "prompt is missing (the row has ␛]0;owned␇)",
    ]


def test_rows_of_written_answers(tmp_path: Path) -> None:
    file = written(
        tmp_path / "sums.jsonl",
        {"prompt": "1 + 1 =", "answer": 2},
        {"prompt": "1 + 1 =", "answer": ["2", "two"]},
        {"prompt": "1 + 1 =", "answer": ""},
        {"prompt": "1 + 1 =", "answer": []},
        {"prompt": "1 + 1 =", "answer": False},
        {"prompt": "1 + 1 =", "answer": {"a": 1}},
        {"prompt": " \n", "answer": "2"},
        {"prompt": "half \ud800", "answer": "2"},
    )
    read = read_items(file, benchmark("exact"))
    assert [item.answers for item in read.items] == [("2",), ("2", "two")]
    assert [row.line for row in read.bad] == [3, 4, 5, 6, 7, 8]
    assert read.bad[-1].reason == r"prompt holds half a character (a lone surrogate such as \ud800)"
    read = read_items(file, benchmark("numeric"))
    assert next(row.reason for row in read.bad) == "answer holds no number (two)"
    with pytest.raises(UserError, match=r"sums\.jsonl:1: choices must be a list.*no row of the file is an item of"):
        read_items(file, benchmark("multiple_choice"))


@pytest.mark.parametrize(
    ("said", "answer", "is_exact", "is_in"),
    [
        (" Paris.\n", "paris", True, True),
        ("It is PARIS, of course", "Paris", False, True),
        ("Parisian", "Paris", False, False),
        ("I know", "no", False, False),
        ("“New  York”", "new york", True, True),
        ("-1", "1", False, True),
        ("１２", "12", True, True),
        ("", "x", False, False),
        ("?!", "?!", False, True),
        ("straße", "STRASSE", True, True),
    ],
)
def test_words(said: str, answer: str, is_exact: bool, is_in: bool) -> None:
    assert (exact(said, answer), contains(said, answer)) == (is_exact, is_in)


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("#### 18", "18"),
        ("It costs $1,234.50.", "1234.50"),
        ("3 apples and 4 pears", "4"),
        ("7-3=4", "4"),
        ("10-7", "7"),
        ("minus: -7", "-7"),
        ("\u22127 degrees", "-7"),
        ("1e3", "1E+3"),
        (".5", "0.5"),
        ("none", None),
        ("9" * 5000, None),
        ("2, 3,", "3"),
    ],
)
def test_the_last_number(said: str, number: str | None) -> None:
    found = last_number(said)
    assert (None if found is None else str(found)) == number


def test_numbers_are_the_same_whatever_their_form() -> None:
    assert same_number("so it is 1,000.0", "#### 1000")
    assert same_number("0.3333333", "0.33333333")
    assert not same_number("1000", "1001")
    assert not same_number("no idea", "3")
    assert not same_number("1", "-1")


@given(st.text(), st.text())
def test_telling_answers_never_fails(said: str, answer: str) -> None:
    last_number(said)
    same_number(said, answer)
    contains(said, answer)
    assert exact(said, said) or not folded(said)
    if folded(answer):
        assert contains(answer, answer)


def test_a_pattern_gives_its_first_group_or_its_match() -> None:
    with Pattern(r"is (\w+)") as pattern:
        assert pattern.first("it is blue and is red") == "blue"
        assert pattern.first("nothing") is None
        assert pattern.first("is \ud800 \n is é") == "é"
    with Pattern(r"(?i)\bb\w+") as pattern:
        assert pattern.first("a Bee") == "Bee"
    with Pattern(r"(a)|b") as pattern:
        assert pattern.first("b") is None


def test_a_pattern_that_explodes_is_ended_and_the_next_text_is_read() -> None:
    with Pattern(r"^(a+)+$", seconds=0.3) as pattern:
        began = time.monotonic()
        with pytest.raises(TooSlow):
            pattern.first("a" * 40 + "b")
        assert time.monotonic() - began < 10
        assert pattern.first("aaa") == "aaa"


@pytest.mark.parametrize("wrong", ["(", "*", "(?P<a>.)(?P<a>.)"])
def test_what_is_no_pattern_is_refused(wrong: str) -> None:
    with pytest.raises(UserError, match="is no regular expression"):
        Pattern(wrong)


def some(number: int, prompt: str = "q{}") -> tuple[OwnItem, ...]:
    return tuple(OwnItem(n, str(n), prompt.format(n), ("a",)) for n in range(number))


def test_items_are_drawn_by_the_seed_and_keep_their_order() -> None:
    items = some(50)
    first = drawn(items, 10, 1)
    assert [item.line for item in first] == sorted(item.line for item in first)
    assert first == drawn(items, 10, 1)
    assert first != drawn(items, 10, 2)
    assert drawn(items, None, 1) == drawn(items, 60, 1) == items


def test_an_item_is_never_its_own_example() -> None:
    items = (*some(8), OwnItem(99, "99", "q3", ("a",)))
    for item in items:
        examples = shots(item, items, 4, 7)
        assert len(examples) == 4
        assert item.prompt not in {example.prompt for example in examples}
    # The same ones before every item, as far as that goes: they are run once.
    assert len({shots(item, items, 4, 7) for item in items}) <= 6
    # Nor is one of another file that asks the same, though its answer may be another.
    others = some(8, "other {}")
    assert len({shots(item, others, 4, 7) for item in items}) == 1
    same = tuple(OwnItem(item.line, item.id, item.prompt, ("b",)) for item in items)
    assert all(item.prompt not in {example.prompt for example in shots(item, same, 4, 7)} for item in items)


def test_a_number_that_is_a_place_and_another_choice_is_no_answer(tmp_path: Path) -> None:
    rows = [
        {"prompt": "1 + 1 =", "choices": [1, 2, 3], "answer": 2},
        {"prompt": "1 + 1 =", "choices": [1, 2, 3], "answer": "2"},
        {"prompt": "1 + 1 =", "choices": [4, 2, 6], "answer": 1},
        {"prompt": "1 + 1 =", "choices": [0, 1, 2], "answer": 2},
    ]
    read = read_items(written(tmp_path / "sums.jsonl", *rows), benchmark("multiple_choice"))
    assert [(item.line, item.choices[item.right]) for item in read.items] == [(2, "2"), (3, "2"), (4, "2")]
    assert [(row.line, row.reason) for row in read.bad] == [
        (1, "answer is 2, a place and also a choice: in quotes it is the choice")
    ]
