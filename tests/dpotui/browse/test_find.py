"""What is sought is found wherever JSON hides it, in whatever case, and nothing else is."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpotui.browse import find
from dpotui.browse.find import Find
from tests.dpotui.browse.made import pair, write


def places(path: Path, words: str) -> list[int]:
    """The numbers of the lines that are hits, from 0."""
    search = Find(path, words)
    search.run()
    assert search.ended and not search.stopped and search.done == search.size
    starts = [0]
    for line in path.read_bytes().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return [starts.index(hit) for hit in search.hits]


def test_case_does_not_matter_and_keys_are_not_text(tmp_path: Path) -> None:
    rows = [
        pair(1),
        pair(2, chosen="A Needle"),
        pair(3, needle="x"),
        pair(4, prompt=[{"role": "user", "content": "neEDLE"}]),
    ]
    path = write(tmp_path / "a.jsonl", rows)
    assert places(path, "needle") == [1, 3]
    assert places(path, "prompt") == []


@pytest.mark.parametrize("words", ['say "no"', "a\\b", "Straße", "漢字", "ends/with", "Kelvin stress", "q"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_json_escapes_is_found(tmp_path: Path, words: str, ascii_only: bool) -> None:
    rows = [
        json.dumps(pair(n, chosen=f"well: {words.upper() if n == 1 else words}!"), ensure_ascii=ascii_only)
        for n in (1, 2)
    ]
    path = write(tmp_path / "a.jsonl", [json.dumps({"prompt": "z", "chosen": "x", "rejected": "y"}), *rows])
    assert places(path, words) == [1, 2]


@given(
    st.lists(st.text(max_size=12), min_size=1, max_size=12),
    st.text(min_size=1, max_size=4).filter(lambda words: words.strip() == words),
    st.integers(3, 40),
)
def test_it_finds_what_reading_every_row_finds(texts: list[str], words: str, block: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "_BLOCK", block)
        path = write(Path(folder) / "a.jsonl", [json.dumps({"prompt": text}) for text in texts])
        assert places(path, words) == [i for i, text in enumerate(texts) if words.casefold() in text.casefold()]


def test_rows_that_cannot_be_read_are_found_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt": "broken\n\n\xff\xfe broken too\n{"prompt": "whole"}')
    assert places(path, "broken") == [0, 2]
    assert places(path, "whole") == [3]


def test_it_ends_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "_BLOCK", 64)
    path = write(tmp_path / "a.jsonl", [pair(n) for n in range(500)])
    search = Find(path, "one")
    seen = threading.Event()
    holds = search._holds

    def slow(row: bytes) -> bool:
        seen.set()
        search.stop()
        return holds(row)

    monkeypatch.setattr(search, "_holds", slow)
    search.run()
    assert seen.is_set() and search.stopped and len(search.hits) == 1
    assert "search ended at" in search.told


def test_hits_are_walked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [pair(n, chosen="here" if n in (2, 5) else "no") for n in range(8)])
    search = Find(path, "here")
    search.run()
    first, second = search.hits
    assert search.after(-1) == search.after(0) == first
    assert search.after(first) == second and search.after(second) is None
    assert search.before(second) == first and search.before(first) is None
    assert (search.number(second), search.number(1)) == (2, None)
    assert search.told == "2 rows"
