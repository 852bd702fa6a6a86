"""Rows of plain files by their place: every kind, every damage, no line trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.jsonl import read_rows
from dpotui.browse import rows as rows_module
from dpotui.browse.kinds import kind_of_file
from dpotui.browse.narrowing import EVERYTHING
from dpotui.browse.raw import FileChanged
from dpotui.browse.rows import Rows
from tests.dpotui.browse.made import pair, write


def opened(path: Path) -> Rows:
    source = Rows(path, kind_of_file(path))
    source.scan()
    assert source.complete
    return source


def test_places_are_those_of_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(pair(n)).encode() for n in range(4)]
    path.write_bytes(b"\xef\xbb\xbf" + lines[0] + b"\r\n\n   \n" + lines[1] + b"\n" + lines[2] + b"\n\t\n" + lines[3])
    source = opened(path)
    assert source.narrow(EVERYTHING) == 4
    shown = source.page(0, 10)
    assert [row.line for row in shown] == [row.line for row in read_rows(path)] == [1, 4, 5, 7]
    assert [row.words for row in shown] == [pair(n)["prompt"] for n in range(4)]
    assert source.place_of_line(4) == 1 and source.place_of_line(6) == 3 and source.place_of_line(99) == 3
    assert source.place_of(source.offset_of(2)) == 2


def test_lines_longer_than_a_piece_are_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_PIECE", 16)
    path = write(tmp_path / "a.jsonl", [pair(0), " " * 50, pair(1, chosen="x" * 200), pair(2)])
    source = opened(path)
    assert [row.line for row in source.page(0, 9)] == [1, 3, 4]
    assert source.page(1, 1)[0].sizes == (200, len(pair(1)["rejected"]))


def test_a_huge_row_waits_until_it_is_opened(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [pair(0), pair(1, chosen="long " * 300_000)])
    source = opened(path)
    assert source.page(1, 1)[0].words == "(a row of 1.5 MB: enter reads it)"
    detail = source.detail(1)
    assert detail.responses[0].left_out == 1_500_000 - 60_000
    assert len(detail.responses[0].text) == 60_000


def test_what_is_no_pair_says_why(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [pair(0), pair(1, chosen=""), "{broken \x1b[31m", '{"prompt": "p"}'])
    source = opened(path)
    kinds = [(row.bad, row.marks) for row in source.page(0, 9)]
    assert kinds == [(False, ()), (True, ("empty",)), (True, ("json",)), (True, ("missing",))]
    detail = source.detail(2)
    assert "not JSON" in detail.head[0][1][0]
    assert detail.parts[0].text == "{broken ␛[31m"


@pytest.mark.parametrize(
    ("row", "kind", "prompt", "responses"),
    [
        ({"prompt": "p", "responses": [{"text": "a", "model": "m", "tokens": 3}, "b"]}, "candidates", "p", ["a", "b"]),
        ({"prompt": "p"}, "prompts", "p", []),
        ({"prompt": "p", "completion": "c"}, "SFT examples", "p", ["c"]),
        (
            {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}]},
            "SFT examples",
            "p",
            ["c"],
        ),
        ({"prompt": 7, "responses": [{"text": 8}, None], "messages": "x"}, "candidates", "7", ["{'text': 8}", "None"]),
    ],
)
def test_other_kinds_are_browsed_too(tmp_path: Path, row: object, kind: str, prompt: str, responses: list[str]) -> None:
    path = write(tmp_path / "a.jsonl", [json.dumps(row)])
    source = opened(path)
    assert source.kind == kind
    assert source.page(0, 1)[0].words == prompt
    detail = source.detail(0)
    assert [part.text for part in detail.parts] == [prompt]
    assert [part.text for part in detail.responses] == responses


def test_a_row_of_nothing_known_is_shown_as_it_stands(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ['{"question": "q\\u001b[1m", "n": 3}'])
    detail = opened(path).detail(0)
    assert detail.parts[0].text == '{"question": "q\\u001b[1m", "n": 3}'
    assert ("q␛[1m", "") in detail.head[0]


def test_a_file_that_changed_is_not_read_at_old_places(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [pair(n) for n in range(3)])
    source = opened(path)
    write(path, [pair(9)])
    with pytest.raises(FileChanged, match="changed since it was opened"):
        source.page(0, 3)
    path.unlink()
    with pytest.raises(FileChanged, match="is gone"):
        source.detail(0)
