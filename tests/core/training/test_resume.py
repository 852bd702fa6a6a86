"""A run that was stopped and resumed is, to the bit, the run that was not."""

import hashlib
import threading
from pathlib import Path

import mlx.core as mx
import pytest

from core.engine.client import submit
from core.store import commands, log, metrics, runs
from core.store.writer import Writer
from core.training import checkpoints, dpo_run, sft_run
from core.training.context import Context
from core.training.control import Stopped
from tests.core.training import tiny

TIMED = {"examples_per_second", "tokens_per_second", "peak_memory_gb"}


class StopsAfter(threading.Event):
    """The engine's wish to leave, which comes at the given look of the loop."""

    def __init__(self, step: int | None) -> None:
        super().__init__()
        self.step = step
        self.context: Context | None = None
        self.seen = 0

    def is_set(self) -> bool:
        return self.step is not None and self.seen >= self.step


class Recorded(Context):
    def progress(self, step: int, steps: int, phase: str) -> None:
        assert isinstance(self.leaving, StopsAfter)
        if phase.startswith("training"):
            self.leaving.seen = step
        super().progress(step, steps, phase)


def execute(space, db, run_id: str, job, stop_at: int | None) -> None:
    writer = Writer(space.database)
    try:
        job(Recorded(space, db, runs.get(db, run_id), writer, StopsAfter(stop_at)))
    finally:
        writer.close()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def values(db, run_id: str) -> dict[str, list[metrics.Point]]:
    return {name: metrics.since(db, run_id, name) for name in metrics.names(db, run_id) if name not in TIMED}


@pytest.mark.parametrize(("adapter", "stop_at"), [("lora", 1), ("lora", 8), ("full", 5)])
def test_dpo_resumes_to_the_bit(tmp_path: Path, adapter: str, stop_at: int) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    config = tiny.dpo_config(adapter_type=adapter)
    whole = submit(space, db, "dpo", config)
    execute(space, db, whole.id, dpo_run.run, None)
    parted = submit(space, db, "dpo", config)
    with pytest.raises(Stopped):
        execute(space, db, parted.id, dpo_run.run, stop_at)
    folder = space.path(runs.get(db, parted.id).output_dir)
    assert (folder / f"checkpoint-{stop_at}" / checkpoints.STATE).exists()
    mx.random.seed(99)  # whatever the process did meanwhile
    execute(space, db, parted.id, dpo_run.run, None)
    first = space.path(runs.get(db, whole.id).output_dir)
    assert first != folder
    for step in (9, 12):
        one, other = (f / f"checkpoint-{step}" / checkpoints.WEIGHTS for f in (first, folder))
        assert digest(one) == digest(other), step
    assert values(db, whole.id) == values(db, parted.id)


def test_sft_resumes_to_the_bit(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    config = tiny.sft_config()
    whole, parted = (submit(space, db, "sft", config) for _ in range(2))
    execute(space, db, whole.id, sft_run.run, None)
    with pytest.raises(Stopped):
        execute(space, db, parted.id, sft_run.run, 7)
    execute(space, db, parted.id, sft_run.run, None)
    a, b = (space.path(runs.get(db, run.id).output_dir) / "checkpoint-12" for run in (whole, parted))
    assert digest(a / checkpoints.WEIGHTS) == digest(b / checkpoints.WEIGHTS)
    # The model that stood where the second one went is kept.
    assert (space.checkpoints / "sft-earlier-1" / "model.safetensors").exists()
    earlier, later = (space.checkpoints / name / "model.safetensors" for name in ("sft-earlier-1", "sft"))
    assert digest(earlier) == digest(later)


def test_half_a_checkpoint_is_passed_over(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "dpo", tiny.dpo_config())
    with pytest.raises(Stopped):
        execute(space, db, run.id, dpo_run.run, 5)
    folder = space.path(runs.get(db, run.id).output_dir)
    # Killed while writing the next one, and between the two renames of a rewritten one.
    (folder / ".checkpoint-6.part").mkdir()
    (folder / ".checkpoint-6.part" / "trainer_state.json").write_text('{"st')
    (folder / "checkpoint-5").rename(folder / ".checkpoint-5.old")
    assert checkpoints.listing(folder)[-1][0] == 5
    execute(space, db, run.id, dpo_run.run, None)
    assert not list(folder.glob(".checkpoint-*"))
    assert any("resumed from checkpoint-5" in line.text for line in log.lines(db, run.id))


def test_commands_are_obeyed_between_steps(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "dpo", tiny.dpo_config())
    runs.update(db, run.id, state="running")
    checkpoint = commands.send(db, run.id, "checkpoint", "ann")
    resume = commands.send(db, run.id, "resume", "ann")
    stop = commands.send(db, run.id, "stop", "ann")
    with pytest.raises(Stopped) as stopped:
        execute(space, db, run.id, dpo_run.run, None)
    assert not stopped.value.leaving
    answers = {command.id: command.answer for command in commands.of_run(db, run.id)}
    assert answers[checkpoint] == "checkpoint-0 written"
    assert answers[resume] == "it is not paused"
    assert answers[stop] == "stopped after step 0, checkpoint-0 written"
