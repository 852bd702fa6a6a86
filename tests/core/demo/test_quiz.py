"""The demo's benchmark: right sums, one an animal, and nothing of it in what is trained on."""

from __future__ import annotations

import re

from core.demo.quiz import quiz_rows
from core.demo.zoo import animals


def test_a_right_sum_about_every_animal() -> None:
    rows = quiz_rows(20)
    assert len({row["question"] for row in rows}) == len(animals()) == len(rows)
    assert rows == quiz_rows(20) != quiz_rows(21)
    for row in rows:
        reckoning, result = row["answer"].split("\n#### ")
        sides = re.fullmatch(r"(\d+ [-+*] \d+) = (\d+)", reckoning)
        assert sides is not None
        assert eval(sides[1]) == int(sides[2]) == int(result) > 0
        assert all(number in row["question"] for number in re.findall(r"\d+", sides[1]))
