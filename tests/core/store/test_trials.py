"""Trials in runs.db: begun one after the other, ended with what they showed, gone with their sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.store import Database, open_store, runs, trials


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    found = open_store(tmp_path / "runs.db", create=True)
    yield found
    found.close()


def test_a_trial_is_what_was_drawn_and_how_it_ended(db: Database) -> None:
    sweep = runs.create(db, "sweep", config={}).id
    drawn = {"beta": 0.1234567890123456, "kind": "a\udc80"}
    first = trials.begin(db, sweep, drawn=drawn, parameters={"beta": 0.123457}, keys={"training.beta": 0.123457})
    second = trials.begin(db, sweep, drawn={}, parameters={}, keys={})
    assert (first.number, second.number, first.state, first.ended) == (1, 2, "running", None)
    assert trials.get(db, sweep, 1).drawn["beta"] == drawn["beta"], "to the last bit"
    trials.update(db, first, evaluations=[(10, 0.5), (20, 0.25)])
    ended = trials.end(db, first, "pruned", "too far behind")
    assert (ended.state, ended.reason, ended.evaluations) == ("pruned", "too far behind", ((10, 0.5), (20, 0.25)))
    assert ended.ended is not None
    assert [trial.number for trial in trials.of_sweep(db, sweep)] == [1, 2]
    other = runs.create(db, "sweep", config={}).id
    assert trials.of_sweep(db, other) == []


def test_importances_take_the_place_of_those_before(db: Database) -> None:
    sweep = runs.create(db, "sweep", config={}).id
    trials.keep_importances(db, sweep, {"beta": 0.9, "rank": 0.1}, 6)
    trials.keep_importances(db, sweep, {"beta": 0.25, "rank": 0.75}, 7)
    assert list(trials.importances(db, sweep).items()) == [("rank", 0.75), ("beta", 0.25)]
    trials.keep_importances(db, sweep, {}, 8)
    assert trials.importances(db, sweep) == {}
