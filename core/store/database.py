"""Open runs.db: private to its owner, WAL, foreign keys, brought up to date; a newer program's file is left alone."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from core.errors import UserError
from core.store.schema import migrations

# How long a writer waits for another one. Transactions here take milliseconds; this is for a machine that swaps.
BUSY_SECONDS = 30.0


def open_store(path: Path, *, create: bool = False) -> Database:
    """A connection to runs.db for the calling thread (connections are not shared between threads).

    Args:
        path: the file.
        create: make it when it does not exist; without it a missing file is an error and nothing is written.

    Raises:
        UserError: no such file, not a database, or one that a newer dpotui wrote.
    """
    if not path.exists():
        if not create:
            raise UserError(f"{path} does not exist: make a workspace with 'dpotui init'")
        # The file is made here so that it is private from its first byte on.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        _refuse_newer(path)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        db = Database(connection)
        if migrations.pending(db):
            migrations.apply(db)
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path} cannot be read as runs.db ({error}): restore a copy or move it away") from error
    return db


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """A write transaction that takes the write lock at once.

    A deferred one that first reads and then writes is refused by SQLite without waiting when another writer came
    between ("database is locked" at once, whatever the timeout).
    """
    if db.conn.in_transaction:
        yield
        return
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.conn.rollback()
        raise
    db.conn.commit()


def _refuse_newer(path: Path) -> None:
    """Look at the file read-only, so that not a byte of a newer program's database changes."""
    if path.stat().st_size == 0:
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as connection:
        known = {migration.name for migration in migrations.pending(Database(memory=True))}
        try:
            applied = connection.execute(
                "SELECT name FROM _sqlite_migrations WHERE migration_set = 'dpotui'"
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise UserError(f"{path} is a database of another program: move it away") from None
            return
    newer = [name for (name,) in applied if name not in known]
    if newer:
        raise UserError(f"{path} was written by a newer dpotui (it knows '{newer[-1]}'): upgrade dpotui to open it")
