"""SFT examples: the forms that are accepted, the reasons for the others, and their counting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.data.examples import Example, count_examples, holds_examples, read_examples
from core.data.jsonl import BadRow

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}


def read(tmp_path: Path, row: dict[str, Any]) -> Example | BadRow:
    path = tmp_path / "sft.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (found,) = read_examples(path)
    return found


@pytest.mark.parametrize(
    ("row", "prompt", "response"),
    [
        ({"prompt": "a ", "response": " b", "id": 3}, "a ", " b"),
        ({"prompt": "a", "completion": "b"}, "a", "b"),
        ({"messages": [SYSTEM, USER, ANSWER]}, [SYSTEM, USER], [ANSWER]),
        ({"messages": [USER, ANSWER, USER, ANSWER]}, [USER, ANSWER, USER], [ANSWER]),
        ({"prompt": [SYSTEM, USER], "completion": [ANSWER]}, [SYSTEM, USER], [ANSWER]),
        ({"prompt": "Hi", "completion": [ANSWER]}, [USER], [ANSWER]),
        ({"prompt": [USER], "response": "Hello"}, [USER], [ANSWER]),
        ({"prompt": [USER], "response": [USER, ANSWER]}, [USER], [ANSWER]),
    ],
)
def test_accepted_forms(tmp_path: Path, row: dict[str, Any], prompt: Any, response: Any) -> None:
    assert read(tmp_path, row) == Example(1, prompt, response)


@pytest.mark.parametrize(
    ("row", "kind", "field", "words"),
    [
        ({"instruction": "a", "output": "b"}, "missing", "prompt", "the row has instruction, output"),
        ({"prompt": "a", "text": "b"}, "missing", "response", "response is missing"),
        ({"prompt": None, "response": "b"}, "missing", "prompt", "prompt is null"),
        ({"prompt": "a", "response": ""}, "empty", "response", "is empty"),
        ({"prompt": "a", "completion": 1}, "type", "completion", "not the number 1"),
        ({"messages": "text"}, "type", "messages", "must be a list of messages"),
        ({"messages": []}, "empty", "messages", "holds no messages"),
        ({"messages": [USER]}, "messages", "messages", "end with a turn of the user"),
        ({"messages": [ANSWER]}, "prompt", "messages", "hold a response only"),
        ({"messages": [USER, {"role": "assistant"}]}, "messages", "messages[1].content", "must be text, not null"),
        ({"prompt": [USER], "response": [USER]}, "messages", "response", "must end with a turn of the assistant"),
    ],
)
def test_a_bad_row_names_field_and_reason(
    tmp_path: Path, row: dict[str, Any], kind: str, field: str, words: str
) -> None:
    found = read(tmp_path, row)
    assert isinstance(found, BadRow)
    assert (found.line, found.kind, found.field) == (1, kind, field)
    assert words in found.reason


def test_counting(tmp_path: Path) -> None:
    path = tmp_path / "sft.jsonl"
    rows = [
        {"prompt": "a", "response": "b"},
        {"prompt": "a", "response": "c"},
        {"prompt": "x"},
        {"messages": [USER, ANSWER]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n" * 30)
    found = count_examples(path)
    assert (found.rows, found.valid, found.unique_prompts) == (34, 3, 2)
    assert found.errors == {"json": 30, "missing": 1}
    assert len(found.examples) == 20
    assert found.examples[0].line == 3


@pytest.mark.parametrize(
    ("row", "is_examples"),
    [
        ({"prompt": "a", "response": "b"}, True),
        ({"messages": [USER, ANSWER]}, True),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, False),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "messages": []}, False),
        ({"text": "a"}, False),
    ],
)
def test_a_file_of_examples_is_told_from_one_of_pairs(tmp_path: Path, row: dict[str, Any], is_examples: bool) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text("{\n" + json.dumps(row) + "\n")
    assert holds_examples(path) is is_examples
