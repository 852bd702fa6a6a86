"""`dpotui export` as a person and as a script uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.core.handover import made
from tests.core.training import tiny
from tests.dpotui.test_gates_cli import Shell
from tests.dpotui.test_generate_cli import _last_line


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    space, db = tiny.workspace(tmp_path / "w")
    db.close()
    made.adapter(space, "outputs/mine")
    return Shell(space.root, monkeypatch, capfdbinary)


def test_an_export_from_here(shell: Shell) -> None:
    with shell.patch.context() as patch:
        patch.setattr("sys.argv", ["dpotui"])
        options = ("--pairs", "data/pairs_val.jsonl", "--peft", "--in-process", "--json")
        found = json.loads(_last_line(shell, "export", "outputs/mine", *options))
    assert (found["kind"], found["state"], found["output"]) == ("export", "finished", "outputs/mine-export")
    record = json.loads((shell.folder / found["output"] / "export.json").read_text())
    assert record["run"] == found["id"] == "export-001"
    assert record["verified"]["peft"]["worst_difference_nats_per_token"] < 1e-4
    shown = shell.json("runs", "show", "export-001")
    assert {one["kind"] for one in shown["artifacts"]} == {"model", "adapter", "card", "checksums"}
    said = shell.run("export", "outputs/mine", "--pairs", "data/pairs_val.jsonl", "-o", "outputs/mine-export", code=2)
    assert said.endswith("outputs/mine-export holds an export already: --force replaces it, or name another folder")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("dpo-001",), "no run 'dpo-001'"),
        (("outputs/mine", "--quantize", "3"), "'3' is not one of '4', '8'"),
        (("outputs/mine", "--checkpoint", "3"), "--checkpoint is of a run"),
        (("outputs/mine", "--pairs", "none.jsonl"), "none.jsonl is not there"),
        (("outputs/mine", "--detach", "--in-process"), "exclude each other"),
        (("outputs/mine", "-w", "data/nowhere"), "is no folder"),
        ((), "Missing argument 'RUN'"),
    ],
)
def test_bad_input_is_one_line(shell: Shell, args: tuple[str, ...], words: str) -> None:
    assert words in shell.run("export", *args, code=2)
