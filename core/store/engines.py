"""Engines: which process executes runs, and when it last gave a sign of life."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from typing import NamedTuple

from sqlite_utils import Database

from core.store.database import transaction


class Engine(NamedTuple):
    id: int
    pid: int
    host: str
    hosting: str  # detached or in-process
    version: str
    started: float
    heartbeat: float
    ended: float | None


def register(db: Database, hosting: str, version: str, environment: Mapping[str, str] | None = None) -> int:
    """Write down an engine of this process. `environment`: the machine and versions it computes with."""
    now = time.time()
    found = json.dumps(dict(environment or {}), sort_keys=True)
    with transaction(db):
        cursor = db.execute(
            "INSERT INTO engines (pid, host, hosting, version, started, heartbeat, environment)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [os.getpid(), socket.gethostname(), hosting, version, now, now, found],
        )
        return int(cursor.lastrowid)


def beat(db: Database, engine: int) -> None:
    with transaction(db):
        db.execute("UPDATE engines SET heartbeat = ? WHERE id = ?", [time.time(), engine])


def end(db: Database, engine: int) -> None:
    with transaction(db):
        db.execute("UPDATE engines SET ended = ? WHERE id = ?", [time.time(), engine])


def latest(db: Database) -> Engine | None:
    row = db.execute(
        "SELECT id, pid, host, hosting, version, started, heartbeat, ended FROM engines ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return Engine(*row) if row else None


def get(db: Database, engine: int) -> Engine:
    row = db.execute(
        "SELECT id, pid, host, hosting, version, started, heartbeat, ended FROM engines WHERE id = ?", [engine]
    ).fetchone()
    return Engine(*row)


def environment(db: Database, engine: int) -> dict[str, str]:
    """The machine and versions of an engine; empty where they were not recorded."""
    row = db.execute("SELECT environment FROM engines WHERE id = ?", [engine]).fetchone()
    return dict(json.loads(row[0])) if row else {}
