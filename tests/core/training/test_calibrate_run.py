"""A run that measures batch sizes; `auto` in a run that trains; and the memory that is said before and after."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.engine import jobs
from core.engine.client import submit
from core.errors import UserError
from core.hardware import MemoryLimit
from core.store import Database, calibrations, commands, facts, log, metrics, runs
from core.store.writer import Writer
from core.training import calibrate_run, calibration, forecast
from core.training.batch_size import Measured, TooLarge
from core.training.context import Context
from core.training.control import Stopped
from core.workspace import Workspace
from tests.core.training import tiny


class Table:
    """In the place of a child: rates from a table."""

    def __init__(self, rates: dict[int, float], during: Callable[[int], None] = lambda size: None) -> None:
        self.rates, self.during = rates, during

    def __call__(self, workspace: Workspace, kind: str, config: Any, interrupted: Callable[[], bool]) -> Table:
        self.interrupted = interrupted
        return self

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def rows(self) -> int:
        return 30

    def measure(self, size: int) -> Measured | TooLarge:
        self.during(size)
        if self.interrupted():
            raise calibration.Interrupted
        if size not in self.rates:
            return TooLarge("ended the process (SIGABRT)", 0.1)
        return Measured(self.rates[size], 10**9 + size * 10**6, 10**9, 0.1)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, Database]:
    monkeypatch.setattr(calibration, "_child", Table({1: 10.0, 2: 20.0, 4: 21.0, 8: 15.0}))
    return tiny.workspace(tmp_path / "w")


def execute(workspace: Workspace, db: Database, run_id: str) -> None:
    """As the engine would."""
    writer = Writer(workspace.database)
    run = runs.get(db, run_id)
    try:
        runs.update(db, run.id, state="running")
        jobs.JOBS[run.kind](Context(workspace, db, run, writer, threading.Event()))
    finally:
        writer.close()


def said(db: Database, run_id: str) -> list[str]:
    return [line.text for line in log.lines(db, run_id)]


def test_a_run_measures_and_remembers(made: tuple[Workspace, Database]) -> None:
    workspace, db = made
    run = submit(workspace, db, "calibrate", tiny.dpo_config())
    assert run.id == "calibrate-001"
    execute(workspace, db, run.id)
    found = calibrations.of_run(db, run.id)
    assert found is not None
    assert (found.kind, found.chosen) == ("dpo", 4)
    assert "batch size 2: 20 pairs/s, 1 GB, FITS" in said(db, run.id)
    assert any(text.startswith("batch size 4: 21 pairs/s") for text in said(db, run.id))
    assert [(p.step, p.value) for p in metrics.since(db, run.id, "examples_per_second")] == [
        (1, 10.0), (2, 20.0), (4, 21.0), (8, 15.0),
    ]  # fmt: skip
    fact = facts.of_run(db, run.id)["dpo.batch_size"]
    assert (fact.value, fact.unit) == (8.0, "pairs")  # with two batches a step
    assert "measured: 4 pairs at a time" in fact.source
    assert set(fact.inputs) == {"models/tiny", "data/pairs_train.jsonl"}


def test_it_measures_for_sft_too(made: tuple[Workspace, Database]) -> None:
    workspace, db = made
    run = submit(workspace, db, "calibrate", tiny.sft_config())
    execute(workspace, db, run.id)
    found = calibrations.of_run(db, run.id)
    assert found is not None
    assert found.kind == "sft"
    assert facts.of_run(db, run.id) == {}


def test_where_nothing_fits_the_run_fails_with_what_to_do(
    made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, db = made
    monkeypatch.setattr(calibration, "_child", Table({}))
    run = submit(workspace, db, "calibrate", tiny.dpo_config())
    with pytest.raises(UserError, match=r"no batch size fits into .* set compute\.gradient_checkpointing: true"):
        execute(workspace, db, run.id)


def test_it_stops_when_it_is_asked_to(made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, db = made

    def ask(size: int) -> None:
        if size == 2:
            commands.send(db, run.id, "stop", "ana")
            db.conn.commit()
            threading.Event().wait(0.2)  # until the run looks again

    monkeypatch.setattr(calibration, "_child", Table({1: 10.0, 2: 20.0, 4: 40.0}, ask))
    run = submit(workspace, db, "calibrate", tiny.dpo_config())
    with pytest.raises(Stopped):
        execute(workspace, db, run.id)
    assert commands.of_run(db, run.id)[0].answer == "stopped"
    found = calibrations.of_run(db, run.id)
    assert found is not None
    assert (found.chosen, [size.size for size in found.sizes]) == (None, [1])


def test_a_run_with_auto_takes_what_was_measured(made: tuple[Workspace, Database]) -> None:
    workspace, db = made
    config = tiny.dpo_config(training_batch_size="auto", training_max_steps=3)
    run = submit(workspace, db, "dpo", config)
    assert run.config["training"]["batch_size"] == "auto"
    execute(workspace, db, run.id)
    kept = runs.get(db, run.id).config
    assert kept["training"]["batch_size"] == 4
    assert {**kept, "training": {**kept["training"], "batch_size": "auto"}} == run.config
    assert any(text.startswith("training.batch_size: auto: 4: measured now: 21 pairs/s") for text in said(db, run.id))
    assert facts.of_run(db, run.id)["dpo.batch_size"].value == 8.0
    other = submit(workspace, db, "dpo", config)
    execute(workspace, db, other.id)
    assert any(
        text.startswith("training.batch_size: auto: 4: measured on this machine on") for text in said(db, other.id)
    )
    assert len(calibrations.listing(db)) == 1


def test_a_run_that_goes_on_keeps_its_number(made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, db = made
    run = submit(workspace, db, "dpo", tiny.dpo_config(training_batch_size="auto", training_max_steps=3))
    execute(workspace, db, run.id)
    log_before = len(said(db, run.id))
    monkeypatch.setattr(calibration, "_child", Table({1: 10.0}))
    db.execute("DELETE FROM calibration_sizes")
    db.execute("DELETE FROM calibrations")
    db.conn.commit()
    execute(workspace, db, run.id)
    assert not any("batch_size: auto" in text for text in said(db, run.id)[log_before:])
    assert runs.get(db, run.id).config["training"]["batch_size"] == 4


def test_the_initialization_check_measures_nothing(
    made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, db = made
    monkeypatch.setattr(calibration, "_child", None)
    run = submit(workspace, db, "init_check", tiny.dpo_config(training_batch_size="auto"))
    execute(workspace, db, run.id)
    assert runs.get(db, run.id).config["training"]["batch_size"] == 1
    assert any("there is no starting point for" in text for text in said(db, run.id))
    assert facts.of_run(db, run.id)["init.trainer_ready"].value == 1.0


def test_memory_is_said_before_and_after(made: tuple[Workspace, Database]) -> None:
    workspace, db = made
    run = submit(workspace, db, "sft", tiny.sft_config(training_max_steps=3))
    execute(workspace, db, run.id)
    lines = said(db, run.id)
    assert lines[0].startswith("memory: SAFE: about ")
    assert lines[-1].startswith("memory: ")
    assert lines[-1].endswith(" were estimated")


def test_too_much_is_a_warning_with_what_would_fit(
    made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, db = made
    fits = forecast.forecast(workspace, tiny.dpo_config(training_batch_size=1)).estimate.bytes
    monkeypatch.setattr(forecast, "memory_limit", lambda device: MemoryLimit(int(1.1 * fits), 10**10, "a test"))
    run = submit(workspace, db, "dpo", tiny.dpo_config(training_max_steps=3, training_batch_size=16))
    execute(workspace, db, run.id)
    warnings = [line.text for line in log.lines(db, run.id, level="warning")]
    assert warnings[0].startswith("memory: TOO LARGE: about")
    assert warnings[1].startswith("memory: to make it fit: set ")


def test_without_a_model_there_is_no_estimate_and_no_end(made: tuple[Workspace, Database]) -> None:
    workspace, db = made
    run = submit(workspace, db, "dpo", tiny.dpo_config(model_policy_model="someone/model"))
    writer = Writer(workspace.database)
    assert calibrate_run.foresee_memory(Context(workspace, db, run, writer, threading.Event()), "dpo") is None
    writer.close()
    assert any("memory: no estimate: " in text for text in said(db, run.id))
