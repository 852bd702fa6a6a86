"""A tracker is told all of a run once, in order, whatever its package does and whoever is killed on the way."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.store import Database, engines, log, open_store, runs, tracked
from core.store.tracked import Position
from core.tracking import feeding, messages
from core.tracking.feeding import Feeder
from core.tracking.reading import behind, rows_behind
from core.workspace import Workspace
from tests.core.tracking.conftest import THEN, report
from tests.core.tracking.packages import Package

ROWS = 44  # 40 reports and 4 evaluations


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "POLL", 0.1)
    monkeypatch.setattr(feeding, "BACKOFF", (0.05,))
    monkeypatch.setattr(feeding, "AFTER", 10.0)


def _warnings(db: Database, run: str) -> list[str]:
    return [line.text for line in log.everything(db, run) if line.level == "warning"]


def test_all_of_a_run_once_and_in_order(workspace: Workspace, db: Database, run: str, wandb: Package) -> None:
    found = Feeder(workspace, db, run, "wandb").feed()
    assert (found.state, found.position.rows, found.error) == ("done", ROWS, "")
    rows = wandb.rows()
    assert [row["train/global_step"] for row in rows if "train/loss" in row] == list(range(1, 41))
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [1 / step + 1e-9 for step in range(1, 41)]
    assert [row["_timestamp"] for row in rows if "train/loss" in row] == [THEN + step for step in range(1, 41)]
    evaluated = [row["eval/loss"] for row in rows if "eval/loss" in row]
    assert (evaluated[0], evaluated[2], evaluated[3]) == (0.2, 2 / 30, 0.05)
    assert math.isnan(evaluated[1])  # what was no finite number is NaN, not left out
    (first, *_) = wandb.told()
    assert first["init"] == {
        "project": "zoo", "name": "first try", "group": None, "job_type": "dpo", "tags": ["good"], "resume": "allow",
        "save_code": False,
    }  # fmt: skip
    assert wandb.summary() == {
        "facts/dpo.kl_divergence": 0.05, "facts/dpo.kl_divergence/low": 0.04, "facts/dpo.kl_divergence/high": 0.06,
        "gates/kl_divergence": "PASS", "artifacts/outputs/x": f"sha256:{'ab' * 32}", "state": "finished",
    }  # fmt: skip
    assert wandb.told()[-1] == {"finish": 0}
    (config,) = (one["config"] for one in wandb.told() if "config" in one)
    assert config["training.beta"] == 0.1
    # Once more there is nothing to send, and no process is started for it.
    before = wandb.told()
    assert Feeder(workspace, db, run, "wandb").feed() == found
    assert wandb.told() == before


def test_rows_that_are_not_whole_yet_are_waited_for(db: Database, run: str) -> None:
    runs.update(db, run, state="running")
    now = time.time()
    report(db, run, 41, 41, now - 41)  # of this moment
    assert len(rows_behind(db, run, Position(), ended=False)) == ROWS
    assert len(rows_behind(db, run, Position(), ended=True)) == ROWS + 1
    # Read in small parts it is the same, with nothing left out and nothing twice.
    position, read = Position(), []
    while rows := rows_behind(db, run, position, ended=True, points=3):
        position = behind(position, rows)
        read += rows
    assert [row._replace(values=dict(row.values)) for row in read][:10] == rows_behind(db, run, Position(), ended=True)[
        :10
    ]
    assert len(read) == position.rows == ROWS + 1


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("exit@row7", "ended by itself with status 7"),
        ("raise@row7", "RuntimeError: the server said no to ***"),
        ("hang@row7", "no answer to send within 2 s"),
        ("exit@init", "ended by itself with status 7"),
    ],
)
def test_a_tracker_that_misbehaves_once_is_told_the_rest(
    workspace: Workspace, db: Database, run: str, wandb: Package, monkeypatch: pytest.MonkeyPatch,
    behaviour: str, words: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("WANDB_FAKE", behaviour)
    monkeypatch.setitem(messages.SECONDS, "send", 2.0)
    (wandb.folder / "once").write_text("")
    said: list[str] = []
    found = Feeder(workspace, db, run, "wandb", say=lambda one: said.append(one.error)).feed()
    assert (found.state, found.position.rows) == ("done", ROWS)
    assert any(words in each for each in said)
    # The rows before were kept, and are not there twice.
    assert [row["train/global_step"] for row in wandb.rows() if "train/loss" in row] == list(range(1, 41))
    assert [step["step"] for step in wandb.told() if "row" in step] == list(range(ROWS))
    (warning,) = _warnings(db, run)
    assert words in warning
    assert "a-key-that-nobody-may-see" not in str(list(db.query("SELECT * FROM log"))) + str(said)


@pytest.mark.parametrize(
    ("behaviour", "words"), [("exit@row7", "status 7"), ("raise@init", "***"), ("hang@finish", "no answer")]
)
def test_a_tracker_that_never_works_is_given_up_and_can_be_told_later(
    workspace: Workspace, db: Database, run: str, wandb: Package, monkeypatch: pytest.MonkeyPatch,
    behaviour: str, words: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("WANDB_FAKE", behaviour)
    monkeypatch.setitem(messages.SECONDS, "close", 0.5)
    monkeypatch.setattr(feeding, "AFTER", 1.0)  # several tries
    found = Feeder(workspace, db, run, "wandb").feed()
    assert found.state == "failed"
    assert words in found.error
    # At most a warning when it begins and one when it is given up, however often it was tried.
    assert 1 <= len(_warnings(db, run)) <= 2
    monkeypatch.setenv("WANDB_FAKE", "")
    assert Feeder(workspace, db, run, "wandb").feed().state == "done"
    assert [step["step"] for step in wandb.told() if "row" in step] == list(range(ROWS))


def test_what_it_prints_is_read_and_not_kept(
    workspace: Workspace, db: Database, run: str, wandb: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_FAKE", "flood@row7")
    assert Feeder(workspace, db, run, "wandb").feed().state == "done"
    assert len(wandb.rows()) == ROWS


def test_no_key_is_of_no_use_to_try_again(
    workspace: Workspace, db: Database, run: str, wandb: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_FAKE", "refuse@init")
    monkeypatch.setattr(feeding, "AFTER", 60.0)
    found = Feeder(workspace, db, run, "wandb").feed()
    assert (found.state, found.error) == (
        "failed",
        "Weights & Biases: no API key: set WANDB_API_KEY in the shell that starts dpotui, or 'wandb login', or"
        " wandb_mode: offline",
    )


def test_killed_between_sending_and_marking_sends_nothing_twice(
    workspace: Workspace, db: Database, run: str, wandb: Package
) -> None:
    found = Feeder(workspace, db, run, "wandb").feed()
    # As if the mark had not been moved after the first 30 rows.
    rows = rows_behind(db, run, Position(), ended=True)
    tracked.put(db, replace(found, state="sending", position=behind(Position(), rows[:30])))
    assert Feeder(workspace, db, run, "wandb").feed().position.rows == ROWS
    assert len(wandb.rows()) == ROWS


def test_what_was_lost_there_is_sent_again(workspace: Workspace, db: Database, run: str, wandb: Package) -> None:
    found = Feeder(workspace, db, run, "wandb").feed()
    (file,) = wandb.folder.glob("*.jsonl")
    kept = file.read_text().splitlines()
    file.write_text("\n".join(kept[:12]) + "\n")
    tracked.put(db, replace(found, state="sending"))
    assert Feeder(workspace, db, run, "wandb").feed().position.rows == ROWS
    assert [row["train/global_step"] for row in wandb.rows() if "train/loss" in row] == list(range(1, 41))


def test_a_run_that_goes_on_is_followed_to_its_end(
    workspace: Workspace, db: Database, run: str, wandb: Package
) -> None:
    runs.update(db, run, state="running", engine=engines.register(db, "detached", ""))

    def feed() -> None:
        own = open_store(workspace.database)
        Feeder(workspace, own, run, "wandb").feed()
        own.close()

    thread = threading.Thread(target=feed)
    thread.start()
    _until(lambda: len(wandb.rows()) == ROWS)
    assert [one for one in wandb.told() if "finish" in one] == []
    report(db, run, 41, 50)
    _until(lambda: len(wandb.rows()) == ROWS + 11)
    runs.update(db, run, state="stopped")
    thread.join(20)
    assert wandb.told()[-1] == {"finish": 1}
    assert wandb.summary()["state"] == "stopped"


def test_a_feeder_killed_with_its_worker_goes_on_where_it_was(
    workspace: Workspace, db: Database, run: str, wandb: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole chain of processes, as the engine starts it, ended by kill -9 while a row is on its way."""
    monkeypatch.setenv("WANDB_FAKE", "hang@row30")
    (wandb.folder / "once").write_text("")
    command = [sys.executable, "-P", "-m", "core.tracking", str(workspace.root), run, "wandb"]
    first = subprocess.Popen(command, cwd=Path.cwd(), env=_environment())
    _until(lambda: len(wandb.rows()) == 30)
    first.send_signal(signal.SIGKILL)
    first.wait()
    worker = wandb.told()[0]["pid"]
    os.kill(worker, signal.SIGKILL)  # else it ends by itself some seconds later
    assert subprocess.run(command, env=_environment(), timeout=60, check=False).returncode == 0
    found = tracked.get(db, run, "wandb")
    assert found is not None
    assert (found.state, found.position.rows) == ("done", ROWS)
    assert [step["step"] for step in wandb.told() if "row" in step] == list(range(ROWS))


