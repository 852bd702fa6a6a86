"""`dpotui data check` as a person and as a script uses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.store import Database, facts, runs
from core.workspace import Workspace
from tests.dpotui.test_gates_cli import Shell, inside, outside, pairs

__all__ = ["inside", "outside"]  # fixtures


def bad_file(path: Path) -> Path:
    pairs(path, 3)
    rows: list[Any] = [{"prompt": "p", "chosen": "", "rejected": "x"}, {"prompt": "p", "chosen": "x"}]
    with path.open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    return path


def test_a_good_file(outside: Shell) -> None:
    pairs(outside.folder / "good.jsonl", 4)
    said = outside.run("data", "check", "good.jsonl")
    assert "good.jsonl: rows 4, valid pairs 4" in said
    assert "unique prompts 4, different responses to each 2.00" in said
    assert (
        "preference gap 0.4000 [0.4000, 0.4000], median 0.4000; chosen_score/rejected_score on 0 to 1, all 4 pairs"
        in said
    )
    assert "with a gap of 0.15 or more: 100.0% of them" in said
    assert "  0.4 to  0.5        4  ████" in said


def test_bad_rows_are_named_by_line(outside: Shell) -> None:
    bad_file(outside.folder / "bad.jsonl")
    said = outside.run("data", "check", "bad.jsonl", code=1)
    assert "bad.jsonl:4: chosen is empty\n" in said
    assert "bad.jsonl:5: rejected is missing (the row has prompt, chosen)\n" in said
    assert "bad.jsonl:6: not JSON" in said
    assert "errors: 1 empty, 1 json, 1 missing" in said


def test_the_json_document(outside: Shell) -> None:
    bad_file(outside.folder / "bad.jsonl")
    found = outside.json("data", "check", "bad.jsonl", code=1)
    assert set(found) == {"rows", "valid", "errors", "findings", "facts"}
    assert (found["rows"], found["valid"]) == (6, 3)
    assert found["errors"] == {"empty": 1, "json": 1, "missing": 1}
    assert found["findings"]["rows"][0] == {
        "file": "bad.jsonl",
        "line": 4,
        "kind": "empty",
        "field": "chosen",
        "reason": "chosen is empty",
    }
    assert found["findings"]["gap"]["share_at_target"] == 1.0
    assert found["facts"]["data.preference_gap"]["value"] == 0.4
    assert found["facts"]["data.pairs"]["value"] == 3
    assert found["facts"]["data.decontamination"]["value"] is None
    assert found["facts"]["data.format_valid"]["value"] == 0


def test_without_scores_the_gap_is_unknown(outside: Shell) -> None:
    pairs(outside.folder / "plain.jsonl", 3, chosen=None)
    assert "preference gap unknown: the pairs have no scores" in outside.run("data", "check", "plain.jsonl")
    found = outside.json("data", "check", "plain.jsonl")
    assert found["findings"]["gap"] is None
    assert found["facts"]["data.preference_gap"]["value"] is None


def test_the_share_is_told_by_the_workspaces_own_target(inside: Shell, workspace: Workspace) -> None:
    path = workspace.configs / "dpo_config.yaml"
    path.write_text(path.read_text().replace("gap_target: 0.15", "gap_target: 0.5"))
    pairs(workspace.data / "a.jsonl", 3)
    assert "with a gap of 0.5 or more: 0.0% of them" in inside.run("data", "check", "data/a.jsonl")


def test_sft_examples_are_checked_too(outside: Shell) -> None:
    rows = [{"prompt": "a", "response": "b"}, {"prompt": "a", "response": ""}]
    (outside.folder / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = outside.run("data", "check", "sft.jsonl", code=1)
    assert "sft.jsonl: rows 2, valid SFT examples 1" in said
    assert "sft.jsonl:2: response is empty" in said
    found = outside.json("data", "check", "sft.jsonl", code=1)
    assert (found["rows"], found["valid"], found["errors"], found["facts"]) == (2, 1, {"empty": 1}, {})


def test_record_makes_the_gates_see_it(inside: Shell, workspace: Workspace, db: Database) -> None:
    pairs(workspace.data / "train.jsonl", 1200)
    val = pairs(workspace.data / "val.jsonl", 300)
    val.write_text(val.read_text().replace('"p', '"held out p').replace('"held out prompt"', '"prompt"'))
    said = inside.run("data", "check", "data/train.jsonl", "--validation", "data/val.jsonl", "--record")
    assert said.endswith("recorded as data-check-001\n")
    (run,) = runs.listing(db)
    assert (run.kind, run.state, run.step, run.steps) == ("data_check", "finished", 1, 1)
    assert run.config == {"data": {"train_file": "data/train.jsonl", "validation_file": "data/val.jsonl"}}
    assert set(run.inputs) == {"data/train.jsonl", "data/val.jsonl"}
    assert facts.latest(db)["data.validation_share"].value == 0.2
    found = {gate["name"]: gate for gate in inside.json("gates", "2", code=1)["gates"]}
    assert (found["pair_count"]["value"], found["pair_count"]["verdict"]) == (1500, "PASS")
    assert found["preference_gap"]["run"] == run.id
    assert found["decontamination"]["verdict"] == "UNKNOWN"
    pairs(workspace.data / "train.jsonl", 1300)
    found = {gate["name"]: gate for gate in inside.json("gates", "2", code=1)["gates"]}
    assert found["pair_count"]["verdict"] == "STALE"


def test_without_record_nothing_is_written(inside: Shell, workspace: Workspace, db: Database) -> None:
    pairs(workspace.data / "train.jsonl", 3)
    inside.run("data", "check", "data/train.jsonl")
    assert runs.listing(db) == []
    assert facts.latest(db) == {}


PLANTED = [
    {"prompt": "p", "chosen": "yes indeed", "rejected": "no never"},
    {"prompt": "p", "chosen": "no never", "rejected": "yes indeed"},
    {"prompt": "q", "chosen": "write to jane.roe@mail.example.org", "rejected": "no"},
    {"prompt": "q", "chosen": "write to jane.roe@mail.example.org", "rejected": "no"},
    {"prompt": "r", "chosen": ""},
]


def planted(path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in PLANTED))
    return path


def test_each_finding_leads_to_its_pairs(outside: Shell) -> None:
    planted(outside.folder / "a.jsonl")
    said = outside.run("data", "check", "a.jsonl", code=1)
    assert "conflicts: 2 pairs (1 conflict), the first in line 1, line 2\n" in said
    said = outside.run("data", "check", "a.jsonl", "--show", "conflict", "--limit", "1", code=1)
    assert said.splitlines()[1:] == [
        "line 1: the other way round in line 2",
        "  prompt   p",
        "  chosen   yes indeed",
        "  rejected no never",
        "and 1 more: --limit shows them",
    ]
    said = outside.run("data", "check", "a.jsonl", "--show", "email", code=1)
    assert "line 3: chosen: j…@m….org\n" in said
    assert "  chosen   write to j…@m….org\n" in said
    assert "jane" not in said
    assert "name the held-out file with --validation" in outside.run(
        "data", "check", "a.jsonl", "--show", "leak", code=2
    )
    found = outside.json("data", "check", "a.jsonl", "--limit", "1", code=1)["findings"]
    assert found["counts"]["duplicate"] == 1
    assert found["pairs"]["conflict"] == {
        "count": 2,
        "first": [
            {
                "file": "a.jsonl",
                "line": 1,
                "detail": "the other way round in line 2",
                "with": {"file": "a.jsonl", "line": 1},
            }
        ],
        "more": 1,
    }
    assert "jane" not in json.dumps(found)


def test_a_clean_copy_and_what_was_left_out(outside: Shell) -> None:
    planted(outside.folder / "a.jsonl")
    outside.run("data", "check", "a.jsonl", "--fix", "b.jsonl", "--drop", "duplicate", code=1)
    assert [json.loads(line) for line in (outside.folder / "b.jsonl").read_text().splitlines()] == PLANTED[:3]
    left = [json.loads(line) for line in (outside.folder / "b.left-out.jsonl").read_text().splitlines()]
    assert [(row["line"], row["kind"]) for row in left] == [(4, "duplicate"), (5, "missing")]
    assert left[0]["reason"] == "duplicates: the same as line 3"
    outside.run("data", "check", "b.jsonl")
    assert "is the file that is read" in outside.run("data", "check", "a.jsonl", "--fix", "a.jsonl", code=2)
    assert "name a file with --fix" in outside.run("data", "check", "a.jsonl", "--drop", "duplicate", code=2)


def test_limits_want_a_tokenizer(outside: Shell) -> None:
    planted(outside.folder / "a.jsonl")
    lengths = ("--max-prompt-length", "8", "--max-response-length", "8")
    assert "name a model's folder with --model" in outside.run("data", "check", "a.jsonl", *lengths, code=2)
    assert "name both limits" in outside.run("data", "check", "a.jsonl", *lengths[:2], code=2)
    assert "has no tokenizer.json" in outside.run("data", "check", "a.jsonl", "--model", ".", code=2)


def test_a_second_check_uses_the_index_that_stands(inside: Shell, workspace: Workspace) -> None:
    planted(workspace.data / "a.jsonl")
    inside.run("data", "check", "data/a.jsonl", code=1)
    (index,) = (workspace.cache / "data").glob("*.db")
    made = index.stat().st_mtime_ns
    inside.run("data", "check", "data/a.jsonl", code=1)
    assert [path.stat().st_mtime_ns for path in (workspace.cache / "data").glob("*.db")] == [made]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("none.jsonl",), "none.jsonl does not exist"),
        ((".",), "is a folder"),
        (("a.jsonl", "--validation", "./a.jsonl"), "a.jsonl is the training file"),
        (("a.jsonl", "--record"), "is not a workspace"),
        (("a.jsonl", "-w", "nowhere"), "nowhere is no folder"),
        (("a.jsonl", "--scale", "0.6:1"), "scores run from 0.5 to 0.9, outside the declared scale 0.6 to 1"),
        (("empty.jsonl",), "empty.jsonl is empty"),
    ],
)
def test_what_cannot_be_checked_is_one_line(outside: Shell, args: tuple[str, ...], words: str) -> None:
    pairs(outside.folder / "a.jsonl", 3)
    (outside.folder / "empty.jsonl").write_text("")
    assert words in outside.run("data", "check", *args, code=2)


@pytest.mark.parametrize("scale", ["1", "1:2:3", "a:b", "10:1", "nan:1", "0:inf"])
def test_a_wrong_scale_is_refused(
    outside: Shell, scale: str, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs(outside.folder / "a.jsonl", 3)
    from click.testing import CliRunner

    from dpotui.cli import cli

    monkeypatch.chdir(outside.folder)
    done = CliRunner().invoke(cli, ["data", "check", "a.jsonl", "--scale", scale])
    assert done.exit_code == 2
    assert "such as 1:10" in done.output


def test_hostile_text_does_not_reach_the_terminal(outside: Shell) -> None:
    name = "a\x1b[2J.jsonl"
    (outside.folder / name).write_text(json.dumps({"\x1b]0;x\x07": 1, "chosen": "\x1b[31m", "rejected": "y"}) + "\n")
    said = outside.run("data", "check", name, code=1)
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "\x1b" not in outside.run("data", "check", name, "--json", code=1)


def test_what_cannot_be_shown_is_refused_before_anything_is_read(outside: Shell) -> None:
    (outside.folder / "a.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    for kind, mend in (("leak", "--validation"), ("truncated_prompt", "--model"), ("contaminated", "data/benchmarks")):
        said = outside.run("data", "check", "a.jsonl", "--show", kind, code=2)
        assert said.startswith(f"{kind} was not looked for: ") and mend in said
