"""Runs and commands: ids, the queue, what may be asked of which state, and a lost engine."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from sqlite_utils import Database

from core.errors import UserError
from core.store import commands, runs
from core.store.runs import STAGE_OF_KIND, Kind, State


def _in_state(db: Database, state: State) -> str:
    run = runs.create(db, "dpo", config={})
    runs.update(db, run.id, state=state)
    return run.id


def test_a_run_comes_back_as_it_was_queued(db: Database) -> None:
    made = runs.create(
        db,
        "dpo",
        config={"training": {"beta": 0.1}, "ü": None},
        name="first try",
        config_path="configs/dpo_config.yaml",
        seed=7,
        steps=100,
    )
    assert made == runs.get(db, made.id)
    assert (made.id, made.state, made.stage, made.config["training"]) == ("dpo-001", "queued", 5, {"beta": 0.1})
    child = runs.create(db, "init_check", config={}, parent=made.id)
    assert (child.id, child.name, child.parent) == ("init-check-001", "init-check-001", "dpo-001")


def test_ids_count_on_for_each_kind(db: Database) -> None:
    made = [runs.create(db, kind, config={}).id for kind in ("sft", "dpo", "sft", "data_check")]
    assert made == ["sft-001", "dpo-001", "sft-002", "data-check-001"]


def test_every_kind_has_a_stage(db: Database) -> None:
    assert set(STAGE_OF_KIND) == set(get_args(Kind))
    assert {runs.create(db, kind, config={}).stage for kind in get_args(Kind)} <= set(range(8))


def test_an_unknown_run_names_the_nearest(db: Database) -> None:
    runs.create(db, "dpo", config={})
    with pytest.raises(UserError, match="did you mean 'dpo-001'"):
        runs.get(db, "dpo-01")
    with pytest.raises(UserError, match="dpotui runs"):
        runs.get(db, "zzz")
    with pytest.raises(UserError, match="no run"):
        runs.get(db, "\udcff")  # what a shell hands over for a byte that is no text


def test_the_queue_is_first_in_first_out(db: Database) -> None:
    first, second = (runs.create(db, "dpo", config={}).id for _ in range(2))
    found = runs.ready(db)[0]
    assert found is not None
    assert found.id == first
    runs.update(db, first, state="running")
    found = runs.ready(db)[0]
    assert found is not None
    assert found.id == second
    runs.update(db, second, state="finished")
    assert runs.ready(db) == []


def test_listing_is_newest_first_and_filters(db: Database) -> None:
    for kind in ("sft", "dpo", "dpo"):
        runs.create(db, kind, config={})  # type: ignore[arg-type]
    runs.update(db, "dpo-001", state="failed")
    assert [run.id for run in runs.listing(db)] == ["dpo-002", "dpo-001", "sft-001"]
    assert [run.id for run in runs.listing(db, kind="dpo", states=("failed",))] == ["dpo-001"]
    assert [run.id for run in runs.listing(db, limit=1, offset=1)] == ["dpo-001"]


@pytest.mark.parametrize("state", get_args(State))
def test_only_what_ended_early_can_be_resumed(db: Database, state: State) -> None:
    run = _in_state(db, state)
    if state in ("stopped", "failed", "interrupted"):
        runs.requeue(db, run)
        assert runs.get(db, run).state == "queued"
    else:
        with pytest.raises(UserError, match=f"{run} is {state}"):
            runs.requeue(db, run)
        assert runs.get(db, run).state == state


def test_a_resumed_run_forgets_its_error(db: Database) -> None:
    run = _in_state(db, "failed")
    runs.update(db, run, error="out of memory", hint="smaller batch", ended=time.time(), phase="training")
    runs.requeue(db, run)
    now = runs.get(db, run)
    assert (now.error, now.hint, now.ended, now.phase) == (None, None, None, "")


def test_a_command_waits_until_it_is_answered(db: Database) -> None:
    run = _in_state(db, "running")
    first = commands.send(db, run, "pause", "ada")
    second = commands.send(db, run, "checkpoint", "ada")
    assert [command.id for command in commands.pending(db, run)] == [first, second]
    commands.answer(db, first, "paused after step 3")
    assert [command.id for command in commands.pending(db, run)] == [second]
    newest, oldest = commands.of_run(db, run)
    assert (newest.verb, newest.obeyed, oldest.answer) == ("checkpoint", None, "paused after step 3")
    assert oldest.obeyed is not None


def test_stopping_a_queued_run_takes_it_out_of_the_queue(db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    commands.send(db, run, "stop", "ada")
    assert runs.get(db, run).state == "stopped"
    assert runs.ready(db) == []
    assert commands.pending(db, run) == []
    assert commands.of_run(db, run)[0].answer == "taken out of the queue"


@pytest.mark.parametrize("state", ["queued", "finished", "stopped", "failed", "interrupted"])
def test_nothing_is_asked_of_a_run_that_cannot_obey(db: Database, state: State) -> None:
    run = _in_state(db, state)
    with pytest.raises(UserError, match=f"{run} is {state}: there is nothing to pause"):
        commands.send(db, run, "pause", "ada")
    assert commands.of_run(db, run) == []


def test_a_lost_engine_interrupts_what_ran_and_answers_its_commands(db: Database) -> None:
    running, queued, finished = (_in_state(db, state) for state in ("running", "queued", "finished"))
    commands.send(db, running, "stop", "ada")
    assert runs.mark_interrupted(db) == [running]
    assert [runs.get(db, run).state for run in (running, queued, finished)] == ["interrupted", "queued", "finished"]
    assert commands.pending(db, running) == []
    assert commands.of_run(db, running)[0].answer == "the engine was gone"


def test_an_error_text_from_an_odd_file_name_is_stored(db: Database) -> None:
    run = _in_state(db, "running")
    runs.update(db, run, state="failed", error="data/\udcff.jsonl is gone")
    assert runs.get(db, run).error == "data/\\udcff.jsonl is gone"
