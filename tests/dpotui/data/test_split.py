"""`dpotui data split` as a person and as a script uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.store import Database, facts
from core.store.files import stale_reason
from core.workspace import Workspace
from tests.dpotui.test_gates_cli import Shell, inside, outside

__all__ = ["inside", "outside"]  # fixtures


def pairs(folder: Path) -> Path:
    path = folder / "pairs.jsonl"
    rows = [{"prompt": f"Tell of number {n // 2}.", "chosen": f"Yes {n}", "rejected": "No"} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_three_files_beside_the_source(outside: Shell) -> None:
    pairs(outside.folder)
    said = outside.run("data", "split", "pairs.jsonl", "--test-share", "0.1")
    assert "pairs.jsonl: 40 pairs on 20 prompts\n" in said
    assert "20 groups of near-duplicate prompts, the largest with 2 pairs\n" in said
    assert "train             28 pairs  70.00%        14 prompts  pairs_train.jsonl" in said
    assert "validation         8 pairs  20.00%         4 prompts  pairs_val.jsonl" in said
    assert "test               4 pairs  10.00%         2 prompts  pairs_test.jsonl" in said
    assert "searched after writing: 0 prompts in two files, 0 near-duplicates" in said
    assert "(near-duplicates: a Jaccard of 0.8 or more; searched exactly)" in said
    assert all(len(line) <= 80 for line in said.splitlines())


def test_the_json_document(outside: Shell) -> None:
    pairs(outside.folder)
    found = outside.json(
        "data", "split", "pairs.jsonl", "--out-dir", "made", "--validation", "held.jsonl", "--seed", "1"
    )
    assert [(part["name"], part["file"], part["pairs"]) for part in found["parts"]] == [
        ("train", "made/pairs_train.jsonl", 32),
        ("validation", "held.jsonl", 8),
    ]
    assert found["leaks"] == {
        "prompts": 0,
        "near_duplicate_prompts": 0,
        "complete": True,
        "search": "exact",
        "certainty": 1.0,
    }
    again = outside.json("data", "split", "pairs.jsonl", "--out-dir", "again", "--seed", "1")
    assert [part["sha256"] for part in again["parts"]] == [part["sha256"] for part in found["parts"]]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--validation-share", "1"], "a share from 0 to less than 1"),
        (["--validation-share", "0"], "nothing to split off"),
        (["--validation-share", "0.6", "--test-share", "0.4"], "nothing is left for training"),
        (["--test", "test.jsonl"], "--test-share is 0"),
        (["--threshold", "0.1"], "a Jaccard from 0.3 to 1"),
        (["--train", "pairs.jsonl"], "is the file that is read"),
        (["--train", "a.jsonl", "--validation", "a.jsonl"], "written twice"),
        (["--train", "a.jsonl.gz"], "plain text"),
    ],
)
def test_wrong_use_is_one_line(outside: Shell, arguments: list[str], why: str) -> None:
    pairs(outside.folder)
    said = outside.run("data", "split", "pairs.jsonl", *arguments, code=2)
    assert why in said
    assert [path.name for path in outside.folder.glob("*.jsonl")] == ["pairs.jsonl"]


def test_it_is_recorded_and_goes_stale(inside: Shell, workspace: Workspace, db: Database) -> None:
    path = pairs(workspace.data)
    found = inside.json("data", "split", str(path), "--record")
    share, leaks = (facts.latest(db)[name] for name in ("data.validation_share", "data.leaks"))
    assert (share.value, leaks.value, share.run) == (0.2, 0.0, found["run"])
    assert set(share.inputs) == {"data/pairs_train.jsonl", "data/pairs_val.jsonl"}
    assert stale_reason(db, workspace, share) is None
    with (workspace.data / "pairs_val.jsonl").open("a") as file:
        file.write("\n")
    assert stale_reason(db, workspace, leaks) == "data/pairs_val.jsonl changed since"


def test_the_lineage_of_what_was_split(outside: Shell) -> None:
    source = pairs(outside.folder)
    outside.run("data", "split", "pairs.jsonl")
    said = outside.run("data", "lineage", "pairs_val.jsonl")
    assert said.startswith("pairs_val.jsonl  as recorded, 8 rows\n   by data split: part validation, seed 42, shares")
    assert "\n   pairs.jsonl  as recorded\n" in said
    source.write_text("")
    changed = outside.run("data", "lineage", "pairs_val.jsonl", code=1)
    assert "   pairs.jsonl  CHANGED since\n" in changed
    source.unlink()
    found = outside.json("data", "lineage", "pairs_val.jsonl", code=1)
    assert [(node["depth"], node["name"], node["state"]) for node in found["nodes"]] == [
        (0, "pairs_val.jsonl", "same"),
        (1, "pairs.jsonl", "gone"),
    ]
    assert "does not exist" in outside.run("data", "lineage", "other.jsonl", code=2)
