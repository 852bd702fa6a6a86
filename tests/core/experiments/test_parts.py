"""Runs made of runs: a part is done once, stops and pauses with the whole, and goes on with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.engine import jobs
from core.engine.host import InProcessEngine
from core.errors import UserError
from core.experiments import parts
from core.store import Database, commands, facts, open_store, runs
from core.store.facts import Fact
from core.training.context import Context
from core.workspace import Workspace
from tests.core.training import tiny


@pytest.fixture
def space(tmp_path: Path) -> Iterator[tuple[Workspace, Database]]:
    yield tiny.workspace(tmp_path / "a workspace")


def two(context: Context) -> None:
    """A whole of two parts."""
    for number in (1, 2):
        config = tiny.dpo_config(training_max_steps=8 * number, logging_output_dir=f"outputs/part-{number}")
        done = parts.execute(context, f"part {number}", "dpo", config, title=f"the {number}.")
        if done.state != "finished":
            raise UserError(f"{done.id} {done.state}")


def serve(space: Workspace, until) -> None:
    engine = InProcessEngine(space)
    engine.start()
    db = open_store(space.database)
    deadline = time.monotonic() + 60
    try:
        while not until(db):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        engine.stop()
        db.close()


def ended(whole: str):
    return lambda db: runs.get(db, whole).state not in ("queued", *runs.LIVE)


def test_parts_are_executed_by_their_whole_and_found_again(space, monkeypatch) -> None:
    workspace, db = space
    monkeypatch.setitem(jobs.JOBS, "iterate", two)
    whole = runs.create(db, "iterate", config={})
    serve(workspace, ended(whole.id))
    made = runs.parts(db, whole.id)
    assert [(run.part, run.name, run.state, run.part_of) for run in made] == [
        ("part 1", "the 1.", "finished", whole.id),
        ("part 2", "the 2.", "finished", whole.id),
    ]
    assert runs.get(db, whole.id).state == "finished"
    # Once more: nothing is left to do.
    runs.update(db, whole.id, state="interrupted")
    runs.requeue(db, whole.id)
    serve(workspace, ended(whole.id))
    assert runs.get(db, whole.id).state == "finished"
    assert runs.parts(db, whole.id) == made


def test_a_stop_of_the_whole_keeps_its_part_to_go_on_with(space, monkeypatch) -> None:
    workspace, db = space
    monkeypatch.setitem(jobs.JOBS, "iterate", two)
    whole = runs.create(db, "iterate", config={})

    def second_is_on(db: Database) -> bool:
        made = runs.parts(db, whole.id)
        if len(made) == 2 and made[1].step >= 2:
            commands.send(db, whole.id, "stop", "somebody")
            return True
        return False

    engine = InProcessEngine(workspace)
    engine.start()
    while not second_is_on(db):
        time.sleep(0.01)
    while runs.get(db, whole.id).state in runs.LIVE:
        time.sleep(0.01)
    engine.stop()
    assert runs.get(db, whole.id).state == "stopped"
    assert [run.state for run in runs.parts(db, whole.id)] == ["finished", "interrupted"]
    assert commands.of_run(db, whole.id)[0].answer == "stopped; what was finished of it is kept"
    step = runs.parts(db, whole.id)[1].step
    runs.requeue(db, whole.id)
    assert [run.id for run in runs.waiting(db)] == [whole.id]
    serve(workspace, ended(whole.id))
    assert [run.state for run in runs.parts(db, whole.id)] == ["finished", "finished"]
    assert runs.get(db, whole.id).state == "finished"
    log = [row[0] for row in db.execute("SELECT text FROM log WHERE run = ?", [runs.parts(db, whole.id)[1].id])]
    assert f"resumed from checkpoint-{step}: goes on with step {step + 1}" in log


def test_a_pause_of_the_whole_is_one_of_its_part(space, monkeypatch) -> None:
    workspace, db = space
    monkeypatch.setitem(jobs.JOBS, "iterate", two)
    whole = runs.create(db, "iterate", config={})
    engine = InProcessEngine(workspace)
    engine.start()
    while not (runs.parts(db, whole.id) and runs.parts(db, whole.id)[0].step):
        time.sleep(0.01)
    commands.send(db, whole.id, "pause", "somebody")
    while runs.get(db, whole.id).state != "paused":
        time.sleep(0.01)
    time.sleep(0.5)  # what it reported last comes a moment later
    part = runs.parts(db, whole.id)[0]
    assert part.state == "paused"
    time.sleep(0.3)
    assert runs.parts(db, whole.id)[0].step == part.step
    commands.send(db, whole.id, "resume", "somebody")
    while runs.get(db, whole.id).state in runs.LIVE:
        time.sleep(0.01)
    engine.stop()
    assert [run.state for run in (runs.get(db, whole.id), *runs.parts(db, whole.id))] == ["finished"] * 3


def test_an_engine_that_leaves_interrupts_both(space, monkeypatch) -> None:
    workspace, db = space
    monkeypatch.setitem(jobs.JOBS, "iterate", two)
    whole = runs.create(db, "iterate", config={})
    serve(workspace, lambda db: bool(runs.parts(db, whole.id)) and runs.parts(db, whole.id)[0].step > 1)
    assert [run.state for run in (runs.get(db, whole.id), *runs.parts(db, whole.id))] == ["interrupted"] * 2


def test_a_stop_of_a_part_is_the_whole_run_s_to_judge(space, monkeypatch) -> None:
    workspace, db = space
    monkeypatch.setitem(jobs.JOBS, "iterate", two)
    whole = runs.create(db, "iterate", config={})
    engine = InProcessEngine(workspace)
    engine.start()
    while not (runs.parts(db, whole.id) and runs.parts(db, whole.id)[0].step):
        time.sleep(0.01)
    commands.send(db, runs.parts(db, whole.id)[0].id, "stop", "somebody")
    while runs.get(db, whole.id).state in runs.LIVE:
        time.sleep(0.01)
    engine.stop()
    assert runs.parts(db, whole.id)[0].state == "stopped"
    assert (runs.get(db, whole.id).state, runs.get(db, whole.id).error) == ("failed", "dpo-001 stopped")


def test_a_part_waits_for_its_whole_and_not_for_ever(space) -> None:
    _, db = space
    whole = runs.create(db, "sweep", config={})
    part = runs.create(db, "dpo", config={}, part_of=whole.id, part="trial 1")
    assert runs.ready(db)[0].id == whole.id
    runs.update(db, whole.id, state="running")
    assert runs.ready(db) == []
    # Its whole is over: whoever resumes a trial gets it.
    runs.update(db, whole.id, state="stopped")
    assert runs.ready(db)[0].id == part.id


def test_facts_of_a_trial_stand_aside(space) -> None:
    _, db = space
    sweep, rounds = (runs.create(db, kind, config={}) for kind in ("sweep", "iterate"))
    trial = runs.create(db, "dpo", config={}, part_of=sweep.id, part="trial 1")
    step = runs.create(db, "dpo", config={}, part_of=rounds.id, part="iteration 1")
    facts.record(db, Fact("dpo.kl_divergence", 0.05, run=step.id))
    facts.record(db, Fact("dpo.kl_divergence", 0.5, run=trial.id), Fact("sweep.best", 1.0, run=sweep.id))
    found = facts.latest(db)
    assert (found["dpo.kl_divergence"].value, found["sweep.best"].value) == (0.05, 1.0)
    assert facts.of_run(db, trial.id)["dpo.kl_divergence"].value == 0.5


def test_the_queue_is_in_a_persons_order_and_keeps_its_times(space) -> None:
    _, db = space
    first, second, third = (runs.create(db, "dpo", config={}) for _ in range(3))
    assert [run.id for run in runs.waiting(db)] == [first.id, second.id, third.id]
    runs.update(db, third.id, place=first.created - 1)
    assert runs.ready(db)[0].id == third.id
    runs.update(db, third.id, not_before=time.time() + 3600)
    assert runs.ready(db)[0].id == first.id
    assert runs.waiting(db)[0].id == third.id


def test_outside_of_an_engine_nothing_is_executed(space) -> None:
    workspace, db = space
    whole = runs.create(db, "iterate", config={})
    context = Context(workspace, db, whole, None, threading.Event())
    with pytest.raises(AssertionError):
        parts.execute(context, "part 1", "dpo", tiny.dpo_config())
