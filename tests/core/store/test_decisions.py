"""Decisions are kept in order, with the criteria as they stood; who asked for a run and what it ran on are kept too."""

from __future__ import annotations

import getpass
import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from core.errors import UserError
from core.store import decisions, engines, open_store, runs
from core.store.decisions import Decision
from core.store.schema import migrations
from tests.core.store.older import create_run


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return open_store(tmp_path / "runs.db", create=True)


def test_the_newest_decision_stands_and_the_others_are_history(db: Database) -> None:
    assert decisions.latest(db) is None
    run = runs.create(db, "evaluate", config={})
    criteria = {"items": [{"name": "gate.win_rate", "title": "Win Rate", "met": False, "by": "FAIL"}], "against": []}
    first = decisions.record(db, Decision("iterate", "ana", "win rate below half", criteria, run.id, time=10.0))
    second = decisions.record(db, Decision("deploy", "bo", "good enough \ud800", {"against": ["gate.win_rate"]}))
    assert decisions.latest(db) == second
    assert [each.choice for each in decisions.history(db)] == ["deploy", "iterate"]
    assert decisions.history(db)[1] == first
    assert first.unmet == ("gate.win_rate",) and first.time == 10.0 and first.run == run.id
    assert second.against == ("gate.win_rate",) and second.note == "good enough \\ud800" and second.time > 10


@pytest.mark.parametrize(
    ("choice", "note", "says"), [("ship", "x", "'ship' is no decision"), ("deploy", " ", "say why")]
)
def test_a_decision_needs_a_choice_and_a_note(db: Database, choice: str, note: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        decisions.record(db, Decision(choice, "ana", note))  # type: ignore[arg-type]
    assert decisions.history(db) == []


def test_who_asked_for_a_run_and_what_an_engine_runs_on_are_kept(db: Database) -> None:
    assert runs.create(db, "sft", config={}).who == getpass.getuser()
    engine = engines.register(db, "detached", "0.1.0", {"mlx": "0.32.2", "chip": "Apple M4 Max"})
    assert engines.environment(db, engine) == {"chip": "Apple M4 Max", "mlx": "0.32.2"}
    assert engines.environment(db, engine + 1) == {}


def test_an_older_file_says_that_nobody_recorded_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.touch()
    connection = sqlite3.connect(path)
    migrations.apply(Database(connection), stop_before="provenance")
    create_run(Database(connection), "sft", config={})
    connection.execute(
        "INSERT INTO engines (pid, host, hosting, version, started, heartbeat) VALUES (1,'h','detached','0.1.0',1,1)"
    )
    connection.commit()
    connection.close()
    db = open_store(path)
    assert runs.get(db, "sft-001").who == ""
    assert engines.environment(db, 1) == {}
