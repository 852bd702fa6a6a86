"""What runs.db has to tell a tracker of a run: its rows behind a mark, and what there is to say of it as a whole."""

from __future__ import annotations

import hashlib
import math
import socket
import time
from typing import Any

import psutil

from core import gates
from core.errors import UserError
from core.runs.fields import flattened
from core.store import Database, artifacts, engines, runs
from core.store.runs import Run
from core.store.tracked import Position
from core.tracking.tracker import Row, Subject, Summary, Told
from core.workspace import Workspace

# Points of a series that are read at a time: what a feeder holds of a run of any length.
_POINTS = 200
# What a run reports at once reaches runs.db within this time, but in several transactions.
SETTLE = 1.5


def subject_of(workspace: Workspace, run: Run) -> Subject:
    origin = hashlib.sha256(f"{workspace.root}\0{run.created!r}".encode()).hexdigest()[:8]
    return Subject(
        id=run.id,
        unique=f"{run.id}-{origin}",
        name=run.name,
        kind=run.kind,
        group=run.part_of or run.parent or "",
        tags=run.tags,
        seed=run.seed,
        created=run.created,
        started=run.started or run.created,
        config=flattened(run.config),
    )


def rows_behind(db: Database, run: str, position: Position, *, ended: bool, points: int = _POINTS) -> list[Row]:
    """The next rows of a run, in order of their steps; none where there is nothing new.

    Args:
        ended: nothing more comes, so that the last row is whole, too.
        points: of each series at most.
    """
    series = db.execute("SELECT id, name FROM series WHERE run = ? ORDER BY id", [run]).fetchall()
    found: dict[tuple[int, float], dict[str, float]] = {}
    last: int | None = None  # up to where all series were read
    for id_, name in series:
        sql = "SELECT step, value, time FROM metrics WHERE series = ? AND step > ? ORDER BY step LIMIT ?"
        read = db.execute(sql, [id_, position.steps.get(name, -(2**62)), points]).fetchall()
        for step, value, at in read:
            found.setdefault((step, at), {})[name] = math.nan if value is None else value
        if len(read) == points:
            last = read[-1][0] if last is None else min(last, read[-1][0])
    rows = [Row(step, at, values) for (step, at), values in sorted(found.items()) if last is None or step <= last]
    if ended:
        return rows
    now = time.time()
    # A clock that was set back must not hold rows for ever.
    fresh = next((i for i, row in enumerate(rows) if 0 <= now - row.time < SETTLE), len(rows))
    return rows[:fresh]


def behind(position: Position, rows: list[Row]) -> Position:
    """The mark behind these rows."""
    steps = dict(position.steps)
    for row in rows:
        for name in row.values:
            steps[name] = max(row.step, steps.get(name, row.step))
    return Position(position.rows + len(rows), steps, position.fact)


def summary_of(db: Database, workspace: Workspace, run: Run, position: Position) -> tuple[Summary, Position]:
    """What is said of a run at its end, and the mark behind it."""
    sql = (
        "SELECT id, name, value, unit, low, high, n, time FROM facts"
        " WHERE run = ? AND id > ? AND value IS NOT NULL ORDER BY id"
    )
    # Of a fact that was measured twice the newest is the run's.
    newest = {row[1]: row for row in db.execute(sql, [run.id, position.fact])}
    kept = [
        {"kind": one.kind, "name": _name(one.path), "sha256": one.sha256, "bytes": one.bytes}
        for one in artifacts.of_run(db, run.id)
        if one.kind != "checkpoint"
    ]
    summary = Summary(
        step=run.step,
        state=run.state,
        facts=tuple(Told(*row[1:]) for row in newest.values()),
        verdicts=_verdicts(db, workspace, run),
        artifacts=tuple(kept),
    )
    fact = max((row[0] for row in newest.values()), default=position.fact)
    return summary, Position(position.rows, position.steps, fact)


def _name(path: str) -> str:
    """As the workspace has it; of what lies elsewhere nobody need know where."""
    return path.rsplit("/", 1)[1] if path.startswith("/") else path


def _verdicts(db: Database, workspace: Workspace, run: Run) -> dict[str, str]:
    """Of the gates of its stage that it was measured for."""
    try:
        results = gates.evaluate_run(db, workspace, run)
    except (UserError, OSError):
        return {}
    return {result.gate.name: result.verdict for result in results if result.run == run.id}


def options_of(workspace: Workspace, run: Run) -> dict[str, Any]:
    """Where the run's configuration wants it to go."""
    logging = run.config.get("logging") or {}
    return {
        "root": str(workspace.root),
        "project": logging.get("wandb_project") or "dpotui",
        "mode": logging.get("wandb_mode") or "online",
        "uri": logging.get("mlflow_tracking_uri") or "",
        "folder": logging.get("tensorboard_dir") or "",
    }


def wanted(run: Run) -> list[str]:
    """The trackers that the run's configuration asks for."""
    if run.kind not in ("sft", "reward", "dpo"):
        return []  # what is checked or measured with such a configuration is no training
    return list((run.config.get("logging") or {}).get("trackers") or [])


def has_ended(db: Database, run: Run) -> bool:
    """Whether nothing more comes of it: it reads as ended, or its engine is gone."""
    if run.state not in runs.LIVE:
        return True
    return run.engine is not None and _gone(db, run.engine)


# An engine beats once a second; a machine that slept has it beat again at once.
_SILENT = 120.0


def _gone(db: Database, engine: int) -> bool:
    found = engines.get(db, engine)
    if found.ended is not None:
        return True
    if found.host == socket.gethostname() and not psutil.pid_exists(found.pid):
        return True
    return time.time() - found.heartbeat > _SILENT