def test_two_never_tell_the_same_at_a_time(workspace: Workspace, db: Database, run: str, wandb: Package) -> None:
    leaving = threading.Event()
    with feeding.alone(workspace, run, "wandb", lambda: False) as lock:
        assert lock is not None
        assert feeding.is_fed(workspace, run, "wandb")
        threading.Timer(0.5, leaving.set).start()
        assert Feeder(workspace, db, run, "wandb", stopping=leaving.is_set).feed().position.rows == 0
    assert not feeding.is_fed(workspace, run, "wandb")
    assert wandb.told() == []


def test_a_configuration_with_a_key_is_not_sent(workspace: Workspace, db: Database, run: str, wandb: Package) -> None:
    config = runs.get(db, run).config | {"endpoint": {"api_key": "whatever it is"}}
    runs.update(db, run, config=config)
    found = Feeder(workspace, db, run, "wandb").feed()
    assert (found.state, found.error) == (
        "failed",
        "endpoint.api_key looks like a key or password, so nothing of the run is sent: keep it in the environment",
    )
    assert wandb.told() == []


def test_a_package_that_is_not_there_is_said_with_how_to_get_it(workspace: Workspace, db: Database, run: str) -> None:
    found = Feeder(workspace, db, run, "mlflow").feed()
    if found.state == "done":
        pytest.skip("mlflow is installed here")
    assert found.words == "MLflow (not installed): pip install 'dpotui[mlflow]'"


def test_anew_is_another_run_there(workspace: Workspace, db: Database, run: str, wandb: Package) -> None:
    first = Feeder(workspace, db, run, "wandb").feed()
    feeding.anew(db, run, "wandb")
    second = Feeder(workspace, db, run, "wandb").feed()
    assert second.key.startswith(f"{first.key}-")
    assert len(wandb.rows()) == 2 * ROWS


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((os.environ["PYTHONPATH"], str(Path(feeding.__file__).parents[2]))),
    }


def _until(true: object, seconds: float = 30.0) -> None:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
