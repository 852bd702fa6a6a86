"""What the engine starts next: in order, at its time, and only beside what leaves it room."""

from __future__ import annotations

import time
from pathlib import Path

from core.engine import admission
from core.engine.admission import Admission
from core.engine.client import submit
from core.engine.host import Engine, InProcessEngine
from core.runs import queue
from core.store import runs
from tests.core.engine.test_engine import ended, wait
from tests.core.training import tiny


def test_what_does_not_fit_is_held_while_others_go_ahead(tmp_path: Path, monkeypatch) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    monkeypatch.setattr(admission, "_EVERY", 0.0)
    free = [1 << 40]
    chooser = Admission(space, lambda: free[0])
    large = submit(space, db, "dpo", tiny.dpo_config(), name="large")
    small = submit(space, db, "data_check", tiny.dpo_config(), name="small")
    assert chooser.next(db).id == large.id
    free[0] = 1000
    assert chooser.next(db).id == small.id
    why = runs.get(db, large.id).phase
    assert why.startswith("held: takes about 0.")
    assert "0.0 GB are free beside " in why
    assert queue.listing(db)[0].why == why
    runs.update(db, small.id, state="finished")
    # Nothing to start, and the engine stays: memory may become free.
    assert chooser.next(db) is None
    assert chooser.awaits(db)
    free[0] = 1 << 40
    assert chooser.next(db).id == large.id
    free[0] = 1000
    queue.force(db, large.id)
    assert chooser.next(db).id == large.id


def test_what_can_never_fit_is_not_held(tmp_path: Path, monkeypatch) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "dpo", tiny.dpo_config())
    chooser = Admission(space, lambda: 0)
    chooser._needs[run.id] = 1 << 60
    assert chooser.next(db).id == run.id


def test_an_engine_stays_for_a_run_that_is_put_off_and_leaves_without_one(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "data_check", tiny.dpo_config(), not_before=time.time() + 1.5)
    begun = time.time()
    Engine(space, "in-process", 0.3).serve()
    found = runs.get(db, run.id)
    assert found.state == "finished", found.error
    assert found.started >= begun + 1.4
    # A run that waits for one that failed keeps nobody here.
    runs.update(db, run.id, state="failed")
    submit(space, db, "data_check", tiny.dpo_config(), parent=run.id)
    Engine(space, "in-process", 0.1).serve()


def test_the_order_of_a_person_is_the_engine_s(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    first, second, third = (submit(space, db, "data_check", tiny.dpo_config()) for _ in range(3))
    queue.move(db, third.id, "first")
    queue.move(db, first.id, "last")
    engine = InProcessEngine(space)
    engine.start()
    wait(lambda: all(ended(db, run.id) for run in (first, second, third)))
    engine.stop()
    begun = [runs.get(db, run.id).started for run in (third, second, first)]
    assert begun == sorted(begun)
