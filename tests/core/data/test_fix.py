"""A clean copy keeps good rows byte for byte, and nothing of the others is lost."""

from __future__ import annotations

import base64
import gzip
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data import lines
from core.data.examples import example_of
from core.data.fix import Fixed, fix
from core.data.jsonl import BadRow
from core.data.manifest import manifest_path
from core.data.pairs import Pair, read_pairs
from core.errors import UserError

GOOD = b'{"prompt":"a",  "chosen":"\\u0062","rejected":"c"}'


def fixed(folder: Path, content: bytes, name: str = "in.jsonl") -> tuple[Fixed, list[bytes], list[dict[str, object]]]:
    source, out, aside = folder / name, folder / "out.jsonl", folder / "left.jsonl"
    source.write_bytes(content)
    done = fix(source, out, aside)
    assert source.read_bytes() == content
    return done, out.read_bytes().splitlines(), [json.loads(line) for line in aside.read_bytes().splitlines()]


def test_good_rows_stay_and_bad_ones_are_kept_with_their_reason(tmp_path: Path) -> None:
    content = (
        b"\xef\xbb\xbf"
        + GOOD
        + b"\r\n\r\n{\r\n"
        + b'{"prompt":"\xff"}\n'
        + b'{"prompt":"a","chosen":"","rejected":"c"}\n'
        + GOOD
    )
    done, kept, left = fixed(tmp_path, content)
    assert done == Fixed(5, 2, {"empty": 1, "encoding": 1, "json": 1})
    assert kept == [GOOD, GOOD]
    assert left[0] == {
        "line": 3, "kind": "json", "field": None, "text": "{",
        "reason": "not JSON: Expecting property name enclosed in double quotes at column 2",
    }  # fmt: skip
    assert base64.b64decode(str(left[1]["base64"])) == b'{"prompt":"\xff"}'
    assert (left[2]["line"], left[2]["field"], left[2]["text"]) == (
        5,
        "chosen",
        '{"prompt":"a","chosen":"","rejected":"c"}',
    )


def test_both_are_private_and_the_manifest_counts(tmp_path: Path) -> None:
    fixed(tmp_path, GOOD + b"\n{\n")
    for name in ("out.jsonl", "left.jsonl"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    document = json.loads(manifest_path(tmp_path / "out.jsonl").read_text())
    assert document["counts"] == {"left out": 1, "left out: json": 1, "rows read": 2}
    assert document["parents"][0]["path"] == "in.jsonl"


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_too_long_to_be_held_is_kept_whole(
    tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 100)
    long = bytes(range(32, 127)) * 40
    content = GOOD + b"\n" + long + b"\n" + GOOD + b"\n" + long[:200]
    done, kept, left = fixed(tmp_path, gzip.compress(content) if packed else content)
    assert (done.errors, kept) == ({"too_long": 2}, [GOOD, GOOD])
    assert [base64.b64decode(str(row["base64"])) for row in left] == [long, long[:200]]


def test_rows_of_csv_become_objects_and_bad_ones_stay_as_they_were(tmp_path: Path) -> None:
    _, kept, left = fixed(tmp_path, b"prompt,chosen,rejected\na,b,c\nd,e\n", "in.csv")
    assert [json.loads(line) for line in kept] == [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    assert left[0]["text"] == "d,e"


def test_findings_can_be_left_out_too(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(GOOD + b"\n" + GOOD + b"\n")

    def repeated(pair: object) -> BadRow | None:
        assert isinstance(pair, Pair)
        return BadRow(pair.line, "duplicate", None, "stands in line 1 too") if pair.line > 1 else None

    done = fix(source, tmp_path / "out.jsonl", tmp_path / "left.jsonl", also=repeated)
    assert done == Fixed(2, 1, {"duplicate": 1})
    assert json.loads((tmp_path / "left.jsonl").read_text())["text"] == GOOD.decode()


def test_sft_examples_are_mended_by_their_own_reader(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "a", "response": "b"}\n{"prompt": "a"}\n')
    assert fix(source, tmp_path / "o.jsonl", tmp_path / "l.jsonl", reader=example_of).kept == 1


@pytest.mark.parametrize(("out", "aside"), [("in.jsonl", "b"), ("a", "in.jsonl"), ("a", "a"), ("a", "./x/../a")])
def test_no_file_is_written_over_another(tmp_path: Path, out: str, aside: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(GOOD)
    with pytest.raises(UserError, match=r"is the file that is read|written twice"):
        fix(source, tmp_path / out, tmp_path / aside)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_file_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl.gz"
    source.write_bytes(gzip.compress(GOOD + b"\n")[:-6])
    with pytest.raises(UserError, match="is cut off"):
        fix(source, tmp_path / "out.jsonl", tmp_path / "left.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl.gz"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.just(GOOD), st.binary(max_size=20).filter(lambda line: b"\n" not in line)), min_size=1))
def test_every_row_of_any_file_is_in_one_of_the_two(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("fix")
    try:
        done, kept, left = fixed(folder, b"\n".join(rows))
    except UserError:
        return
    assert done.rows == len(kept) + len(left)
    assert kept == [GOOD] * sum(isinstance(row, Pair) for row in read_pairs(folder / "in.jsonl"))
    told = [base64.b64decode(str(row["base64"])) if "base64" in row else str(row["text"]).encode() for row in left]
    rows[0] = rows[0].removeprefix(b"\xef\xbb\xbf")  # a mark of the file; further on it is a row like another
    stripped = [row.rstrip(b"\r") for row in rows]
    assert sorted([*kept, *told]) == sorted(row for row in stripped if row.strip())
