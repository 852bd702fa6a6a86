"""Data sets written whole or not at all, and their manifests."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from core.data import manifest
from core.data.manifest import manifest_path, read_manifest, writing
from core.errors import UserError


def write(path: Path, *rows: dict[str, Any], parents: tuple[Path, ...] = (), **parameters: Any) -> None:
    with writing(path, command="data split", parameters=parameters, parents=parents) as out:
        for row in rows:
            out.row(row)
        out.counts["kept"] = len(rows)


def test_file_and_manifest_say_the_same(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "pairs.jsonl"
    raw.parent.mkdir()
    raw.write_text('{"prompt": "a"}\n')
    out = tmp_path / "made" / "train.jsonl"
    write(out, {"prompt": "é", "n": 1}, {"prompt": "b"}, parents=(raw,), seed=3)
    assert out.read_bytes() == '{"prompt": "é", "n": 1}\n{"prompt": "b"}\n'.encode()
    document = json.loads(manifest_path(out).read_text())
    assert document["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert document["rows"] == 2 and document["counts"] == {"kept": 2}
    assert document["parents"] == [
        {"path": "../raw/pairs.jsonl", "sha256": hashlib.sha256(raw.read_bytes()).hexdigest()}
    ]
    found = read_manifest(out)
    assert found is not None
    assert (found.rows, found.command, found.parameters) == (2, "data split", {"seed": 3})
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE(manifest_path(out).stat().st_mode) == 0o600
    assert stat.S_IMODE(out.parent.stat().st_mode) == 0o700


def test_the_same_work_gives_the_same_bytes(tmp_path: Path) -> None:
    out = tmp_path / "train.jsonl"
    write(out, {"prompt": "a"}, seed=1)
    first = manifest_path(out).read_bytes()
    write(out, {"prompt": "a"}, seed=1)
    assert manifest_path(out).read_bytes() == first


def test_what_breaks_off_leaves_what_stood_there(tmp_path: Path) -> None:
    out = tmp_path / "train.jsonl"
    write(out, {"prompt": "a"})
    before = out.read_bytes(), manifest_path(out).read_bytes()
    with pytest.raises(RuntimeError), writing(out, command="x", parameters={}) as writer:
        writer.row({"prompt": "b"})
        raise RuntimeError
    assert (out.read_bytes(), manifest_path(out).read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.jsonl", "train.jsonl.manifest.json"]


@pytest.mark.parametrize("link", ["itself", "symlink", "hardlink", "dots"])
def test_a_file_is_not_written_over_what_it_is_made_from(tmp_path: Path, link: str) -> None:
    raw = tmp_path / "raw.jsonl"
    raw.write_text("{}\n")
    out = tmp_path / "out.jsonl"
    if link == "symlink":
        out.symlink_to(raw)
    elif link == "hardlink":
        os.link(raw, out)
    else:
        out = raw if link == "itself" else tmp_path / ".." / tmp_path.name / "raw.jsonl"
    with pytest.raises(UserError, match="read and written at once"):
        write(out, parents=(raw,))
    assert raw.read_text() == "{}\n"


def test_what_is_no_place_for_it_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.jsonl"
    os.mkfifo(fifo)
    for path, why in (
        (tmp_path, "is a folder"),
        (fifo, "not a regular file"),
        (tmp_path / "a.jsonl.gz", "plain text"),
        (tmp_path / "a.parquet", "plain text"),
        (tmp_path / ("n" * 300 + ".jsonl"), "cannot be written"),
        (fifo / "a.jsonl", "cannot be written"),
        (tmp_path / "train.jsonl.manifest.json", "plain text"),
    ):
        with pytest.raises(UserError, match=why):
            write(path, {"prompt": "a"})
    assert [path.name for path in tmp_path.iterdir()] == ["fifo.jsonl"]


def test_a_parent_that_is_gone_or_no_file_is_named(tmp_path: Path) -> None:
    for parent in (tmp_path / "gone.jsonl", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            write(tmp_path / "out.jsonl", parents=(parent,))


def test_a_parent_that_changed_meanwhile_is_found(tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    raw.write_text("{}\n")
    with (
        pytest.raises(UserError, match="changed while it was read"),
        writing(tmp_path / "out.jsonl", command="x", parameters={}, parents=[raw]),
    ):
        raw.write_text("{}\n{}\n")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with full.open("wb", buffering=0) as file, pytest.raises(UserError, match="No space left"):
        manifest.Writer(full, file, "data/train.jsonl").line(b"x")  # type: ignore[arg-type]


def test_half_characters_stay_the_escapes_they_were(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write(out, {"prompt": "\ud800"})
    assert json.loads(out.read_bytes()) == {"prompt": "\ud800"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\xff",
        "[" * 100_000,
        '{"format": 2}',
        '{"format": 1, "sha256": 5, "made_by": {}, "parents": []}',
        '{"format": 1, "sha256": "x", "made_by": {}, "parents": ["a"]}',
        '{"format": 1, "sha256": "x", "made_by": {}, "parents": [{"path": "a\\u0000b", "sha256": "x"}]}',
        '{"format": 1, "sha256": "x", "made_by": {}, "parents": [], "rows": true}',
    ],
)
def test_a_manifest_that_is_none_is_a_sentence(tmp_path: Path, text: str) -> None:
    manifest_path(tmp_path / "a.jsonl").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"a\.jsonl\.manifest\.json"):
        read_manifest(tmp_path / "a.jsonl")


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "a.jsonl") is None


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    left = tmp_path / "pairs.jsonl.abcd_123.part"
    manifest = tmp_path / "pairs.jsonl.manifest.json.abcd_123.part"
    young = tmp_path / "pairs.jsonl.efgh4567.part"
    another = tmp_path / "pairs.jsonl.old.jsonl.abcd_123.part"
    held = tmp_path / "pairs.jsonl.ijkl8901.part"
    for path in (left, manifest, young, another, held):
        path.write_text("{}\n")
        if path != young:
            os.utime(path, (1, 1))
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # somebody who writes slowly
        with writing(tmp_path / "pairs.jsonl", command="x", parameters={}) as writer:
            writer.line(b"{}")
    assert {path.name for path in tmp_path.glob("*.part")} == {young.name, another.name, held.name}


def test_a_writer_holds_its_part(tmp_path: Path) -> None:
    with writing(tmp_path / "pairs.jsonl", command="x", parameters={}) as writer:
        os.utime(writer.path, (1, 1))
        with writing(tmp_path / "pairs.jsonl", command="y", parameters={}) as other:
            other.line(b"{}")
        assert writer.path.exists()
        writer.line(b"{}")


def test_notes_are_read_back(tmp_path: Path) -> None:
    with writing(tmp_path / "pairs.jsonl", command="x", parameters={}) as writer:
        writer.line(b"{}")
        writer.notes["leaks"] = "searched exactly"
    manifest = read_manifest(tmp_path / "pairs.jsonl")
    assert manifest is not None and manifest.notes == {"leaks": "searched exactly"}
