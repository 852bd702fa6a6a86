"""A run that is trained while trackers are told of it: they keep up, and it trains whatever they do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from core.config import DPOConfig
from core.engine import jobs
from core.engine.client import submit
from core.engine.host import InProcessEngine
from core.store import Database, facts, log, metrics, runs, tracked
from core.tracking import feeding
from core.training.context import Context
from core.workspace import Workspace
from tests.core.tracking import packages
from tests.core.tracking.packages import Package
from tests.core.training import tiny


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    root = str(Path(feeding.__file__).parents[2])
    found = packages.put(tmp_path / "packages", monkeypatch)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(found.folder), root)))
    return found


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[tuple[Workspace, Database]]:
    """A workspace whose feeders are gone when the test is."""
    space, db = tiny.workspace(tmp_path / "a workspace")
    yield space, db
    db.close()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(space.root) in process.cmdline():
                process.kill()


def _config(*trackers: str) -> DPOConfig:
    config = tiny.dpo_config(training_max_steps=6, training_logging_steps=1, training_sample_prompts=0)
    return config.model_copy(update={"logging": config.logging.model_copy(update={"trackers": list(trackers)})})


def _trained(space: Workspace, db: Database, config: DPOConfig) -> str:
    run = submit(space, db, "dpo", config)
    engine = InProcessEngine(space)
    engine.start()
    try:
        _until(lambda: runs.get(db, run.id).state not in (*runs.LIVE, "queued"))
    finally:
        engine.stop()
    assert runs.get(db, run.id).state == "finished", runs.get(db, run.id).error
    return run.id


def test_it_is_told_as_it_goes_and_stage_5_says_where(
    lived: tuple[Workspace, Database], wandb: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, db = lived
    job = jobs.JOBS["dpo"]

    def not_before(context: Context) -> None:
        """On a busy machine so short a run is over before a tracker comes up."""
        _until(lambda: _state(context.db, context.run.id, "wandb") == "sending")
        job(context)

    monkeypatch.setitem(jobs.JOBS, "dpo", not_before)
    run = _trained(space, db, _config("wandb", "mlflow"))
    _until(lambda: _state(db, run, "wandb") == "done")
    losses = [row["train/loss"] for row in wandb.rows() if "train/loss" in row]
    assert losses == [point.value for point in metrics.since(db, run, "loss")]
    assert wandb.summary()["facts/dpo.preference_gap"] == facts.of_run(db, run)["dpo.preference_gap"].value
    said = facts.of_run(db, run)["dpo.logging"].source
    assert said.startswith("runs.db; ")
    assert "W&B at https://somewhere.example/" in said and said.endswith("; so when the run ended")
    if _state(db, run, "mlflow") == "missing":
        assert "MLflow (not installed): pip install 'dpotui[mlflow]'" in said
        warnings = [line.text for line in log.everything(db, run) if line.level == "warning"]
        assert "tracker MLflow (not installed): pip install 'dpotui[mlflow]'; the run goes on without it" in warnings


@pytest.mark.parametrize("behaviour", ["hang@init", "exit@row1", "flood@log"])
def test_nothing_that_a_tracker_does_touches_training(
    lived: tuple[Workspace, Database], wandb: Package, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    space, db = lived
    monkeypatch.setenv("WANDB_FAKE", behaviour)
    began = time.monotonic()
    run = _trained(space, db, _config("wandb"))
    assert time.monotonic() - began < 60  # its end waits for nobody
    assert metrics.since(db, run, "loss")[-1].step == 6


def test_a_feeder_that_was_killed_is_started_again(
    lived: tuple[Workspace, Database], wandb: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, db = lived
    monkeypatch.setenv("WANDB_FAKE", "hang@row2")
    (wandb.folder / "once").write_text("")
    run = submit(space, db, "dpo", _config("wandb").model_copy(deep=True))
    engine = InProcessEngine(space)
    engine.start()
    try:
        _until(lambda: len(wandb.rows()) == 2)
        worker = psutil.Process(wandb.told()[0]["pid"])
        feeder = worker.parent()
        assert feeder is not None
        feeder.send_signal(signal.SIGKILL)
        worker.send_signal(signal.SIGKILL)
        _until(lambda: _state(db, run.id, "wandb") == "done")
    finally:
        engine.stop()
    assert [one["step"] for one in wandb.told() if "row" in one] == list(range(len(wandb.rows())))
    losses = [row["train/loss"] for row in wandb.rows() if "train/loss" in row]
    assert losses == [point.value for point in metrics.since(db, run.id, "loss")]


def _state(db: Database, run: str, tracker: str) -> str:
    found = tracked.get(db, run, tracker)
    return found.state if found is not None else ""


def _until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
