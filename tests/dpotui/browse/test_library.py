"""What the files of a workspace hold, and when what was measured on them does not hold any more."""

from __future__ import annotations

import os
from pathlib import Path

from core.data.index import build
from core.store import Database, facts, files
from core.store.facts import Fact
from core.workspace import Workspace
from dpotui.browse.library import Library
from tests.dpotui.browse.made import pair, write


def test_kinds_rows_and_what_cannot_be_read(workspace: Workspace) -> None:
    data = workspace.data
    write(data / "pairs.jsonl", [pair(1), pair(2)])
    (data / "open.jsonl").write_bytes(b'{"prompt": "p"}\n{"prompt": "q"}')
    write(data / "candidates.jsonl", [{"prompt": "p", "responses": ["a"]}])
    write(data / "sft" / "train.jsonl", [{"prompt": "p", "response": "r"}])
    write(data / "benchmarks" / "gsm8k.jsonl", [{"question": "q", "answer": "a"}])
    (data / "empty.jsonl").write_text("")
    (data / "notes.txt").write_text("no data")
    (data / ".hidden.jsonl").write_text("{}")
    os.mkfifo(data / "pipe.jsonl")
    (data / "loop").symlink_to(data)
    found = {file.name: (file.kind, file.rows, bool(file.problem)) for file in Library(workspace).look()}
    assert found == {
        "data/pairs.jsonl": ("pairs", 2, False),
        "data/candidates.jsonl": ("candidates", 1, False),
        "data/open.jsonl": ("prompts", 2, False),
        "data/sft/train.jsonl": ("SFT examples", 1, False),
        "data/benchmarks/gsm8k.jsonl": ("benchmark", 1, False),
        "data/empty.jsonl": ("unreadable", None, True),
    }


def test_facts_speak_of_a_file_until_it_changes(workspace: Workspace, db: Database) -> None:
    path = write(workspace.data / "pairs.jsonl", [pair(1), pair(2)])
    inputs = files.fingerprints(db, workspace, "data/pairs.jsonl")
    facts.record(
        db,
        Fact("data.pairs", 2.0, time=100.0, inputs=inputs),
        Fact("data.preference_gap", 0.2, time=120.0, inputs=inputs),
        Fact("sft.perplexity", 3.0, time=900.0, inputs=inputs),
    )
    library = Library(workspace)
    (file,) = library.look()
    assert file.gap is not None and (file.gap.value, file.checked, file.stale) == (0.2, 120.0, None)
    before = library.stamp()
    write(path, [pair(1), pair(2), pair(3)])
    assert library.stamp() != before
    (file,) = library.look()
    assert (file.rows, file.stale) == (3, "data/pairs.jsonl changed since")


def test_an_index_counts_as_long_as_the_file_is_the_same(workspace: Workspace) -> None:
    path = write(workspace.data / "pairs.jsonl", [pair(1), "", "{"])
    build([path], workspace.cache / "data").close()
    library = Library(workspace)
    assert [(file.indexed, file.rows) for file in library.look()] == [(True, 2)]
    write(path, [pair(1)])
    assert [(file.indexed, file.rows) for file in library.look()] == [(False, 1)]


def test_files_from_elsewhere_are_listed_too(workspace: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path / "else.jsonl", [pair(1)])
    (file,) = Library(workspace).look((path,))
    assert file.name == path.as_posix()


def test_votes_on_a_file_are_no_check_of_it(workspace: Workspace, db: Database) -> None:
    write(workspace.data / "pairs.jsonl", [pair(1)])
    inputs = files.fingerprints(db, workspace, "data/pairs.jsonl")
    facts.record(db, Fact("data.votes", 1.0, time=100.0, inputs=inputs))
    (file,) = Library(workspace).look()
    assert (file.checked, file.stale) == (None, None)
