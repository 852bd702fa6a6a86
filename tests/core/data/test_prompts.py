"""Prompts: of files of prompts, of pairs and of examples; each once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.jsonl import BadRow
from core.data.prompts import Prompt, load_prompts, read_prompts
from core.errors import UserError

USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "be kind"}
HELLO = {"role": "assistant", "content": "hello"}
BYE = {"role": "assistant", "content": "bye"}


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"prompt": "hi", "id": 3}, "hi"),
        ({"prompt": [SYSTEM, USER]}, [SYSTEM, USER]),
        ({"prompt": "hi", "chosen": "a", "rejected": "b"}, "hi"),
        ({"prompt": "hi", "response": "a"}, "hi"),
        ({"messages": [USER, HELLO]}, [USER]),
        ({"messages": [USER, HELLO, USER]}, [USER, HELLO, USER]),
        ({"chosen": [USER, HELLO], "rejected": [USER, BYE]}, [USER]),
        ({"chosen": [USER, HELLO, USER, HELLO], "rejected": [USER, HELLO, USER, BYE]}, [USER, HELLO, USER]),
    ],
)
def test_rows_that_have_a_prompt(tmp_path: Path, row: Any, text: Any) -> None:
    (found,) = read_prompts(written(tmp_path / "f", row))
    assert isinstance(found, Prompt)
    assert (found.line, found.text) == (1, text)


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        ({"prompt": " "}, "empty", "prompt is empty"),
        ({"prompt": None}, "missing", "prompt is null"),
        ({"text": "x"}, "missing", "prompt is missing (the row has text)"),
        ({"prompt": 3}, "type", "prompt must be text or a list of messages, not the number 3"),
        ({"messages": [HELLO]}, "prompt", "messages hold a response only: a turn before it is wanted"),
        ({"messages": "hi"}, "type", "messages must be a list of messages, not text"),
        ({"chosen": [USER], "rejected": [HELLO]}, "prompt",
         "prompt is missing, and chosen and rejected begin with different turns"),
        ({"chosen": "a", "rejected": "b"}, "missing", "prompt is missing (the row has chosen, rejected)"),
        ([], "object", "an object with fields is wanted, not a list"),
    ],
)  # fmt: skip
def test_rows_that_have_none(tmp_path: Path, row: Any, kind: str, reason: str) -> None:
    path = written(tmp_path / "f", {"prompt": "x"}, row)
    found = list(read_prompts(path))[1]
    assert isinstance(found, BadRow)
    assert (found.line, found.kind, found.reason) == (2, kind, reason)


def test_each_prompt_once(tmp_path: Path) -> None:
    prompts = ["a", " a ", None, [{"role": "user", "content": "a"}], "b", "c", "b"]
    rows = [{"prompt": prompt} for prompt in prompts]
    path = written(tmp_path / "f", *rows)
    found = load_prompts(path)
    assert [(prompt.line, prompt.text) for prompt in found.prompts] == [(1, "a"), (5, "b"), (6, "c")]
    assert (found.rows, found.duplicates, found.beyond, found.errors) == (7, 3, 0, {"missing": 1})
    assert [row.line for row in found.examples] == [3]
    few = load_prompts(path, limit=2)
    assert [prompt.text for prompt in few.prompts] == ["a", "b"]
    assert (few.rows, few.duplicates, few.beyond) == (7, 3, 1)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_prompts(tmp_path / "none.jsonl")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"]), "content": VALUES})


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "messages", "chosen", "rejected"]), VALUES | st.lists(TURN, max_size=3), max_size=4
    )
)
def test_any_row_is_a_prompt_or_refused(tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any]) -> None:
    path = written(tmp_path_factory.getbasetemp() / "any.jsonl", row)
    (found,) = read_prompts(path)
    if isinstance(found, Prompt):
        assert found.text
        assert isinstance(found.text, str) or all(set(turn) == {"role", "content"} for turn in found.text)
    else:
        assert found.reason.isprintable()
