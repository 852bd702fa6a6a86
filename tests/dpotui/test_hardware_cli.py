"""`dpotui hardware`: what it says of the machine, and a calibration from the first size to what a run then uses."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from core import hardware
from core.store import Database, calibrations, environments, open_store, runs
from core.store.calibrations import Size
from core.store.environments import Setting
from core.workspace import Workspace
from dpotui.commands import hardware as command
from tests.core.training import tiny
from tests.dpotui.test_cli import dpotui
from tests.dpotui.test_gates_cli import Shell, inside, outside

__all__ = ["inside", "outside"]  # fixtures

CONFIG = """\
model: {base_model: models/tiny, reference_model: models/tiny, policy_model: models/tiny}
data:
  {train_file: data/pairs_train.jsonl, validation_file: data/pairs_val.jsonl, max_prompt_length: 64,
   max_response_length: 64}
training: {learning_rate: 1.0e-3, beta: 0.1, batch_size: auto, gradient_accumulation_steps: 2, max_steps: 3}
adapter: {rank: 4, num_layers: -1}
constraints: {kl_target: 0.1, preference_gap_target: 0.15}
logging: {output_dir: outputs/dpo}
"""


@pytest.fixture
def trainable(tmp_path: Path) -> Workspace:
    """A workspace with a tiny model and pairs, and a configuration of them."""
    space, db = tiny.workspace(tmp_path / "w")
    db.close()
    (space.configs / "dpo_config.yaml").write_text(CONFIG)
    return space


def _calibrated(db: Database, chosen: int | None = 4) -> int:
    made = calibrations.begin(
        db, run=None, kind="dpo", chip="Apple M4 Max", subject={}, limit=48 * 10**9, limit_source="Metal"
    )
    calibrations.add(db, made, Size(4, "FITS", 11.5, 7 * 10**9, 4.0))
    calibrations.add(db, made, Size(8, "TOO LARGE", None, None, 4.0, "ended the process (SIGABRT)"))
    calibrations.finish(db, made, chosen, "11.5 pairs/s; 8 is too large")
    return made


def test_it_needs_no_workspace(outside: Shell) -> None:
    document = outside.json("hardware")
    assert document["machine"]["cores"] >= 1
    assert document["memory"]["bytes"] > 0
    now = document["now"]
    assert (now["memory"]["unit"], now["memory"]["source"]) == ("B", "psutil")
    assert 0 < now["memory"]["value"] < now["memory"]["limit"] == document["machine"]["memory"]
    assert all((one["value"] is None and one["text"] is None) == bool(one["reason"]) for one in now.values())
    assert document["calibrations"] == []
    assert document["forecast"] is None
    assert {variable["name"] for variable in document["environment"]} >= {
        "MLX_METAL_PREALLOCATE",
        "MLX_METAL_FAST_SYNCH",
    }
    assert document["environment_of_last_run"] is None
    assert list(outside.folder.iterdir()) == []


def test_the_environment_is_that_of_a_configuration(inside: Shell, db: Database) -> None:
    (inside.folder / "configs" / "dpo_config.yaml").write_text(CONFIG + "compute: {environment: {cache_limit_gb: 2}}\n")
    run = runs.create(db, "dpo", config={})
    runs.update(db, run.id, started=1.0)
    had = Setting(
        "cache limit", "compute.environment.cache_limit_gb", "2 GB", "configuration", "effective", "read back"
    )
    environments.record(db, run.id, [had])
    document = inside.json("hardware")
    found = {one["name"]: one for one in document["environment"]}
    assert (found["cache limit"]["value"], found["cache limit"]["by"]) == ("2 GB", "configuration")
    assert found["MLX_METAL_PREALLOCATE"]["effect"] is None
    assert document["environment_of_last_run"]["run"] == "dpo-001"
    assert document["environment_of_last_run"]["settings"][0]["effect"] == "effective"
    said = inside.run("hardware")
    assert "2 GB (configuration)   set when a run begins" in said
    assert "environment of dpo-001, the last run" in said


def test_people_read_memory_variables_and_what_was_measured(inside: Shell, db: Database) -> None:
    said = inside.run("hardware")
    assert "memory for a run" in said
    assert "Apple M4 Max 32, Apple M3 Ultra 4" in said
    assert "MLX_METAL_PREALLOCATE" in said
    assert "has no effect in MLX" in said
    assert "dpotui hardware --calibrate --config FILE" in said
    _calibrated(db)
    said = inside.run("hardware")
    assert "dpo    batch size 4" in said
    assert "11.5 pairs/s; 8 is too large" in said


def test_programs_read_every_size(inside: Shell, db: Database) -> None:
    _calibrated(db)
    (found,) = inside.json("hardware")["calibrations"]
    assert (found["chosen"], found["limit_bytes"]) == (4, 48 * 10**9)
    assert [size["batch_size"] for size in found["sizes"]] == [4, 8]
    assert found["sizes"][1]["pairs_per_second"] is None
    assert found["sizes"][1]["verdict"] == "TOO LARGE"


def test_a_configuration_is_held_against_the_machine(trainable: Workspace) -> None:
    done = dpotui("hardware", "--config", str(trainable.configs / "dpo_config.yaml"), "--json", cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    forecast = json.loads(done.stdout)["forecast"]
    assert forecast["verdict"] == "SAFE"
    assert 0 < forecast["bytes"] < forecast["limit_bytes"]
    assert forecast["bytes"] == sum(forecast["parts"].values())
    assert forecast["lengths"]["source"] == "the longest rows of pairs_train.jsonl, tokenized"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--set", "training.beta=1"), "--set and --for go with --config"),
        (("--config", "nope.yaml"), "nope.yaml does not exist"),
        (("--calibrate", "--set", "training.betta=1"), "did you mean training.beta"),
    ],
)
def test_wrong_use_is_one_line(inside: Shell, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in inside.run("hardware", *words, code=2)


def test_calibrate_measures_prints_and_remembers(trainable: Workspace) -> None:
    done = dpotui("hardware", "--calibrate", "--in-process", "--for", "dpo", cwd=trainable.root)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["batch", "size", "pairs/s", "peak", "memory", "verdict"]
    assert [line.split()[0] for line in lines[1:-1]] == [str(2**i) for i in range(len(lines) - 2)]
    assert sum("chosen" in line for line in lines) == 1
    assert lines[-1].startswith("batch size ")
    assert "batch size 1: " in done.stderr  # plain lines where there is no terminal
    with_db = open_store(trainable.database)
    (found,) = calibrations.listing(with_db)
    assert (found.run, runs.get(with_db, "calibrate-001").state) == ("calibrate-001", "finished")
    with_db.close()
    # What a run with auto then uses, without measuring again.
    done = dpotui("train", "dpo", "--in-process", "--json", cwd=trainable.root)
    assert done.returncode == 0, done.stderr
    assert f"training.batch_size: auto: {found.chosen}: measured on this machine on" in done.stderr
    assert "measuring batch size" not in done.stderr


def test_a_calibration_that_fails_exits_1_with_the_reason(trainable: Workspace) -> None:
    (trainable.data / "pairs_train.jsonl").write_text('{"prompt": "x", "chosen": ""}\n')
    done = dpotui("hardware", "--calibrate", "--in-process", "--json", cwd=trainable.root)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["state"], document["chosen"]) == ("failed", None)
    assert "has no row to learn from" in document["error"]


def test_the_table_on_a_terminal_grows(db: Database) -> None:
    run = runs.create(db, "calibrate", config={})
    runs.update(db, run.id, state="running", phase="measuring batch size 8")
    made = calibrations.begin(db, run=run.id, kind="dpo", chip="x", subject={}, limit=9, limit_source="y")

    def drawn() -> str:
        console = Console(width=100, force_terminal=False, record=True, file=io.StringIO())
        console.print(command._table(db, runs.get(db, run.id)))
        return console.export_text()

    assert "calibrate-001  measuring batch size 8" in drawn()
    calibrations.add(db, made, Size(4, "FITS", 11.5, 7 * 10**9, 4.0))
    assert "11.5" in drawn()
    assert "chosen" not in drawn()
    calibrations.finish(db, made, 4, "")
    assert "7.00 GB" in drawn()
    assert "chosen" in drawn()


def test_a_summary_is_one_line(db: Database) -> None:
    for chosen, words in ((4, "batch size 4"), (None, "nothing chosen")):
        _calibrated(db, chosen)
        line = command.summary(calibrations.listing(db)[0])
        assert words in line
        assert line.startswith(time.strftime("%Y-%m-%d"))


def test_the_kind_is_read_from_the_name_of_the_file() -> None:
    names = {"sft_config.yaml": "sft", "reward_config.yaml": "reward", "dpo.yaml": "dpo", "mine.yaml": "dpo"}
    assert {name: command._kind_by_name(Path(name)) for name in names} == names
    assert hardware.STARTING_POINTS
