"""The engine with real processes: started detached, killed at bad moments, told to stop; nothing reported is lost."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.engine.client import engine_alive, ensure_engine, reap, submit
from core.engine.host import InProcessEngine
from core.engine.lock import engine_lock
from core.errors import UserError
from core.store import Database, commands, engines, facts, log, metrics, runs
from tests.core.training import tiny
from tests.core.training.test_resume import TIMED, digest


def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def ended(db: Database, run_id: str) -> bool:
    return runs.get(db, run_id).state not in (*runs.LIVE, "queued")


def kill_engine(db: Database, space) -> None:
    engine = engines.latest(db)
    os.kill(engine.pid, signal.SIGKILL)
    wait(lambda: not engine_alive(space))


@pytest.fixture
def lived(tmp_path: Path):
    """A workspace whose engine is gone when the test is."""
    space, db = tiny.workspace(tmp_path / "a workspace")
    yield space, db
    engine = engines.latest(db)
    if engine is not None and engine_alive(space) and engine.pid != os.getpid():
        os.kill(engine.pid, signal.SIGKILL)


def trained(db: Database, run_id: str) -> dict[str, list[metrics.Point]]:
    return {name: metrics.since(db, run_id, name) for name in metrics.names(db, run_id) if name not in TIMED}


@pytest.mark.slow
def test_killed_engine_reads_interrupted_and_goes_on_to_the_bit(lived) -> None:
    space, db = lived
    config = tiny.dpo_config(training_max_steps=30, training_warmup_steps=3, training_logging_steps=1)
    whole = submit(space, db, "dpo", config)
    ensure_engine(space)
    wait(lambda: ended(db, whole.id))
    assert runs.get(db, whole.id).state == "finished", runs.get(db, whole.id).error

    parted = submit(space, db, "dpo", config)
    ensure_engine(space)
    # Three times in the middle of whatever it does.
    for step in (4, 13, 22):
        wait(lambda step=step: runs.get(db, parted.id).step >= step or ended(db, parted.id))
        kill_engine(db, space)
        before = trained(db, parted.id)
        assert reap(space, db) == [parted.id]
        assert runs.get(db, parted.id).state == "interrupted"
        runs.requeue(db, parted.id)
        ensure_engine(space)
        # What was reported stays reported.
        after = trained(db, parted.id)
        for name, points in before.items():
            assert after[name][: len(points)] == points
    wait(lambda: ended(db, parted.id))
    assert runs.get(db, parted.id).state == "finished", runs.get(db, parted.id).error
    assert trained(db, parted.id) == trained(db, whole.id)
    first, second = (space.path(runs.get(db, run.id).output_dir) for run in (whole, parted))
    assert digest(first / "adapters.safetensors") == digest(second / "adapters.safetensors")
    kl = [facts.of_run(db, run.id)["dpo.kl_divergence"].value for run in (whole, parted)]
    assert kl[0] == kl[1]


@pytest.mark.slow
def test_killed_while_a_checkpoint_is_written(lived) -> None:
    space, db = lived
    # A checkpoint a step: most moments are in the middle of one.
    config = tiny.dpo_config(training_max_steps=25, training_save_steps=1)
    run = submit(space, db, "dpo", config)
    ensure_engine(space)
    kills = 0
    deadline = time.monotonic() + 90
    while kills < 4 and not ended(db, run.id):
        assert time.monotonic() < deadline
        output = runs.get(db, run.id).output_dir
        parts = list(space.path(output).glob(".checkpoint-*.part")) if output else []
        if parts and runs.get(db, run.id).step > 4 * kills:
            kill_engine(db, space)
            kills += 1
            assert reap(space, db) == [run.id]
            runs.requeue(db, run.id)
            ensure_engine(space)
            wait(lambda: runs.get(db, run.id).state != "queued")
        time.sleep(0.001)
    wait(lambda: ended(db, run.id))
    assert kills > 0
    assert runs.get(db, run.id).state == "finished", runs.get(db, run.id).error
    assert [point.step for point in metrics.since(db, run.id, "loss")] == [*range(2, 26, 2), 25]
    assert not list(space.path(runs.get(db, run.id).output_dir).glob(".checkpoint-*"))


def test_sigterm_means_checkpoint_then_leave(lived) -> None:
    space, db = lived
    run = submit(space, db, "dpo", tiny.dpo_config(training_max_steps=500, training_eval_steps=500))
    ensure_engine(space)
    wait(lambda: runs.get(db, run.id).step >= 5)
    os.kill(engines.latest(db).pid, signal.SIGTERM)
    wait(lambda: not engine_alive(space))
    now = runs.get(db, run.id)
    assert now.state == "interrupted"
    assert (space.path(now.output_dir) / f"checkpoint-{now.step}").is_dir()
    assert engines.latest(db).ended is not None


def test_pause_checkpoint_resume_stop(lived) -> None:
    space, db = lived
    run = submit(space, db, "dpo", tiny.dpo_config(training_max_steps=2000, training_eval_steps=2000))
    ensure_engine(space)
    wait(lambda: runs.get(db, run.id).step >= 3)

    def obeyed(verb: str) -> str:
        command = commands.send(db, run.id, verb, "ann")
        wait(lambda: all(c.id != command for c in commands.pending(db, run.id)))
        return next(c.answer for c in commands.of_run(db, run.id) if c.id == command)

    assert obeyed("pause") == "paused"
    assert runs.get(db, run.id).state == "paused"
    time.sleep(0.6)
    step = runs.get(db, run.id).step
    assert obeyed("checkpoint") == f"checkpoint-{step} written"
    assert runs.get(db, run.id).state == "paused"
    assert obeyed("resume") == "resumed"
    wait(lambda: runs.get(db, run.id).step > step)
    answer = obeyed("stop")
    wait(lambda: ended(db, run.id))
    now = runs.get(db, run.id)
    assert now.state == "stopped"
    assert answer == f"stopped after step {now.step}, checkpoint-{now.step} written"
    with pytest.raises(UserError, match="is stopped: there is nothing to pause"):
        commands.send(db, run.id, "pause", "ann")


def test_client_dies_and_the_run_goes_on(lived) -> None:
    space, db = lived
    text = (
        "import sys; from pathlib import Path\n"
        "from core.workspace import open_workspace\nfrom core.store import open_store\n"
        "from core.engine.client import ensure_engine, submit\nfrom tests.core.training import tiny\n"
        "space = open_workspace(Path(sys.argv[1])); db = open_store(space.database)\n"
        "submit(space, db, 'dpo', tiny.dpo_config(training_max_steps=40)); ensure_engine(space)\n"
        "print('up', flush=True); import time; time.sleep(60)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", text, str(space.root)], stdout=subprocess.PIPE, text=True)
    assert client.stdout.readline() == "up\n"
    wait(lambda: runs.get(db, "dpo-001").step >= 3)
    client.kill()
    client.wait()
    wait(lambda: ended(db, "dpo-001"))
    assert runs.get(db, "dpo-001").state == "finished"


def test_one_engine_a_workspace(lived) -> None:
    space, _ = lived
    with engine_lock(space.engine_lock):
        assert engine_alive(space)
        with pytest.raises(UserError, match="an engine runs already"), engine_lock(space.engine_lock):
            pass
    assert not engine_alive(space)


def test_a_child_waits_for_its_parent(lived) -> None:
    space, db = lived
    (space.root / "models" / "empty").mkdir()
    parent = submit(space, db, "sft", tiny.sft_config(model_base_model="models/empty"))
    child = submit(space, db, "dpo", tiny.dpo_config(), parent=parent.id)
    ensure_engine(space)
    wait(lambda: ended(db, parent.id))
    failed = runs.get(db, parent.id)
    assert failed.state == "failed"
    assert "has no config.json" in failed.error
    wait(lambda: runs.get(db, child.id).phase != "")
    assert runs.get(db, child.id).state == "queued"
    assert runs.get(db, child.id).phase == f"waits for {parent.id}, which failed"


def test_what_is_missing_is_said_before_a_run_is_queued(lived) -> None:
    space, db = lived
    config = tiny.dpo_config(model_policy_model="checkpoints/none", data_train_file="data/none.jsonl")
    with pytest.raises(UserError) as told:
        submit(space, db, "dpo", config)
    assert [line.split(":")[0] for line in str(told.value).splitlines()] == ["data.train_file", "model.policy_model"]
    with pytest.raises(UserError, match=r"data\.train_file"):
        submit(space, db, "data_check", config)
    assert runs.listing(db) == []
    # What a run before it writes need not be there yet.
    first = submit(space, db, "sft", tiny.sft_config())
    assert submit(space, db, "dpo", config, parent=first.id).state == "queued"
    assert submit(space, db, "dpo", config).state == "queued"


def test_in_process_engine_hands_over(lived) -> None:
    space, db = lived
    run = submit(space, db, "dpo", tiny.dpo_config(training_max_steps=60, training_eval_steps=60))
    engine = InProcessEngine(space)
    engine.start()
    wait(lambda: runs.get(db, run.id).step >= 5)
    assert engine.stop(hand_over=True) == [run.id]
    # A new engine is up when it holds the lock; its row follows.
    wait(lambda: engines.latest(db).hosting == "detached")
    wait(lambda: ended(db, run.id))
    assert runs.get(db, run.id).state == "finished"
    assert [point.step for point in metrics.since(db, run.id, "loss")] == list(range(2, 61, 2))


def test_a_defect_of_ours_is_told_with_its_traceback(lived, monkeypatch) -> None:
    space, db = lived
    run = submit(space, db, "dpo", tiny.dpo_config())
    from core.engine import jobs

    def broken(context) -> None:
        raise ZeroDivisionError("one by nought")

    monkeypatch.setitem(jobs.JOBS, "dpo", broken)
    engine = InProcessEngine(space)
    engine.start()
    wait(lambda: ended(db, run.id))
    engine.stop()
    now = runs.get(db, run.id)
    assert now.state == "failed"
    assert re.fullmatch(
        r"ZeroDivisionError: one by nought, in core/engine/test_engine\.py line \d+ \(broken\)", now.error
    ), now.error
    assert "defect" in now.hint
    # The words first, then the traceback.
    said = [(line.level, line.text) for line in log.lines(db, run.id)]
    assert said[1:3] == [("error", now.error), ("error", f"try: {now.hint}")]
    assert said[3][0] == "debug"
    assert said[3][1].startswith("Traceback (most recent call last):")
    assert said[4][1] == f"{run.id} failed"


def test_what_was_asked_and_not_answered_is_answered_at_the_end(lived, monkeypatch) -> None:
    space, db = lived
    run = submit(space, db, "dpo", tiny.dpo_config())
    from core.engine import jobs

    def ends(context) -> None:
        commands.send(context.db, context.run.id, "checkpoint", "ann")

    monkeypatch.setitem(jobs.JOBS, "dpo", ends)
    engine = InProcessEngine(space)
    engine.start()
    wait(lambda: ended(db, run.id))
    engine.stop()
    (command,) = commands.of_run(db, run.id)
    assert command.answer == f"{run.id} has finished"
