"""What a data set was made of, and what changed since."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.lineage import MAX_NODES, lineage
from core.data.manifest import manifest_path, writing
from core.errors import UserError


def make(path: Path, text: str, *parents: Path, command: str = "data split") -> Path:
    with writing(path, command=command, parameters={"seed": 7}, parents=parents) as out:
        out.line(text.encode())
        out.counts["pairs"] = 1
    return path


@pytest.fixture
def family(tmp_path: Path) -> tuple[Path, Path, Path]:
    raw = tmp_path / "raw.jsonl"
    raw.write_text("{}\n")
    clean = make(tmp_path / "clean" / "clean.jsonl", "clean", raw, command="data check")
    return raw, clean, make(tmp_path / "train.jsonl", "train", clean)


def states(path: Path) -> list[tuple[int, str, str]]:
    return [(node.depth, node.path.name, node.state) for node in lineage(path)]


def test_the_whole_way_back(family: tuple[Path, Path, Path]) -> None:
    raw, _, train = family
    nodes = lineage(train)
    assert states(train) == [(0, "train.jsonl", "same"), (1, "clean.jsonl", "same"), (2, "raw.jsonl", "same")]
    assert [node.command for node in nodes] == ["data split", "data check", ""]
    assert nodes[0].rows == 1 and nodes[0].counts == {"pairs": 1} and nodes[0].parameters == {"seed": 7}
    assert nodes[2].path.resolve() == raw.resolve()
    assert all(node.trusted for node in nodes)


def test_a_parent_that_changed_or_went_is_told(family: tuple[Path, Path, Path]) -> None:
    raw, clean, train = family
    raw.write_text("{} \n")
    assert [state for _, _, state in states(train)] == ["same", "same", "changed"]
    raw.unlink()
    clean.write_text("other")
    found = lineage(train)
    assert [node.state for node in found] == ["same", "changed", "gone"]
    assert "other bytes" in found[1].note
    clean.unlink()
    # Its manifest still tells where it came from.
    assert [state for _, _, state in states(train)] == ["same", "gone", "gone"]


def test_a_data_set_that_was_touched_by_hand(family: tuple[Path, Path, Path]) -> None:
    train = family[2]
    train.write_text("more")
    assert lineage(train)[0].state == "changed"


def test_a_file_from_outside(family: tuple[Path, Path, Path]) -> None:
    (node,) = lineage(family[0])
    assert (node.state, node.recorded, node.command) == ("unknown", None, "")


def test_one_parent_of_two_is_shown_once_in_full(tmp_path: Path, family: tuple[Path, Path, Path]) -> None:
    _, clean, train = family
    both = make(tmp_path / "both.jsonl", "both", train, clean)
    found = lineage(both)
    assert [(node.depth, node.path.name) for node in found] == [
        (0, "both.jsonl"),
        (1, "train.jsonl"),
        (2, "clean.jsonl"),
        (3, "raw.jsonl"),
        (1, "clean.jsonl"),
    ]
    assert found[-1].note == "its parents are shown above"


def test_a_circle_ends(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    a.write_text("")
    make(b, "b", a)
    a.unlink()
    make(a, "a", b)
    found = lineage(a)
    assert [node.path.name for node in found] == ["a.jsonl", "b.jsonl", "a.jsonl"]
    assert found[-1].note == "it is among its own parents" and found[-1].state == "changed"


def test_a_hostile_manifest_is_bounded_and_cleaned(tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text("")
    parent = {"path": "\x1b[2Jx", "sha256": "0"}
    document = {
        "format": 1,
        "sha256": "0",
        "made_by": {"command": "\x1b]0;x\x07", "parameters": {"\x1b": ["\x1b"]}},
        "parents": [parent] * 5000,
    }
    manifest_path(data).write_text(json.dumps(document))
    found = lineage(data)
    assert len(found) == MAX_NODES
    assert "\x1b" not in repr([(n.name, n.command, n.parameters) for n in found]).replace("\\x1b", "\x1b").replace(
        repr(str(tmp_path)), ""
    )


def test_a_broken_manifest_is_told_and_the_rest_stands(family: tuple[Path, Path, Path]) -> None:
    _, clean, train = family
    manifest_path(clean).write_text("{")
    found = lineage(train)
    assert [node.state for node in found] == ["same", "same"]
    assert "cannot be used" in found[1].note and not found[1].trusted


def test_nothing_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        lineage(tmp_path / "a.jsonl")
