"""`dpotui data decontaminate` as a person and as a script uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.index import build, existing
from core.data.manifest import read_manifest
from core.store import Database, facts, runs
from core.store.files import stale_reason
from core.workspace import Workspace
from tests.dpotui.test_gates_cli import Shell, inside, outside

__all__ = ["inside", "outside"]  # fixtures

QUESTION = "Some people got on a bus at the terminal and seven of them got off at the first stop of the line"
LEAKED = "Please: “Some people got on a BUS, at the terminal; and seven of them got off at the first stop” (of eight)."


def files(folder: Path) -> tuple[Path, Path]:
    rows = [{"prompt": f"Name a thing, number {n}.", "chosen": f"Thing {n}", "rejected": "No"} for n in range(9)]
    rows.insert(4, {"prompt": LEAKED, "chosen": "\x1b[31mTwelve", "rejected": "Eleven"})
    pairs, quiz = folder / "pairs.jsonl", folder / "quiz.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    quiz.write_text(json.dumps({"question": "What is the sum of four and of five, and of nine?"}) + "\n")
    with quiz.open("a") as file:
        file.write(json.dumps({"question": QUESTION}) + "\n")
    return pairs, quiz


def test_the_pair_stands_beside_the_item(outside: Shell) -> None:
    files(outside.folder)
    said = outside.run("data", "decontaminate", "pairs.jsonl", "--benchmark", "quiz.jsonl", code=1)
    assert "pairs.jsonl: 1 of 10 pairs are contaminated, score 0.9000" in said
    assert "compared with 2 items of quiz.jsonl" in said
    assert "pairs.jsonl:5 holds 90.9% of quiz.jsonl:2" in said
    # Both texts, marked where they agree, in two columns.
    assert "Please: “«Some people got on a BUS" in said and "at the first stop” (of» eight)." in said
    assert any(line.startswith("item      ") and line.endswith("  prompt") for line in said.splitlines())
    assert all(len(line) <= 80 for line in said.splitlines())
    assert "\x1b" not in said


def test_the_json_document(outside: Shell) -> None:
    files(outside.folder)
    found = outside.json("data", "decontaminate", "pairs.jsonl", "--benchmark", "quiz.jsonl", code=1)
    assert (found["pairs"], found["contaminated"], found["score"]) == (10, 1, 0.9)
    assert found["items"] == [
        {"line": 5, "benchmark": "quiz.jsonl", "item": "quiz.jsonl:2", "coverage": pytest.approx(20 / 22)}
    ]
    strict = outside.json("data", "decontaminate", "pairs.jsonl", "--benchmark", "quiz.jsonl", "--coverage", "0.95")
    assert strict["items"] == [] and strict["score"] == 1.0


def test_fix_leaves_those_pairs_out_and_nothing_else(outside: Shell) -> None:
    pairs, _ = files(outside.folder)
    said = outside.run("data", "decontaminate", "pairs.jsonl", "--benchmark", "quiz.jsonl", "--fix", "clean.jsonl")
    assert "clean.jsonl: 9 pairs written" in said
    lines = pairs.read_bytes().splitlines(keepends=True)
    clean = outside.folder / "clean.jsonl"
    assert clean.read_bytes() == b"".join(lines[:4] + lines[5:])
    manifest = read_manifest(clean)
    assert manifest is not None and manifest.counts == {"pairs": 9, "contaminated": 1}
    assert manifest.parameters == {"n": 8, "coverage": 0.5}
    assert [path for path, _ in manifest.parents] == ["pairs.jsonl", "quiz.jsonl"]
    assert outside.json("data", "decontaminate", "clean.jsonl", "--benchmark", "quiz.jsonl")["score"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["pairs.jsonl", "--fix", "out.jsonl"], "nothing to compare with"),
        (["pairs.jsonl", "--benchmark", "quiz.jsonl", "--fix", "pairs.jsonl"], "read and written at once"),
        (["pairs.jsonl", "--benchmark", "quiz.jsonl", "--fix", "quiz.jsonl"], "read and written at once"),
        (["pairs.jsonl", "--benchmark", "gone.jsonl"], "gone.jsonl does not exist"),
        (["pairs.jsonl", "--benchmark", "quiz.jsonl", "--n", "1"], "2 to 100 words"),
        (["bad.jsonl", "--benchmark", "quiz.jsonl", "--fix", "out.jsonl"], "bad.jsonl:1: rejected is missing"),
        (["same.jsonl", "--benchmark", "quiz.jsonl", "--fix", "out.jsonl"], "nothing is left"),
        (["pairs.jsonl", "--benchmark", "quiz.jsonl", "--record"], "is not a workspace"),
    ],
)
def test_bad_input_is_one_line(outside: Shell, arguments: list[str], why: str) -> None:
    files(outside.folder)
    (outside.folder / "bad.jsonl").write_text('{"prompt": "a", "chosen": "b"}\n')
    (outside.folder / "same.jsonl").write_text(json.dumps({"prompt": QUESTION, "chosen": "b", "rejected": "c"}) + "\n")
    said = outside.run("data", "decontaminate", *arguments, code=2)
    assert why in said
    assert not (outside.folder / "out.jsonl").exists()


def test_without_benchmarks_it_is_unknown_and_not_clean(outside: Shell) -> None:
    files(outside.folder)
    found = outside.json("data", "decontaminate", "pairs.jsonl", code=1)
    assert found["score"] is None and found["contaminated"] is None and found["pairs"] == 10
    assert "data/benchmarks" in found["source"]


def test_it_is_recorded_and_goes_stale_with_the_benchmarks(inside: Shell, workspace: Workspace, db: Database) -> None:
    pairs, quiz = files(workspace.data)
    (workspace.data / "benchmarks").mkdir(exist_ok=True)
    quiz = quiz.rename(workspace.data / "benchmarks" / "quiz.jsonl")
    index = build([pairs], workspace.cache / "data")
    index.close()
    found = inside.json("data", "decontaminate", str(pairs), "--record", code=1)
    fact = facts.latest(db)["data.decontamination"]
    assert fact.value == 0.9 and fact.n == 10 and fact.run == found["run"]
    assert set(fact.inputs) == {"data/pairs.jsonl", "data/benchmarks/quiz.jsonl", "data/benchmarks"}
    assert runs.get(db, found["run"]).state == "finished"
    assert stale_reason(db, workspace, fact) is None
    # The index leads to the pair.
    again = existing([pairs], workspace.cache / "data")
    assert again is not None and again.counts()["contaminated"] == 1
    again.close()
    added = quiz.with_name("added.jsonl")
    added.write_text('{"question": "What else?"}\n')
    assert stale_reason(db, workspace, fact) == "data/benchmarks changed since"
    added.unlink()
    assert stale_reason(db, workspace, fact) is None
    quiz.write_text('{"question": "What else?"}\n')
    assert stale_reason(db, workspace, fact) == "data/benchmarks changed since"


def test_named_benchmarks_do_not_go_stale_with_the_folder(inside: Shell, workspace: Workspace, db: Database) -> None:
    pairs, quiz = files(workspace.data)
    (workspace.data / "benchmarks").mkdir(exist_ok=True)
    inside.json("data", "decontaminate", str(pairs), "--benchmark", str(quiz), "--record", code=1)
    assert set(facts.latest(db)["data.decontamination"].inputs) == {"data/pairs.jsonl", "data/quiz.jsonl"}
