"""Lengths from the longest rows of a file, as the tokenizer of the model counts them; by the limits where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.data import lengths
from core.demo.model import write_model
from core.errors import UserError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, ["red green blue round square"], 1)
    return folder


def _file(path: Path, *rows: dict[str, Any] | str) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def _count(model: Path, text: str) -> int:
    from tokenizers import Tokenizer

    return len(Tokenizer.from_file(str(model / "tokenizer.json")).encode(text, add_special_tokens=False))


def test_the_longest_row_counts(tmp_path: Path, model: Path) -> None:
    rows = [{"prompt": "red " * n, "chosen": "blue " * n, "rejected": "green"} for n in range(1, 60)]
    found = lengths.of_file(_file(tmp_path / "p.jsonl", *rows), "pairs", model, (4096, 4096))
    assert found.prompt == _count(model, "red " * 59) + 1
    assert found.response == _count(model, "blue " * 59) + 1
    assert found.longest == found.prompt + found.response
    assert found.usual < found.longest
    assert found.source == "the longest rows of p.jsonl, tokenized"


def test_the_limits_cut(tmp_path: Path, model: Path) -> None:
    row = {"prompt": "red " * 90, "response": "blue " * 90}
    found = lengths.of_file(_file(tmp_path / "s.jsonl", row), "examples", model, (10, 20))
    assert (found.prompt, found.response, found.longest) == (10, 20, 30)


def test_messages_and_a_template_take_some_more(tmp_path: Path, model: Path) -> None:
    plain = _file(tmp_path / "plain.jsonl", {"prompt": "red", "chosen": "blue", "rejected": "green"})
    turns = {
        "prompt": [{"role": "user", "content": "red"}],
        "chosen": [{"role": "assistant", "content": "blue"}],
        "rejected": [{"role": "assistant", "content": "green"}],
    }
    chat = _file(tmp_path / "chat.jsonl", turns)
    bare = lengths.of_file(plain, "pairs", model, (99, 99))
    assert lengths.of_file(chat, "pairs", model, (99, 99)).longest > bare.longest
    assert lengths.of_file(plain, "pairs", model, (99, 99), chat=True).longest > bare.longest


def test_a_file_that_changed_is_read_again(tmp_path: Path, model: Path) -> None:
    path = _file(tmp_path / "p.jsonl", {"prompt": "red", "chosen": "blue", "rejected": "green"})
    before = lengths.of_file(path, "pairs", model, (99, 99))
    _file(path, {"prompt": "red " * 9, "chosen": "blue " * 9, "rejected": "green"})
    assert lengths.of_file(path, "pairs", model, (99, 99)).longest > before.longest


def test_bad_rows_are_passed_over_and_an_empty_rest_is_the_limits(tmp_path: Path, model: Path) -> None:
    path = _file(tmp_path / "p.jsonl", "{nope", {"prompt": "red"})
    assert lengths.of_file(path, "pairs", model, (7, 8)) == lengths.of_limits(7, 8)


def test_without_file_or_tokenizer_it_is_the_limits(tmp_path: Path, model: Path) -> None:
    limits = lengths.of_limits(7, 8)
    assert (limits.longest, limits.usual, limits.source) == (15, 15, "the limits of the configuration")
    path = _file(tmp_path / "p.jsonl", {"prompt": "red", "chosen": "blue", "rejected": "green"})
    assert lengths.of_file(tmp_path / "none.jsonl", "pairs", model, (7, 8)) == limits
    assert lengths.of_file(path, "pairs", tmp_path, (7, 8)) == limits
    (tmp_path / "tokenizer.json").write_text("{}")
    assert lengths.of_file(path, "pairs", tmp_path, (7, 8)) == limits


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, model: Path) -> None:
    (tmp_path / "p.jsonl").write_text("")
    with pytest.raises(UserError):
        lengths.of_file(tmp_path / "p.jsonl", "pairs", model, (7, 8))


def test_many_rows_are_not_all_tokenized(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": f"red {n}", "chosen": "blue", "rejected": "green"} for n in range(2000)]
    seen: list[Any] = []
    counted = lengths._tokens
    monkeypatch.setattr(lengths, "_tokens", lambda row, *rest: seen.append(row) or counted(row, *rest))
    lengths.of_file(_file(tmp_path / "p.jsonl", *rows), "pairs", model, (99, 99))
    assert len(seen) == lengths.LONGEST + lengths.DRAWN
