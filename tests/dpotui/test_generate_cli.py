"""`dpotui generate` as a person and as a script uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.candidates import Candidates, read_candidates
from core.store import open_store, runs
from core.workspace import Workspace
from tests.core.training import tiny
from tests.dpotui.test_gates_cli import Shell

CONFIG = """\
model: {base_model: "models/tiny"}
data: {prompts_file: "data/prompts.jsonl", output_file: "data/candidates.jsonl"}
generation: {responses_per_prompt: 2, max_tokens: 4, temperature: 1.0, recipes: {near: {top_p: 0.9}, far: {}}}
logging: {output_dir: "outputs/g"}
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    space, db = tiny.workspace(tmp_path / "w")
    db.close()
    (space.configs / "generate_config.yaml").write_text(CONFIG)
    rows = [{"prompt": f"Say {word}. "} for word in ("red", "green", "red")]
    (space.data / "prompts.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows) + '{"x": "\\u001b[31m"}\n'
    )
    return Shell(space.root, monkeypatch, capfdbinary)


def test_the_plan(shell: Shell) -> None:
    assert shell.run("generate", "--dry-run").splitlines() == [
        "left out: data/prompts.jsonl:4: prompt is missing (the row has x)",
        "data/prompts.jsonl: 2 different prompts (1 rows repeat one of them, 1 rows left out)",
        "generate: 2 responses a prompt = 4 responses, at most 4 tokens each, auto at a time -> data/candidates.jsonl",
        "  near: 1 from models/tiny",
        "  far: 1 from models/tiny",
    ]
    plan = shell.json("generate", "--dry-run", "--set", "data.limit=1")
    assert plan["prompts"] == {"rows": 4, "prompts": 1, "duplicates": 1, "beyond": 1, "bad": 1}
    assert (plan["responses"], plan["recipes"], plan["missing"]) == (2, {"near": 1, "far": 1}, [])
    assert runs.listing(open_store(shell.folder / "runs.db")) == []


def test_what_is_missing_is_said_before_anything_starts(shell: Shell) -> None:
    said = shell.run("generate", "--dry-run", "--set", "model.base_model=models/gone")
    assert said.startswith(f"missing: model.base_model: models/gone does not exist in {shell.folder}\n")
    said = shell.run("generate", "--set", "data.prompts_file=data/gone.jsonl", code=2)
    assert said.startswith("data.prompts_file: data/gone.jsonl does not exist")


def test_a_run_from_here(shell: Shell) -> None:
    with shell.patch.context() as patch:
        patch.setattr("sys.argv", ["dpotui"])
        found = json.loads(_last_line(shell, "generate", "--in-process", "--json"))
    assert (found["kind"], found["state"], found["step"], found["steps"]) == ("generate", "finished", 4, 4)
    rows = list(read_candidates(shell.folder / "data" / "candidates.jsonl"))
    assert [row.prompt for row in rows if isinstance(row, Candidates)] == ["Say red. ", "Say green. "]
    said = shell.run("generate", "--resume", "generate-001", code=2)
    assert said == "generate-001 is finished: only a stopped, failed or interrupted run can be resumed"


def _last_line(shell: Shell, *args: str) -> str:
    """Of standard output; the run's log goes to standard error."""
    import sys

    from dpotui.cli import main

    with shell.patch.context() as patch:
        patch.chdir(shell.folder)
        patch.setattr(sys, "argv", ["dpotui", *args])
        with pytest.raises(SystemExit) as left:
            main()
    out, err = (stream.decode() for stream in shell.captured.readouterr())
    assert left.value.code in (0, None), err
    return out.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("--resume", "x", "--dry-run"), "--dry-run is for a run that is not there yet: leave out --resume"),
        (("--resume", "x", "--set", "a.b=1"),
         "--resume goes on with the run's own configuration: leave out --config and --set"),
        (("--detach", "--in-process"), "--detach and --in-process exclude each other: choose one"),
        (("--resume", "x"), "no run 'x': 'dpotui runs' lists them"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(shell: Shell, args: tuple[str, ...], line: str) -> None:
    assert shell.run("generate", *args, code=2) == line


def test_a_run_of_another_kind(shell: Shell, workspace: Workspace) -> None:
    db = open_store(shell.folder / "runs.db")
    runs.create(db, "dpo", config={})
    assert shell.run("generate", "--resume", "dpo-001", code=2) == (
        "dpo-001 is a run of kind dpo: 'dpotui runs resume dpo-001' takes any kind"
    )
