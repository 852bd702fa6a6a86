"""Calibrations in runs.db: found again by their subject alone; an older file gets their tables and loses nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from core.store import calibrations, facts, log, open_store, runs, transaction
from core.store.calibrations import Size
from core.store.schema import migrations
from tests.core.store.older import create_run

SUBJECT = {"chip": "Apple M4 Max", "model": "ab12", "adapter": {"rank": 8}, "longest": 512}


def _begin(db: Database, subject: dict = SUBJECT) -> int:
    return calibrations.begin(
        db, run=None, kind="dpo", chip="Apple M4 Max", subject=subject, limit=48_000_000_000, limit_source="Metal"
    )


def test_it_is_remembered_by_its_subject_alone(db: Database) -> None:
    made = _begin(db)
    calibrations.add(db, made, Size(2, "FITS", 11.5, 7_000_000_000, 4.0))
    calibrations.add(db, made, Size(1, "FITS", 8.25, 5_000_000_000, 3.0))
    assert calibrations.remembered(db, SUBJECT) is None  # it has come to no choice yet
    calibrations.finish(db, made, 2, "the fastest")
    found = calibrations.remembered(db, dict(reversed(SUBJECT.items())))
    assert found is not None
    assert [size.size for size in found.sizes] == [1, 2]
    assert found.best == Size(2, "FITS", 11.5, 7_000_000_000, 4.0)
    assert (found.chosen, found.limit, found.subject) == (2, 48_000_000_000, SUBJECT)
    for changed in ({"model": "cd34"}, {"longest": 1024}, {"adapter": {"rank": 16}}, {"chip": "Apple M3 Ultra"}):
        assert calibrations.remembered(db, SUBJECT | changed) is None


def test_the_newest_that_chose_counts(db: Database) -> None:
    for chosen in (2, 8, None):
        calibrations.finish(db, _begin(db), chosen, "")
    found = calibrations.remembered(db, SUBJECT)
    assert found is not None
    assert found.chosen == 8
    assert [one.chosen for one in calibrations.listing(db)] == [None, 8, 2]
    assert len(calibrations.listing(db, 1)) == 1


def test_a_size_measured_again_replaces_the_first(db: Database) -> None:
    made = _begin(db)
    calibrations.add(db, made, Size(4, "FITS", 3.0, 10, 1.0))
    calibrations.add(db, made, Size(4, "TOO LARGE", None, None, 1.0, "the child was killed"))
    assert [size.verdict for size in calibrations.listing(db)[0].sizes] == ["TOO LARGE"]


def test_of_a_run(db: Database) -> None:
    run = runs.create(db, "calibrate", config={})
    assert (run.id, run.stage) == ("calibrate-001", 5)
    assert calibrations.of_run(db, run.id) is None
    calibrations.begin(db, run=run.id, kind="sft", chip="x", subject={}, limit=1, limit_source="")
    found = calibrations.of_run(db, run.id)
    assert found is not None
    assert found.kind == "sft"


def _old_file(path: Path) -> None:
    """runs.db as the program before calibrations wrote it, with a run and what refers to it."""
    connection = sqlite3.connect(path)
    old = Database(connection)
    migrations.apply(old, stop_before="calibrations")
    with transaction(old):
        parent = create_run(old, "sft", config={"a": 1}, name="first")
        run = create_run(old, "dpo", config={}, parent=parent)
        old.execute("INSERT INTO log (run, time, level, text) VALUES (?, 1.0, 'info', 'kept')", [run])
        old.execute("INSERT INTO facts (name, value, run, time) VALUES ('dpo.kl_divergence', 0.1, ?, 1.0)", [run])
    with pytest.raises(sqlite3.IntegrityError):
        create_run(old, "calibrate", config={})
    connection.close()


def test_an_older_file_keeps_all_it_has(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    _old_file(path)
    db = open_store(path)
    assert [(run.id, run.parent, run.config) for run in runs.listing(db)] == [
        ("dpo-001", "sft-001", {}),
        ("sft-001", None, {"a": 1}),
    ]
    assert [line.text for line in log.lines(db, "dpo-001")] == ["kept"]
    assert facts.latest(db)["dpo.kl_divergence"].run == "dpo-001"
    assert runs.create(db, "calibrate", config={}).id == "calibrate-001"
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    # What refers to a run still does: nothing is logged for one that is not there, and a run takes its log with it.
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), transaction(db):
        db.execute("INSERT INTO log (run, time, level, text) VALUES ('none', 0, 'info', '')")
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        runs.update(db, "dpo-001", kind="other")
    db.close()


def test_an_older_file_becomes_a_new_one(tmp_path: Path) -> None:
    _old_file(tmp_path / "old.db")
    db = open_store(tmp_path / "old.db")
    new = open_store(tmp_path / "new.db", create=True)
    shape = "SELECT type, name, replace(sql, '\"', '') FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    assert db.execute(shape).fetchall() == new.execute(shape).fetchall()
    db.close()
    new.close()
