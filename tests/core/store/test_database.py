"""runs.db itself: private, strict, WAL; strangers and newer programs refused untouched; many openers at once."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import UserError
from core.store import open_store, runs, transaction
from core.store.database import NotWritten, storable


def _contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def _refused_untouched(folder: Path, words: str) -> None:
    before = _contents(folder)
    with pytest.raises(UserError, match=words) as caught:
        open_store(folder / "runs.db")
    assert "\n" not in str(caught.value)
    assert _contents(folder) == before


def test_a_missing_file_is_an_error_and_stays_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dpotui init"):
        open_store(tmp_path / "runs.db")
    assert list(tmp_path.iterdir()) == []


def test_every_table_is_strict(tmp_path: Path) -> None:
    db = open_store(tmp_path / "runs.db", create=True)
    rows = db.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    ours = {name: strict for name, strict in rows if not name.startswith(("sqlite_", "_sqlite_"))}
    assert len(ours) >= 14
    assert all(ours.values()), ours
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT"):
        db.execute("INSERT INTO notes (subject, text, who, time) VALUES ('s', 't', 'w', 'noon')")
    db.close()


def test_write_ahead_log_and_foreign_keys_are_on_for_every_opener(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    open_store(path, create=True).close()
    db = open_store(path)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), transaction(db):
        db.execute("INSERT INTO log (run, time, level, text) VALUES ('none', 0, 'info', '')")
    db.close()


def test_the_file_and_its_companions_are_private(tmp_path: Path) -> None:
    db = open_store(tmp_path / "runs.db", create=True)
    with transaction(db):
        db.execute("INSERT INTO notes (subject, text, who, time) VALUES ('s', 't', 'w', 0)")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"runs.db": 0o600, "runs.db-wal": 0o600, "runs.db-shm": 0o600}
    db.close()


def _made_by_a_newer_program(path: Path) -> sqlite3.Connection:
    db = open_store(path, create=True)
    with transaction(db):
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('dpotui', 'from_2031', '')"
        )
    return db.conn


def test_a_newer_database_is_refused_with_not_a_byte_written(tmp_path: Path) -> None:
    _made_by_a_newer_program(tmp_path / "runs.db").close()
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]
    _refused_untouched(tmp_path, "newer dpotui .*from_2031.* upgrade")


def test_a_newer_database_that_is_in_use_is_refused_too(tmp_path: Path) -> None:
    connection = _made_by_a_newer_program(tmp_path / "runs.db")
    before = _contents(tmp_path)["runs.db"]
    with pytest.raises(UserError, match="newer dpotui"):
        open_store(tmp_path / "runs.db")
    assert _contents(tmp_path)["runs.db"] == before
    connection.close()


def test_another_programs_database_is_refused_untouched(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "runs.db")
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    _refused_untouched(tmp_path, "another program")


def test_a_database_with_somebody_elses_migrations_is_refused_untouched(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "runs.db")
    connection.execute("CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set, name, applied_at)")
    connection.execute("INSERT INTO _sqlite_migrations VALUES (1, 'elsewhere', 'first', '')")
    connection.commit()
    connection.close()
    _refused_untouched(tmp_path, "another program")


@pytest.mark.parametrize("content", [b"hello, world\n" * 400, b"SQLite format 3\0" + b"\xff" * 4000])
def test_what_is_no_database_is_refused_untouched(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "runs.db").write_bytes(content)
    _refused_untouched(tmp_path, "cannot be read as runs.db")


def test_a_folder_in_its_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs.db").mkdir()
    with pytest.raises(UserError, match=r"runs\.db"):
        open_store(tmp_path / "runs.db")


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "runs.db").touch()
    db = open_store(tmp_path / "runs.db")
    assert db.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    db.close()


def test_many_processes_make_one_database_at_once(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from core.store import open_store, runs
time.sleep(max(0, float(sys.argv[2]) - time.time()))
db = open_store(Path(sys.argv[1]), create=True)
print(runs.create(db, "dpo", config={}).id)
"""
    at = time.time() + 1.5
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "runs.db"), str(at)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = [child.communicate(timeout=60) for child in children]
    assert [error for _, error in said] == [""] * 4
    assert sorted(out.strip() for out, _ in said) == ["dpo-001", "dpo-002", "dpo-003", "dpo-004"]
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    db = open_store(tmp_path / "runs.db", create=True)
    with pytest.raises(RuntimeError), transaction(db):
        db.execute("INSERT INTO notes (subject, text, who, time) VALUES ('s', 't', 'w', 0)")
        with transaction(db):  # the inner one is part of the outer
            db.execute("INSERT INTO notes (subject, text, who, time) VALUES ('s', 't', 'w', 0)")
        raise RuntimeError
    assert db.execute("SELECT count(*) FROM notes").fetchone() == (0,)
    db.close()


def test_a_transaction_takes_the_write_lock_at_its_start(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    db = open_store(path, create=True)
    other = sqlite3.connect(path, timeout=0)
    with transaction(db), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.close()
    db.close()


def test_storable_keeps_text_and_spells_out_what_utf8_cannot_hold() -> None:
    assert storable("Größe ≤ 0.1 🦉\n") == "Größe ≤ 0.1 🦉\n"
    assert storable("a\udc80b") == "a\\udc80b"


def test_a_full_disk_is_something_that_a_person_can_mend(tmp_path: Path) -> None:
    db = open_store(tmp_path / "runs.db", create=True)
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(NotWritten, match="nothing was written, database or disk is full: free some space") as told:
        runs.create(db, "dpo", config={"padding": "x" * 100_000}, config_path="configs/dpo_config.yaml", seed=1)
    assert isinstance(told.value, UserError) and isinstance(told.value, sqlite3.OperationalError)
    assert not db.conn.in_transaction
    db.execute("PRAGMA max_page_count = 100000")
    runs.create(db, "dpo", config={}, config_path="configs/dpo_config.yaml", seed=1)
