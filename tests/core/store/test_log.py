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


def test_lines_come_forwards_and_all_of_them(db: Database) -> None:
    _fill(db)
    assert [line.text for line in log.following(db, "dpo-001", limit=2)] == ["line 0", "line 2"]
    assert [line.text for line in log.following(db, "dpo-001", after=15, level="warning")] == ["line 18"]
    assert [line.text for line in log.everything(db, "dpo-002")] == [f"line {i}" for i in range(1, 20, 2)]


def test_lines_are_found_by_words_that_are_text(db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    with transaction(db):
        for text in ("100% done", "100 done", "a_b", "aXb", "back\\slash", "STRASSE", "Straße", "Größe"):
            db.execute("INSERT INTO log (run, time, level, text) VALUES (?, 0, 'info', ?)", [run, text])

    def found(words: str) -> list[str]:
        return [line.text for line in log.lines(db, run, words=words)]

    assert found("0% D") == ["100% done"]
    assert found("a_b") == ["a_b"]
    assert found("k\\s") == ["back\\slash"]
    assert found("straß") == ["STRASSE", "Straße"]
    assert found("GRÖSSE") == ["Größe"]
    assert found("'; DROP TABLE log; --") == []


def test_a_level_keeps_itself_and_what_is_graver(db: Database) -> None:
    _fill(db)
    assert {line.level for line in log.lines(db, "dpo-001", level="warning")} == {"warning"}
    assert {line.level for line in log.lines(db, "dpo-002", level="warning")} == {"error"}
    assert log.lines(db, "dpo-001", level="error") == []
