"""The index of pairs: what is read back is what was read in; filters, pages, and when it is made anew."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.index import ALL, Filter, Index, Interrupted, build, existing
from core.data.jsonl import BadRow
from core.data.pairs import read_pairs
from core.errors import UserError


def write(path: Path, rows: list[dict[str, Any] | str]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"p{number}", "chosen": f"good {number}", "rejected": f"bad {number}", **more}


def lines(index: Index, where: Filter) -> list[int]:
    return [entry.line for entry in index.page(where, 0, 100)]


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(lambda text: bool(text.strip()))
chats = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": texts}), min_size=1, max_size=3
)
pairs = st.one_of(
    st.fixed_dictionaries({"prompt": texts, "chosen": texts, "rejected": texts}),
    st.fixed_dictionaries({"prompt": chats, "chosen": texts, "rejected": texts}),
    st.fixed_dictionaries(
        {
            "prompt": texts,
            "chosen": texts,
            "rejected": texts,
            "chosen_score": st.floats(0, 1),
            "rejected_score": st.just(0.5),
        }
    ),
    st.just({"prompt": "no pair"}),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(pairs, min_size=1, max_size=8), st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_what_is_read_back_is_what_was_read_in(rows: list[Any], ascii: bool, end: str, packed: bool) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "pairs.jsonl.gz" if packed else "pairs.jsonl")
        text = "\ufeff" + "".join(json.dumps(row, ensure_ascii=ascii) + end for row in rows)
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        read = list(read_pairs(path))
        with build([path], Path(folder, "cache")) as index:
            good = [row for row in read if not isinstance(row, BadRow)]
            found = index.page(ALL, 0, 100)
            assert [index.read(entry) for entry in found] == good
            assert [entry.line for entry in found] == [pair.line for pair in good]
            assert [(entry.chosen_score, entry.rejected_score) for entry in found] == [
                (pair.chosen_score, pair.rejected_score) for pair in good
            ]
            assert [bad for _, bad in index.bad_rows()] == [row for row in read if isinstance(row, BadRow)]


def test_pages_and_filters(tmp_path: Path) -> None:
    rows: list[dict[str, Any] | str] = [row(n, chosen_score=n / 10, rejected_score=0.0) for n in range(1, 8)]
    rows[2] = "{"
    rows.append({"prompt": "p1", "chosen": "x" * 100, "rejected": "y"})
    with build([write(tmp_path / "a.jsonl", rows)], tmp_path) as index:
        assert (index.count(), index.count(Filter(gap=(0.4, None))), index.count(Filter(gap=(None, 0.4)))) == (7, 4, 3)
        assert lines(index, Filter(gap=(0.2, 0.5))) == [2, 4, 5]
        assert [entry.line for entry in index.page(Filter(gap=(0.2, 0.6)), 1, 2)] == [4, 5]
        assert index.page(Filter(gap=(0.2, 0.6)), 9, 2) == []
        assert lines(index, Filter(length=(50, None))) == [8]
        assert lines(index, Filter(lines=(4, 6))) == [4, 5, 6]
        assert lines(index, Filter(prompt=index.entry(0).prompt)) == [1, 8]
        assert lines(index, Filter(file=1)) == []
        assert index.place(Filter(gap=(0.2, None)), index.page(Filter(lines=(5, 5)), 0, 1)[0].id) == 2
        index.add_findings("contaminated", [(0, "an item", None), (6, "an item", 0)])
        assert lines(index, Filter(finding="contaminated")) == [1, 8]
        assert lines(index, Filter(finding="any", length=(50, None))) == [8]
        assert lines(index, Filter(finding="contaminated", cluster=0)) == [8]
        index.add_findings("contaminated", [(1, "another", None)])
        assert lines(index, Filter(finding="contaminated")) == [2]
        assert index.counts()["contaminated"] == 1
        assert index.findings(index.entry(1))[0].detail == "another"
        assert index.bad_counts() == {"json": 1}


def test_a_gap_is_on_the_scale_of_its_scores(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", [row(1, chosen_score=10, rejected_score=1), row(2, score_chosen=4, score_rejected=3)]
    )
    with build([path], tmp_path) as index:
        assert [entry.gap for entry in index.page(ALL, 0, 9)] == [1.0, 0.25]
        assert index.score_fields == ["chosen_score/rejected_score", "score_chosen/score_rejected"]
    with build([path], tmp_path, scale=(0.0, 10.0)) as index:
        assert [entry.gap for entry in index.page(ALL, 0, 9)] == [0.9, 0.1]


def test_an_index_stands_as_long_as_its_files(tmp_path: Path) -> None:
    path, folder = write(tmp_path / "a.jsonl", [row(1)]), tmp_path / "cache"
    assert existing([path], folder) is None
    build([path], folder).close()
    found = existing([path], folder)
    assert found is not None
    first = found.path
    assert oct(first.stat().st_mode & 0o777) == "0o600"
    os.utime(path)  # touched, not changed
    assert existing([path], folder) is not None
    entry = found.entry(0)
    write(path, [row(2)])
    assert existing([path], folder) is None
    assert not found.is_current()
    write(path, ["{}  " + " " * 60])
    with pytest.raises(UserError, match=r"a\.jsonl:1 changed since it was indexed"):
        found.read(entry)
    found.close()
    write(path, [row(2), row(3)])
    with build([path], folder) as again:
        assert again.count() == 2
    assert not first.exists()
    assert [file.name for file in folder.iterdir()] == [again.path.name]


def test_two_files_are_one_set(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.jsonl", [row(1), row(2)]), write(tmp_path / "b.jsonl", ["{", row(1)])
    with build([first, second], tmp_path) as index:
        assert [(entry.id, entry.file, entry.line) for entry in index.page(ALL, 0, 9)] == [
            (0, 0, 1),
            (1, 0, 2),
            (2, 1, 2),
        ]
        assert [file.pairs for file in index.files] == [2, 1]
        assert index.read(index.entry(2)).chosen == "good 1"
        assert lines(index, Filter(file=1)) == [2]
    assert existing([first], tmp_path) is None


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(1)])
    with build([path], tmp_path) as index:
        pass
    index.path.write_bytes(b"no database")
    assert existing([path], tmp_path) is None
    with build([path], tmp_path) as again:
        assert again.count() == 1


def test_building_ends_when_it_is_asked_to_and_leaves_nothing(tmp_path: Path) -> None:
    path, folder = write(tmp_path / "a.jsonl", [row(n) for n in range(3000)]), tmp_path / "cache"
    asked: list[int] = []
    told: list[tuple[int, int, str]] = []
    with pytest.raises(Interrupted):
        build(
            [path],
            folder,
            progress=lambda *what: told.append(what),
            wants_stop=lambda: asked.append(1) or len(asked) > 2,  # type: ignore[func-returns-value]
        )
    assert list(folder.iterdir()) == []
    size = path.stat().st_size
    assert told[0] == (size, size, "hashing a.jsonl")
    assert told[1][2] == "reading a.jsonl, 1,000 rows"
    assert 0 < told[1][0] < size


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        build([tmp_path / "none.jsonl"], tmp_path)
    with pytest.raises(UserError, match="is a folder"):
        build([tmp_path], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the index cannot be written in"):
        build([write(tmp_path / "a.jsonl", [row(1)])], tmp_path / "file" / "cache")


def test_what_a_killed_builder_left_goes_with_the_next_one(tmp_path: Path) -> None:
    path, cache = write(tmp_path / "a.jsonl", [row(1)]), tmp_path / "cache"
    cache.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    name = "0123456789abcdef-0123456789abcdef"
    names = [f"{name}.{process}.part{end}" for process in (ended.pid, os.getpid()) for end in (".index.db", ".0.rows")]
    names.append(f"{name}.{ended.pid}.part-x1y2")
    (cache / names[-1]).mkdir()
    (cache / names[-1] / "band").write_text("")
    young, other = f"{name}.{ended.pid}.part.1.rows", "my.part.jsonl"
    for each in [*names[:-1], young, other]:
        (cache / each).write_text("")
    for each in [*names, other]:
        os.utime(cache / each, (1, 1))
    build([path], cache).close()
    left = {each.name for each in cache.iterdir() if ".part" in each.name}
    assert left == {names[2], names[3], young, other}
