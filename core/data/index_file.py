"""The file of an index of pairs: its tables, its name, and whether it still speaks of the files it was made of."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Raised when an index that was made before would say something else than one made now.
FORMAT = 1
SUFFIX = ".index.db"

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pairs (
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL, line INTEGER NOT NULL,
    offset INTEGER NOT NULL, length INTEGER NOT NULL,
    prompt INTEGER NOT NULL, chosen INTEGER NOT NULL, rejected INTEGER NOT NULL,
    prompt_chars INTEGER NOT NULL, chosen_chars INTEGER NOT NULL, rejected_chars INTEGER NOT NULL,
    prompt_tokens INTEGER, chosen_tokens INTEGER, rejected_tokens INTEGER,
    chosen_score REAL, rejected_score REAL, score_fields INTEGER, gap REAL
);
CREATE TABLE bad_rows (
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL, line INTEGER NOT NULL, offset INTEGER NOT NULL,
    length INTEGER NOT NULL, kind TEXT NOT NULL, field TEXT, reason TEXT NOT NULL
);
CREATE TABLE findings (
    kind TEXT NOT NULL, pair INTEGER NOT NULL, detail TEXT NOT NULL, cluster INTEGER,
    PRIMARY KEY (kind, pair)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """One of the files as it was read. `spooled`: its rows lie as JSONL beside the index, because they cannot be found
    by their place in the file (it is compressed, or no JSONL)."""

    path: Path
    size: int
    changed_ns: int
    sha256: str
    pairs: int = 0
    spooled: bool = False


def write_findings(
    db: sqlite3.Connection, rows: Iterable[tuple[str, int, str, int | None]], replace: str | None = None
) -> None:
    """Write findings (kind, pair, detail, cluster); several of one kind in one pair become one."""
    if replace is not None:
        db.execute("DELETE FROM findings WHERE kind = ?", [replace])
    db.executemany(
        "INSERT INTO findings VALUES (?, ?, ?, ?) ON CONFLICT (kind, pair) DO UPDATE SET"
        " detail = substr(detail || '; ' || excluded.detail, 1, 400), cluster = coalesce(cluster, excluded.cluster)",
        rows,
    )


def family(paths: Sequence[Path]) -> str:
    """What the names of all indexes of these paths begin with."""
    names = b"\0".join(os.fsencode(path.absolute()) for path in paths)
    return hashlib.blake2b(names, digest_size=8).hexdigest()


def key_of(files: Sequence[IndexedFile], parameters: Mapping[str, Any]) -> str:
    """What an index is made of, in 16 hex digits."""
    told = json.dumps([FORMAT, [file.sha256 for file in files], parameters], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def spool_path(index: Path, file: int) -> Path:
    return index.with_name(f"{index.name.removesuffix(SUFFIX)}.{file}.rows")


def as_json(file: IndexedFile) -> dict[str, Any]:
    return {**asdict(file), "path": str(file.path)}


def connect(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, check_same_thread=False, timeout=30)
    db.execute("PRAGMA cache_size = -16000")
    return db


def changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def unchanged(file: IndexedFile) -> bool:
    try:
        stat = file.path.stat()
        if stat.st_size != file.size:
            return False
        if stat.st_ctime_ns == file.changed_ns:
            return True
        # It was touched, moved or copied back: what is in it decides.
        with file.path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest() == file.sha256
    except OSError:
        return False
