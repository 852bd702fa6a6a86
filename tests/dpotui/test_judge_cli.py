"""`dpotui judge` as a person and as a script uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.pairs import Pair, read_pairs
from core.store import open_store, runs
from tests.core.generation.test_judge_run import RUBRIC
from tests.core.training import tiny
from tests.dpotui.test_gates_cli import Shell
from tests.dpotui.test_generate_cli import _last_line

CONFIG = """\
data: {input_file: "data/candidates.jsonl", output_file: "data/preference_pairs.jsonl"}
judges:
  likely: {model: "models/tiny", verdict: "likelihood", average_orders: true}
logging: {output_dir: "outputs/j"}
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    space, db = tiny.workspace(tmp_path / "w")
    db.close()
    (space.configs / "judge_config.yaml").write_text(CONFIG)
    (space.configs / "judge_rubric.md").write_text(RUBRIC)
    rows = [{"prompt": f"Say {word}. ", "responses": [f"{word} please", word]} for word in ("red", "green")]
    (space.data / "candidates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Shell(space.root, monkeypatch, capfdbinary)


def test_a_run_from_here(shell: Shell) -> None:
    with shell.patch.context() as patch:
        patch.setattr("sys.argv", ["dpotui"])
        found = json.loads(_last_line(shell, "judge", "--in-process", "--json"))
    assert (found["kind"], found["state"], found["step"], found["steps"]) == ("judge", "finished", 4, 4)
    pairs = [row for row in read_pairs(shell.folder / "data" / "preference_pairs.jsonl") if isinstance(row, Pair)]
    assert len(pairs) == 2
    assert all(0 <= (pair.rejected_score or 0) < (pair.chosen_score or 0) <= 1 for pair in pairs)
    said = shell.run("judge", "--resume", "judge-001", code=2)
    assert said == "judge-001 is finished: only a stopped, failed or interrupted run can be resumed"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--set", "data.input_file=data/gone.jsonl"), "data.input_file: data/gone.jsonl does not exist"),
        (("--set", "judges.likely.model=models/gone"), "judges.likely.model: models/gone does not exist"),
        (("--set", "judges.likely.rubric_file=gone.md"), "judges.likely.rubric_file: gone.md does not exist"),
        (("--set", "judges.other.model=models/tiny", "--set", "pairing.judge=x"), "is none of the judges"),
        (("--resume", "judge-009"), "no run 'judge-009'"),
        (("--resume", "judge-009", "--set", "pairing.min_gap=0"), "leave out --config and --set"),
        (("--detach", "--in-process"), "exclude each other"),
        (("--config", "configs/none.yaml"), "does not exist"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(shell: Shell, args: tuple[str, ...], words: str) -> None:
    said = shell.run("judge", *args, code=2)
    assert words in said
    assert runs.listing(open_store(shell.folder / "runs.db")) == []
