"""Runs as an older program wrote them, for files that are then brought up to date."""

from __future__ import annotations

import json
from typing import Any

from core.store import Database


def create_run(
    db: Database, kind: str, *, config: dict[str, Any], name: str | None = None, parent: str | None = None
) -> str:
    run = f"{kind}-001"
    db.execute(
        "INSERT INTO runs (id, kind, name, state, parent, config, seed, created)"
        " VALUES (?, ?, ?, 'queued', ?, ?, 0, ?)",
        [run, kind, name or run, parent, json.dumps(config), float(len(db.execute("SELECT * FROM runs").fetchall()))],
    )
    return run
