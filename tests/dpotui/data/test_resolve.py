"""`dpotui data resolve` as a person and as a script uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.resolve import Conflict
from core.errors import UserError
from core.store import Database, facts, runs
from core.workspace import Workspace
from dpotui.commands.data.resolve import ask_person
from tests.dpotui.test_gates_cli import Shell, inside, outside

__all__ = ["inside", "outside"]  # fixtures


def conflicting(path: Path) -> Path:
    told = [("p", "x", "y"), ("p", "y", "x"), ("p", "x", "y"), ("q", "x", "y"), ("r", "v", "w"), ("r", "w", "v")]
    rows = [dict(zip(("prompt", "chosen", "rejected"), one, strict=True)) for one in told]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_by_majority(outside: Shell) -> None:
    conflicting(outside.folder / "a.jsonl")
    assert outside.run("data", "resolve", "a.jsonl", "--by", "majority", "-o", "b.jsonl") == (
        "a.jsonl: 2 conflicts in 5 of 6 rows\n"
        "as many rows on both sides, so all of them go: 1 conflicts\n"
        "rows dropped by majority: 3\n"
        "b.jsonl: 3 pairs written\n"
    )


def test_what_is_left_is_recorded_and_told_by_the_status(inside: Shell, workspace: Workspace, db: Database) -> None:
    conflicting(workspace.data / "a.jsonl")
    inside.run("data", "resolve", "data/a.jsonl", "--export", "d.jsonl")
    rows = [json.loads(line) for line in (workspace.root / "d.jsonl").read_text().splitlines()]
    (workspace.root / "d.jsonl").write_text(json.dumps(rows[0] | {"decision": "first"}))
    by_hand = ("data", "resolve", "data/a.jsonl", "--by", "hand", "--decisions", "d.jsonl", "-o", "data/b.jsonl")
    found = inside.json(*by_hand, "--record", code=1)
    assert (found["conflicts"], found["left"], found["written"], found["dropped"]) == (2, 1, 5, 1)
    fact = facts.latest(db)["data.conflicts"]
    assert (fact.value, fact.run, list(fact.inputs)) == (1.0, found["run"], ["data/b.jsonl"])
    assert runs.get(db, found["run"]).state == "finished"
    inside.run("data", "resolve", "data/b.jsonl", "--by", "drop", "-o", "data/c.jsonl", "--record")
    assert facts.latest(db)["data.conflicts"].value == 0.0


def test_wrong_use_is_one_line(outside: Shell) -> None:
    conflicting(outside.folder / "a.jsonl")
    for args, words in (
        (("--by", "drop"), "name what to write and how"),
        (("--by", "hand", "-o", "b.jsonl"), "by hand needs a terminal, or decisions in a file"),
        (("--by", "drop", "-o", "b.jsonl", "--decisions", "d.jsonl"), "goes with --by hand, not drop"),
        (("--by", "drop", "-o", "b.jsonl", "--time-field", "at"), "goes with --by newest"),
        (("--by", "newest", "-o", "b.jsonl", "--time-field", "at"), "a.jsonl:1: at is missing"),
        (("--by", "drop", "-o", "a.jsonl"), "is the file that is read"),
        (("--export", "d.jsonl", "--by", "drop"), "nothing else"),
    ):
        assert words in outside.run("data", "resolve", "a.jsonl", *args, code=2)
    assert [path.name for path in outside.folder.iterdir()] == ["a.jsonl"]


# At the terminal


def asked(conflict: Conflict, *keys: str) -> tuple[object, str]:
    said: list[str] = []
    waiting = list(keys)
    return ask_person(conflict, said.append, lambda: waiting.pop(0)), "\n".join(said)


def test_a_person_sees_both_responses_and_answers_with_a_key() -> None:
    conflict = Conflict("00", 7, "What?\x1b[2J", [{"role": "assistant", "content": "a" * 2000}], "b", 2, 1, 3, 59)
    for key, decision in (("a", "first"), ("B", "second"), ("d", "drop"), ("s", None)):
        assert asked(conflict, "?", key)[0] == decision
    _, said = asked(conflict, "m", "a")
    assert "conflict 3 of 59, first in line 7" in said
    assert "What?␛[2J" in said
    assert "A, preferred by 2 rows" in said
    assert "B, preferred by 1 row " in said
    assert "… of 2000 characters (m shows all)" in said
    assert "a" * 2000 in said


@pytest.mark.parametrize("key", ["q", "\x03", "\x04"])
def test_a_person_may_stop(key: str) -> None:
    with pytest.raises(UserError, match="stopped, and nothing written"):
        asked(Conflict("00", 1, "p", "a", "b", 1, 1, 1, 1), key)
