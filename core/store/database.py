"""Open runs.db: private to its owner, WAL, foreign keys, brought up to date; a newer program's file is left alone."""

from __future__ import annotations

import os
import sqlite3
import tempfile
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
    try:
        if not path.exists():
            if not create:
                raise UserError(f"{path} does not exist: make a workspace with 'dpotui init'")
            _make(path)
        _refuse_stranger(path)
        return _connect(path)
    except sqlite3.DatabaseError as error:
        full = "free some space on its disk, else " if "I/O" in str(error) or "is full" in str(error) else ""
        raise UserError(f"{path} cannot be read as runs.db ({error}): {full}restore a copy or move it away") from error
    except OSError as error:
        raise UserError(f"{path} cannot be opened ({error.strerror})") from error


def _connect(path: Path) -> Database:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # Off while a table is made anew: dropping the old one would delete what refers to its rows.
        connection.execute("PRAGMA foreign_keys = OFF")
        db = Database(connection)
        if migrations.pending(db):
            # Of several programs that find an old file one migrates it; the others wait, and find nothing left to do.
            with transaction(db):
                migrations.apply(db)
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return db


def _make(path: Path) -> None:
    """Put a whole new database in place at once: nobody ever opens half of one, and of two makers one wins."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # private from its first byte on
    os.close(handle)
    part = Path(name)
    try:
        _connect(part).close()
        try:
            path.hardlink_to(part)
        except FileExistsError:
            pass
        except OSError:  # exFAT and its like have no links
            part.rename(path)
    finally:
        part.unlink(missing_ok=True)


class NotWritten(UserError, sqlite3.OperationalError):
    """runs.db took nothing of a transaction: the disk is full, may not be written, or another one held it too long."""


# What to do about it, by the words that SQLite has for it.
_MENDS = (
    ("is full", "free some space, then do it again"),
    ("readonly", "it and its folder have to be writable"),
    ("locked", "another program holds it; do it again in a moment"),
)


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """A write transaction that takes the write lock at once.

    A deferred one that first reads and then writes is refused by SQLite without waiting when another writer came
    between ("database is locked" at once, whatever the timeout).

    Raises:
        NotWritten: runs.db took nothing of it.
    """
    if db.conn.in_transaction:
        yield
        return
    try:
        db.conn.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.conn.commit()
        except BaseException:
            db.conn.rollback()
            raise
    except sqlite3.OperationalError as error:
        mend = next((mend for words, mend in _MENDS if words in str(error)), None)
        if mend is None or isinstance(error, NotWritten):
            raise
        raise NotWritten(f"runs.db: nothing was written, {error}: {mend}") from error


def storable(text: str) -> str:
    """The text with what no UTF-8 file can hold (lone surrogates, from odd file names and JSON) written as \\udc80."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _refuse_stranger(path: Path) -> None:
    """Refuse another program's database and a newer dpotui's, with not a byte written, also not beside it.

    SQLite leaves a -wal and a -shm file beside a WAL database that was opened read-only. Without a -wal file nobody
    else has it open and all of it is in the one file, which may then be read as one that cannot change.
    """
    if path.stat().st_size == 0:
        return
    if path.with_name(f"{path.name}-wal").exists():
        tables, applied = _migrations_of(path, "mode=ro")
    else:
        try:
            tables, applied = _migrations_of(path, "immutable=1")
        except sqlite3.DatabaseError:  # it changed all the same
            tables, applied = _migrations_of(path, "mode=ro")
    if tables and not applied:
        raise UserError(f"{path} is a database of another program: move it away")
    known = {migration.name for migration in migrations.pending(Database(memory=True))}
    newer = [name for name in applied if name not in known]
    if newer:
        raise UserError(f"{path} was written by a newer dpotui (it knows '{newer[-1]}'): upgrade dpotui to open it")


def _migrations_of(path: Path, mode: str) -> tuple[bool, list[str]]:
    """Whether a database has any tables, and which of our migrations it has seen."""
    uri = f"{path.absolute().as_uri()}?{mode}"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if "_sqlite_migrations" not in tables:
            return bool(tables), []
        sql = "SELECT name FROM _sqlite_migrations WHERE migration_set = 'dpotui' ORDER BY rowid"
        return True, [name for (name,) in connection.execute(sql)]
