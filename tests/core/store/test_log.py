"""Log lines: levels and pages."""

from __future__ import annotations

from sqlite_utils import Database

from core.store import log, runs, transaction


def _fill(db: Database) -> None:
    for _ in range(2):
        runs.create(db, "dpo", config={})
    with transaction(db):
        for i in range(20):
            db.execute(
                "INSERT INTO log (run, time, level, text) VALUES (?, 0, ?, ?)",
                ["dpo-001" if i % 2 == 0 else "dpo-002", log.LEVELS[i % 4], f"line {i}"],
            )


def test_the_last_lines_come_in_order_and_page_backwards(db: Database) -> None:
    _fill(db)
    last = log.lines(db, "dpo-001", limit=3)
    assert [line.text for line in last] == ["line 14", "line 16", "line 18"]
    assert [line.text for line in log.lines(db, "dpo-001", before=last[0].id, limit=2)] == ["line 10", "line 12"]
    assert [line.text for line in log.lines(db, "dpo-001", after=last[1].id)] == ["line 18"]


def test_a_level_keeps_itself_and_what_is_graver(db: Database) -> None:
    _fill(db)
    assert {line.level for line in log.lines(db, "dpo-001", level="warning")} == {"warning"}
    assert {line.level for line in log.lines(db, "dpo-002", level="warning")} == {"error"}
    assert log.lines(db, "dpo-001", level="error") == []
