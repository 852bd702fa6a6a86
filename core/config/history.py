"""Runs of the past as configurations: what a run of a kind had."""

from __future__ import annotations

from core.store import Database, runs
from core.store.runs import Run


def last_run(db: Database, kind: str) -> Run | None:
    """The newest run that was started from a kind of configuration (a name in RUN_CONFIGS)."""
    found = runs.listing(db, kind="evaluate" if kind == "eval" else kind, limit=1)
    return found[0] if found else None
