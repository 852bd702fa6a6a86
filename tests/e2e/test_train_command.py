"""`dpotui train` as a person uses it: in a real terminal with a real engine, interrupted, resumed, detached, killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.engine.client import engine_alive
from core.store import engines, metrics, runs
from tests.core.training import tiny
from tests.e2e.terminal import Terminal

CONFIG = """\
model: {base_model: models/tiny, reference_model: models/tiny, policy_model: models/tiny}
data: {train_file: data/pairs_train.jsonl, validation_file: data/pairs_val.jsonl, max_prompt_length: 64,
       max_response_length: 64}
training: {learning_rate: 1e-3, beta: 0.1, batch_size: 4, max_steps: 30, warmup_steps: 2, logging_steps: 5,
           eval_steps: 30, save_steps: 10, kl_samples: 4, kl_max_tokens: 8}
constraints: {kl_target: 0.1, preference_gap_target: 0.15}
logging: {output_dir: outputs/dpo}
"""


@pytest.fixture
def space(tmp_path: Path):
    found, db = tiny.workspace(tmp_path / "a workspace")
    (found.configs / "tiny.yaml").write_text(CONFIG)
    yield found, db
    engine = engines.latest(db)
    if engine is not None and engine_alive(found):
        os.kill(engine.pid, signal.SIGKILL)


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "dpotui", "train", "dpo", "--config", "configs/tiny.yaml", *args]


def test_interrupt_stops_with_a_checkpoint_and_resume_goes_on(space) -> None:
    workspace, db = space
    config = str(workspace.configs / "tiny.yaml")
    terminal = Terminal("train", "dpo", "--config", config, "--set", "training.max_steps=3000", columns=120)
    terminal.until("step 5/3000", 60)
    terminal.until("ETA")
    terminal.press("\x03")
    terminal.until("stopping dpo-001 at the next step, with a checkpoint")
    terminal.until("'dpotui runs resume dpo-001' goes on from there")
    assert terminal.wait() == 1
    assert terminal.restored
    terminal.close()
    run = runs.get(db, "dpo-001")
    assert run.state == "stopped"
    assert (workspace.path(run.output_dir) / f"checkpoint-{run.step}").is_dir()

    # Not a terminal: a line per report, nothing that moves.
    short = json.dumps({**run.config, "training": {**run.config["training"], "max_steps": run.step + 20}})
    runs.update(db, run.id, config=json.loads(short))
    resumed = subprocess.run(
        [sys.executable, "-m", "dpotui", "train", "dpo", "--resume", "dpo-001"],
        cwd=workspace.root, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == "dpo-001 finished: outputs/dpo\n"
    assert f"resumed from checkpoint-{run.step}" in resumed.stderr
    assert "\x1b" not in resumed.stderr and "\r" not in resumed.stderr


def test_closing_the_terminal_leaves_the_run_alone(space) -> None:
    workspace, db = space
    config = str(workspace.configs / "tiny.yaml")
    terminal = Terminal("train", "dpo", "--config", config, "--set", "training.max_steps=200", columns=120)
    terminal.until("step 5/200", 60)
    # The hangup that a dropped line brings.
    os.close(terminal.slave)
    os.close(terminal.master)
    os.waitpid(terminal.pid, 0)
    deadline = time.monotonic() + 90
    while runs.get(db, "dpo-001").state != "finished":
        assert runs.get(db, "dpo-001").state == "running", runs.get(db, "dpo-001").error
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert [p.step for p in metrics.since(db, "dpo-001", "loss")] == list(range(5, 201, 5))


def test_detach_returns_the_id_at_once(space) -> None:
    workspace, db = space
    started = subprocess.run(command("--detach"), cwd=workspace.root, capture_output=True, text=True, timeout=60)
    assert (started.returncode, started.stdout) == (0, "dpo-001\n")
    assert runs.get(db, "dpo-001").state in ("queued", "running")


def test_wrong_use_is_one_line(space) -> None:
    workspace, _ = space
    for args, expected in (
        (["--set", "training.bta=0.2"], "training.beta"),
        (["--set", "training.beta=lots"], "training.beta"),
        (["--resume", "dpo-009"], "no run 'dpo-009'"),
    ):
        words = command(*args) if "--set" in args else [*command()[:5], *args]
        result = subprocess.run(words, cwd=workspace.root, capture_output=True, text=True, timeout=60)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert expected in result.stderr
