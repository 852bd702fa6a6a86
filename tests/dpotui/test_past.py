"""Runs of a stage are found however many came after them, by the same rule that says which stage a run is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from core.store import Database, runs
from core.store.runs import Kind, Run
from dpotui import past
from dpotui.live import RUNS, Reader
from tests.dpotui import scene


@pytest.fixture
def db(tmp_path: Path) -> Any:
    _, made = scene.workspace(tmp_path)
    yield made
    made.close()


def add(db: Database, kind: Kind, created: float, config: dict[str, Any] | None = None, **columns: Any) -> Run:
    run = runs.create(db, kind, config=config or {})
    runs.update(db, run.id, created=created, **columns)
    return runs.get(db, run.id)


def test_every_kind_is_found_in_its_stage(db: Database) -> None:
    made = [add(db, kind, index, started=1.0) for index, kind in enumerate(get_args(Kind)) if kind != "calibrate"]
    made.append(add(db, "evaluate", 50, {"evaluation": {"subject": "baseline"}}))
    made.append(add(db, "evaluate", 51, {"evaluation": {"subject": "final"}}))
    add(db, "calibrate", 52)  # shown with the machine
    listed = {run.id: stage for stage in range(8) for run in past.listing(db, stage)}
    assert listed == {run.id: run.stage for run in made}


def test_neighbours_are_those_of_the_same_stage(db: Database) -> None:
    first, other, second = add(db, "dpo", 1), add(db, "sft", 2), add(db, "sweep", 3)
    archived, third = add(db, "dpo", 4, archived=1.0), add(db, "dpo", 5)

    def id_of(run: Run | None) -> str | None:
        return run.id if run else None

    assert [id_of(past.neighbour(db, run, -1)) for run in (first, second, third)] == [None, first.id, second.id]
    assert [id_of(past.neighbour(db, run, 1)) for run in (first, second, third)] == [second.id, third.id, None]
    assert id_of(past.neighbour(db, other, 1)) is None
    assert id_of(past.newest(db, 5)) == third.id
    assert archived.id not in {run.id for run in past.listing(db, 5)}


def test_the_runs_before_one_are_of_its_kind_and_did_something(db: Database) -> None:
    for index in range(5):
        add(db, "dpo", index, started=None if index == 3 else 1.0)
    add(db, "sweep", 9, started=1.0)
    last = add(db, "dpo", 10, started=1.0)
    assert past.before(db, last, 3) == ("dpo-005", "dpo-003", "dpo-002")
    assert past.before(db, runs.get(db, "dpo-001"), 3) == ()


def test_a_stage_whose_runs_are_older_than_the_picture_still_has_one(tmp_path: Path) -> None:
    workspace, db = scene.workspace(tmp_path)
    old = add(db, "sft", 1.0, started=1.0, state="finished")
    for index in range(RUNS + 3):
        add(db, "dpo", 10.0 + index, state="finished")
    reader = Reader(workspace, lambda: scene.NOW, lambda *_: True)
    picture = reader.look(None)
    assert picture is not None
    assert picture.run(old.id) is None
    found = picture.latest(("sft", "evaluate"), 1)
    assert found is not None and found.id == old.id
    watching = reader.look(old.id)
    assert watching is not None and watching.run(old.id) is not None
    reader.close()
    db.close()
