"""Verdicts on disk: nothing lost, nothing doubled, a torn line taken off; and the questions they answer."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from core.data.jsonl import BadRow
from core.errors import UserError
from core.generation.groups import Question, groups, questions
from core.generation.verdicts import Said, Verdicts, read_verdicts


def test_what_was_said_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    first = Verdicts(path)
    assert first.append("ann", [(Question(1, 0, 1), Said("A", None, "", "so \ud800 it is")), (Question(1, 0), Said())])
    assert first.append("ann", [(Question(1, 0, 1), Said("B"))]) == 0
    assert first.append("bob", [(Question(1, 0, 1), Said("B", 0.5))]) == 1
    first.close()
    again = Verdicts(path)
    assert again.of("ann") == {Question(1, 0, 1): Said("A"), Question(1, 0): Said()}
    assert again.of("bob") == {Question(1, 0, 1): Said("B", 0.5)}
    assert len(again) == 3
    again.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [row["text"] for row in read_verdicts(path)] == ["so ? it is", "", ""]


@pytest.mark.parametrize("torn", [b'{"judge": "ann", "li', b"{", b"\xff\xff"])
def test_a_torn_line_is_taken_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "verdicts.jsonl"
    book = Verdicts(path)
    book.append("ann", [(Question(1, 0, 1), Said("A"))])
    book.close()
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    book = Verdicts(path)
    assert len(book) == 1
    book.append("ann", [(Question(2, 0, 1), Said("B"))])
    book.close()
    assert path.read_bytes().startswith(whole)
    assert [row["line"] for row in read_verdicts(path)] == [1, 2]


def test_a_file_that_another_hand_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_text('{"judge": "ann"}\n')
    with pytest.raises(UserError, match=r"verdicts\.jsonl:1: is no verdict"):
        Verdicts(path)


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_candidates_repeated_responses_collapse(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.jsonl",
        {"prompt": "p", "responses": ["a", {"text": " a "}, "b", "c"]},
        {"prompt": "q", "responses": []},
        {"prompt": "r", "responses": ["only"]},
    )
    one, bad, alone = groups(path)
    assert (one.responses, one.repeated, one.preferred) == (("a", "b", "c"), 1, False)
    assert isinstance(bad, BadRow)
    assert questions(one, "pairwise") == [
        Question(1, 0, 1), Question(1, 1, 0), Question(1, 0, 2), Question(1, 2, 0), Question(1, 1, 2), Question(1, 2, 1)
    ]  # fmt: skip
    assert questions(one, "scores") == [Question(1, 0), Question(1, 1), Question(1, 2)]
    assert questions(alone, "pairwise") == questions(alone, "scores") == []


def test_drawn_comparisons_are_the_same_for_every_judge(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", {"prompt": "p", "responses": list("abcdef")})
    (group,) = groups(path)
    drawn = questions(group, "pairwise", per_prompt=4, seed=1)
    assert len(drawn) == 8
    assert drawn == questions(group, "pairwise", per_prompt=4, seed=1)
    assert any(drawn != questions(group, "pairwise", per_prompt=4, seed=seed) for seed in range(2, 6))
    # Each in both orders.
    assert {(q.first, q.second) for q in drawn} == {(q.second, q.first) for q in drawn}


def test_pairs_prefer_their_first(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"prompt": "p", "chosen": "good", "rejected": "bad"})
    (group,) = groups(path)
    assert (group.responses, group.preferred) == (("good", "bad"), True)
