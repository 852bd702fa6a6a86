"""Benchmark files as they come."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from core.data.benchmarks import find_benchmarks, read_benchmark
from core.errors import UserError
from core.workspace import Workspace


def texts(tmp_path: Path, *rows: dict[str, Any]) -> list[str]:
    return [item.text for item in read_benchmark(file(tmp_path, *rows))]


def file(tmp_path: Path, *rows: dict[str, Any], name: str = "quiz.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_question_is_the_item(tmp_path: Path) -> None:
    assert texts(
        tmp_path,
        {"subject": "algebra", "question": "Find all c in Z_3.", "choices": ["0", "1"], "answer": 1},
        {"question": "How many eggs?", "answer": "16 #### 16"},
        {"task_id": "HumanEval/0", "prompt": "def f():\n", "canonical_solution": "return 1", "test": "def check"},
        {"passage": "The game began.", "question": "Who won?"},
        {"name": "x", "story_title": "A long title", "ending": "And so it ended."},
        {"messages": [{"role": "system", "content": "Be good."}, {"role": "user", "content": "Add 2 and 2."}]},
    ) == [
        "Find all c in Z_3.",
        "How many eggs?",
        "def f():\n",
        "The game began.\nWho won?",
        "A long title\nAnd so it ended.",
        "Add 2 and 2.",
    ]


def test_a_short_question_of_several_items_takes_its_choices_with_it(tmp_path: Path) -> None:
    which = "Which of the following is true?"
    found = texts(
        tmp_path,
        {"question": which, "choices": ["Cats bark", "Dogs bark"]},
        {"question": which.upper(), "choices": ["Two is odd", "Three is odd"]},
        {"question": "What is gold?", "choices": ["A metal"]},
        {"question": "What is gold?", "choices": ["A metal"]},
    )
    assert found == [
        f"{which}\nCats bark\nDogs bark",
        f"{which.upper()}\nTwo is odd\nThree is odd",
        "What is gold?",
        "What is gold?",
    ]


def test_an_id_that_stays(tmp_path: Path) -> None:
    path = file(tmp_path, {"task_id": "HumanEval/0", "prompt": "a"}, {"question": "b"}, {"id": 7, "question": "c"})
    assert [item.id for item in read_benchmark(path)] == ["HumanEval/0", "quiz.jsonl:2", "7"]


def test_a_row_that_cannot_be_compared_is_no_clean_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"quiz\.jsonl:2: no text to compare .*answer"):
        read_benchmark(file(tmp_path, {"question": "a"}, {"answer": 3}))
    (tmp_path / "bad.jsonl").write_text('{"question": "a"}\n{\n')
    with pytest.raises(UserError, match=r"bad\.jsonl:2: .*mend the benchmark"):
        read_benchmark(tmp_path / "bad.jsonl")


def test_those_of_a_workspace(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert find_benchmarks(workspace) == []
    folder = tmp_path / "data" / "benchmarks"
    folder.mkdir(parents=True)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(b'{"question": "What is it?"}\n'))
    for name in ("a.jsonl", "notes.md", "a.jsonl.manifest.json"):
        (folder / name).write_text("{}")
    (folder / "c.jsonl").mkdir()
    assert [path.name for path in find_benchmarks(workspace)] == ["a.jsonl", "b.jsonl.gz"]
    assert [item.text for item in read_benchmark(folder / "b.jsonl.gz")] == ["What is it?"]
