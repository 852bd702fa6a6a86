"""Bad input of every kind: what each gets, word for word as docs/data/formats.md tells it."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.data import lines
from core.data.jsonl import BadRow
from core.data.pairs import Pair, read_pairs
from core.errors import UserError
from tests.core.data.bad_input import CASES, GOOD, Case

DOCS = Path(__file__).parents[3] / "docs" / "data" / "formats.md"


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_every_kind_of_bad_input_has_its_sentence(tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.needs is not None:
        pytest.importorskip(case.needs)
    for name, value in case.limits.items():
        monkeypatch.setattr(lines, name, value)
    path = tmp_path / case.name
    case.make(path)
    monkeypatch.chdir(tmp_path)
    said = said_of(Path(case.name))
    assert (re.sub(r"\(.*\)", "(…)", said) if "(…)" in case.says else said) == case.says


def said_of(path: Path) -> str:
    """The sentence: of the file as a whole, or of its first bad row."""
    try:
        found = list(read_pairs(path))
    except UserError as error:
        return str(error)
    bad = [row for row in found if isinstance(row, BadRow)]
    return f"{path.name}:{bad[0].line}: {bad[0].reason}" if bad else f"read: {len(found)} pairs"


def test_the_page_tells_every_kind_with_its_sentence() -> None:
    page = DOCS.read_text()
    told = {case.title: f"| {case.title} | {case.says.replace('|', '/')} |" for case in CASES}
    assert [title for title, row in told.items() if row not in page] == []
    assert len(CASES) >= 30


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(GOOD)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    monkeypatch.chdir(tmp_path)
    assert said_of(Path("pairs.jsonl")) == "pairs.jsonl cannot be read: Permission denied"


def test_a_row_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "a", "chosen": "x" * 10_000_000, "rejected": "c"}) + "\n")
    (found,) = read_pairs(path)
    assert isinstance(found, Pair)
    assert len(found.chosen) == 10_000_000


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BOMB_BYTES", 1 << 20)
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b"0" * (16 << 20)))
    with pytest.raises(UserError, match=r"unpacks to more than 300 times its size"):
        list(read_pairs(path))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_rows_are_found_again_by_their_offset(tmp_path: Path, end: str, mark: bytes) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [json.dumps({"prompt": f"é{n}", "chosen": "b", "rejected": "c"}, ensure_ascii=False) for n in range(3)]
    path.write_bytes(mark + (end + end).join(rows).encode())
    content = path.read_bytes()
    for row, pair in zip(rows, read_pairs(path), strict=True):
        assert content[pair.offset : pair.offset + pair.length].decode() == row


def test_rows_of_gzip_have_no_offset(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD + b"\n" + GOOD))
    assert [(pair.line, pair.offset, pair.length) for pair in read_pairs(path)] == [
        (1, -1, len(GOOD)),
        (2, -1, len(GOOD)),
    ]


# CSV


def csv_pairs(path: Path, content: str | bytes) -> list[Pair | BadRow]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_pairs(path))


def test_csv_is_read_with_its_scores_quotes_and_newlines(tmp_path: Path) -> None:
    content = 'prompt,chosen,rejected,chosen_score,rejected_score\n"a, ""b""\nc",d,e,0.9,\nf,g,h,,\n'
    found = csv_pairs(tmp_path / "pairs.csv", content)
    assert [(p.line, p.prompt, p.chosen_score) for p in found if isinstance(p, Pair)] == [
        (2, 'a, "b"\nc', 0.9), (4, "f", None),
    ]  # fmt: skip
    assert [p.offset for p in found] == [-1, -1]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.tsv", "prompt\tchosen\trejected\n1\t2\t3\n"), ("a.csv", "prompt;chosen;rejected\r\n1;2;3\r\n")],
)
def test_other_separators(tmp_path: Path, name: str, text: str) -> None:
    (found,) = csv_pairs(tmp_path / name, "\ufeff" + text)
    assert found == Pair(2, "1", "2", "3")


def test_a_cell_with_a_json_list_is_a_conversation(tmp_path: Path) -> None:
    cells = [json.dumps([{"role": role, "content": text}]) for role, text in (("user", "a"), ("assistant", "b"))]
    quoted = [cell.replace('"', '""') for cell in (*cells, cells[1].replace('"b"', '"c"'))]
    (found,) = csv_pairs(tmp_path / "a.csv", "prompt,chosen,rejected\n" + ",".join(f'"{cell}"' for cell in quoted))
    assert isinstance(found, Pair)
    assert found.chosen == [{"role": "assistant", "content": "b"}]


def test_a_row_of_csv_after_a_bad_one_is_read(tmp_path: Path) -> None:
    found = csv_pairs(tmp_path / "a.csv", b"prompt,chosen,rejected\n1,2\n\xff,2,3\n1,2,3\n")
    assert [(row.line, getattr(row, "kind", "pair")) for row in found] == [(2, "csv"), (3, "encoding"), (4, "pair")]


# Parquet


def test_parquet_is_read(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [
        {"prompt": "a", "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
         "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}],
         "score_chosen": 8.0, "score_rejected": float("nan")},
    ] * 3  # fmt: skip
    path = tmp_path / "pairs.parquet"
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    found = list(read_pairs(path))
    assert [pair.line for pair in found] == [1, 2, 3]
    assert isinstance(found[0], Pair)
    assert found[0].prompt == [{"role": "user", "content": "a"}]
    assert found[0].chosen == [{"role": "assistant", "content": "b"}]
    assert (found[0].chosen_score, found[0].rejected_score, found[0].offset) == (8.0, None, -1)


def test_parquet_with_bytes_times_and_text_that_is_none(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "pairs.parquet"
    times = arrow.array([1, 2, 3], arrow.timestamp("ns"))
    binary = arrow.array([b"x", b"y", b"\xff"])
    columns = {"prompt": ["prompt1", "prompt2", "prompt3"], "chosen": binary, "rejected": ["c"] * 3, "at": times}
    parquet.write_table(arrow.table(columns), path, compression=None, use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"prompt2", b"prom\xfft2"))
    found = list(read_pairs(path))
    assert [getattr(row, "kind", "pair") for row in found] == ["pair", "encoding", "encoding"]
    assert [getattr(row, "field", None) for row in found] == [None, "prompt", "chosen"]


# Shapes of published sets


def row_of(tmp_path: Path, row: dict[str, Any]) -> Pair | BadRow:
    path = tmp_path / "row.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (found,) = read_pairs(path)
    return found


def test_a_transcript_parts_at_whole_turns(tmp_path: Path) -> None:
    shared = "\n\nHuman: Say: Assistant: hi\n\nAssistant: Why?\n\nHuman: Because\n\nAssistant:"
    found = row_of(tmp_path, {"chosen": f"{shared} Well, hi", "rejected": f"{shared} Well, no"})
    assert isinstance(found, Pair)
    assert [turn["content"] for turn in found.prompt] == ["Say: Assistant: hi", "Why?", "Because"]  # type: ignore[index]
    assert found.chosen == [{"role": "assistant", "content": "Well, hi"}]


def test_transcripts_that_part_before_the_last_turn_keep_the_rest_in_the_answer(tmp_path: Path) -> None:
    found = row_of(
        tmp_path,
        {
            "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
            "rejected": "\n\nHuman: a\n\nAssistant: x\n\nHuman: y\n\nAssistant: z",
        },
    )
    assert isinstance(found, Pair)
    assert [turn["content"] for turn in found.rejected] == ["x", "y", "z"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("strength", "chosen", "gap"), [(-3, "first", 1.0), (1, "second", 1 / 3), ("2", "second", 2 / 3)]
)
@pytest.mark.parametrize("names", [("prompt", "response_1", "response_2", "preference_strength"),
                                   ("context", "response1", "response2", "overall_preference")])  # fmt: skip
def test_two_responses_with_a_strength(
    tmp_path: Path, names: tuple[str, ...], strength: object, chosen: str, gap: float
) -> None:
    found = row_of(tmp_path, dict(zip(names, ("p", "first", "second", strength), strict=True)))
    assert isinstance(found, Pair)
    assert found.chosen == chosen
    assert found.chosen_score is not None
    assert found.rejected_score is not None
    assert found.chosen_score - found.rejected_score == pytest.approx(gap)
    assert found.score_fields == f"{names[3]} / 3"


def test_joined_turns_of_helpsteer_are_turns(tmp_path: Path) -> None:
    prompt = "a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc"
    found = row_of(tmp_path, {"prompt": prompt, "response_1": "x", "response_2": "y", "preference_strength": 1})
    assert isinstance(found, Pair)
    assert [turn["role"] for turn in found.prompt] == ["user", "assistant", "user"]  # type: ignore[index]


def test_the_judge_of_scores_is_named(tmp_path: Path) -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "chosen_score": 1, "rejected_score": 0, "judge": "gpt\x1b-4"}
    found = row_of(tmp_path, row)
    assert isinstance(found, Pair)
    assert found.score_fields == "chosen_score/rejected_score by gpt␛-4"


def test_a_socket_and_a_device_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        assert said_of(Path("s")) == "s is a socket, not a regular file: name a JSONL file"
    with pytest.raises(UserError, match="/dev/null is a device, not a regular file"):
        list(read_pairs(Path(os.devnull)))


def test_parquet_without_its_reader_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1....PAR1")
    monkeypatch.chdir(tmp_path)
    assert said_of(Path("a.parquet")) == (
        "a.parquet is a Parquet file, which pyarrow reads: pip install 'dpotui[parquet]', or write it out as JSONL"
    )


# Any bytes


def sentence_or_rows(path: Path) -> None:
    try:
        found = list(read_pairs(path))
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(row, Pair) or row.reason for row in found)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"a", b"\xff", b"\0", b"[{", "é".encode()]), max_size=40))
def test_any_csv_gives_rows_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(b"prompt,chosen,rejected\n" + b"".join(pieces))
    sentence_or_rows(path)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 10_000))
def test_any_damage_to_gzip_gives_rows_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, end: int
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.jsonl.gz"
    data = bytearray(gzip.compress(b"".join(GOOD + b"%d\n" % number for number in range(50)), mtime=0))
    data[place % len(data)] = value
    path.write_bytes(data[: len(data) - end % 40])
    sentence_or_rows(path)


@settings(max_examples=50, deadline=None)
@given(st.integers(4, 10_000), st.integers(0, 255))
@example(729, 128)  # in the name of a column
def test_any_damage_to_parquet_gives_rows_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path_factory.mktemp("any") / "a.parquet"
    rows = [{"prompt": f"p{number}", "chosen": "b" * number, "rejected": "c"} for number in range(1, 40)]
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    data = bytearray(path.read_bytes())
    data[4 + place % (len(data) - 8)] = value
    path.write_bytes(data)
    sentence_or_rows(path)
