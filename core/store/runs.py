"""Runs: one row for each recorded piece of work, from queued to finished."""

from __future__ import annotations

import difflib
import getpass
import json
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlite_utils import Database

from core.errors import UserError
from core.store.database import storable, transaction

Kind = Literal[
    "sft", "generate", "judge", "data_check", "init_check", "reward", "dpo", "evaluate", "sweep", "calibrate",
    "iterate", "export",
]  # fmt: skip
State = Literal["queued", "running", "paused", "stopping", "finished", "stopped", "failed", "interrupted"]

LIVE: tuple[State, ...] = ("running", "paused", "stopping")
RESUMABLE: tuple[State, ...] = ("stopped", "failed", "interrupted")
STAGE_OF_KIND: dict[str, int] = {
    "sft": 1,
    "generate": 2,
    "judge": 2,
    "data_check": 2,
    "init_check": 3,
    "reward": 4,
    "dpo": 5,
    "sweep": 5,
    "calibrate": 5,
    "iterate": 6,
    "evaluate": 7,
    "export": 7,
}


@dataclass(frozen=True, slots=True)
class Run:
    """A row of `runs`. Times are Unix seconds; `inputs` maps a file to the sha256 it had when the run started."""

    id: str
    kind: Kind
    name: str
    state: State
    parent: str | None
    config: dict[str, Any]
    config_path: str | None
    seed: int
    inputs: dict[str, str]
    output_dir: str | None
    step: int
    steps: int
    phase: str
    engine: int | None
    created: float
    started: float | None
    ended: float | None
    error: str | None
    hint: str | None
    who: str = ""  # who asked for it; "" where an older program did not record it
    tags: tuple[str, ...] = ()
    archived: float | None = None  # when it was put out of sight
    part_of: str | None = None  # the run that executes this one as a part of itself
    part: str = ""  # its name among the parts of that run
    place: float | None = None  # in the queue, where a person gave it one
    not_before: float | None = None  # it is not started earlier
    forced: int = 0  # 1: started also where the memory for it is not free

    @property
    def stage(self) -> int:
        if self.kind == "evaluate" and self.config.get("evaluation", {}).get("subject") == "baseline":
            return 1
        return STAGE_OF_KIND[self.kind]


def _run(row: dict[str, Any]) -> Run:
    read = {name: json.loads(row[name]) for name in ("config", "inputs", "tags")}
    return Run(**{**row, **read, "tags": tuple(read["tags"])})


def create(
    db: Database,
    kind: Kind,
    *,
    config: dict[str, Any],
    name: str = "",
    config_path: str | None = None,
    seed: int = 0,
    steps: int = 0,
    parent: str | None = None,
    part_of: str | None = None,
    part: str = "",
    not_before: float | None = None,
) -> Run:
    """Queue a run. Its id is the kind and a number, such as `dpo-003`; ids are never given twice.

    Args:
        parent: it waits until that one has finished.
        part_of: the run that executes it, under the name `part`.
        not_before: it is not started earlier (Unix seconds).
    """
    if kind not in get_args(Kind):
        raise UserError(f"'{kind}' is not a kind of run: {', '.join(get_args(Kind))}")
    with transaction(db):
        prefix = kind.replace("_", "-")
        used = [int(row[0].rsplit("-", 1)[1]) for row in db.execute("SELECT id FROM runs WHERE kind = ?", [kind])]
        run_id = f"{prefix}-{max(used, default=0) + 1:03d}"
        db.execute(
            "INSERT INTO runs"
            " (id, kind, name, state, parent, config, config_path, seed, steps, created, who, part_of, part,"
            " not_before) VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                run_id,
                kind,
                storable(name or run_id),
                parent,
                json.dumps(config),
                None if config_path is None else storable(config_path),
                seed,
                steps,
                time.time(),
                storable(getpass.getuser()),
                part_of,
                part,
                not_before,
            ],
        )
    return get(db, run_id)


def get(db: Database, run_id: str) -> Run:
    run_id = storable(run_id)
    row = next(db.query("SELECT * FROM runs WHERE id = ?", [run_id]), None)
    if row is None:
        near = difflib.get_close_matches(run_id, [r[0] for r in db.execute("SELECT id FROM runs")], 1)
        raise UserError(
            f"no run '{run_id}'" + (f": did you mean '{near[0]}'?" if near else ": 'dpotui runs' lists them")
        )
    return _run(row)


def listing(
    db: Database, *, kind: str | None = None, states: tuple[str, ...] = (), limit: int = -1, offset: int = 0
) -> list[Run]:
    """Runs, newest first."""
    where = ["1"]
    args: list[Any] = []
    if kind is not None:
        where.append("kind = ?")
        args.append(kind)
    if states:
        where.append(f"state IN ({', '.join('?' * len(states))})")
        args.extend(states)
    sql = f"SELECT * FROM runs WHERE {' AND '.join(where)} ORDER BY created DESC, id DESC LIMIT ? OFFSET ?"  # noqa: S608
    return [_run(row) for row in db.query(sql, [*args, limit, offset])]


# Runs of the queue in their order: where a person put them, else as they came.
IN_ORDER = "coalesce(place, created), created, id"


def waiting(db: Database) -> list[Run]:
    """The queue: in order, without the parts of a run that executes them itself as soon as it is on again."""
    marks = ", ".join("?" * len(LIVE))
    executed = f"SELECT 1 FROM runs AS whole WHERE whole.id = one.part_of AND whole.state IN ('queued', {marks})"  # noqa: S608
    sql = f"SELECT * FROM runs AS one WHERE state = 'queued' AND NOT EXISTS ({executed}) ORDER BY {IN_ORDER}"  # noqa: S608
    return [_run(row) for row in db.query(sql, LIVE)]


def coming(db: Database) -> list[Run]:
    """Those of the queue that wait for no other run, as a parent must have finished: some for their time only."""
    return [run for run in waiting(db) if run.parent is None or get(db, run.parent).state == "finished"]


def ready(db: Database) -> list[Run]:
    """Those of the queue that wait neither for another run nor for their time."""
    now = time.time()
    return [run for run in coming(db) if run.not_before is None or run.not_before <= now]


def parts(db: Database, whole: str) -> list[Run]:
    """The runs that a run is made of, as they came."""
    return [_run(row) for row in db.query("SELECT * FROM runs WHERE part_of = ? ORDER BY created, id", [whole])]


def update(db: Database, run_id: str, **columns: Any) -> None:
    """Set columns of a run; dictionaries and tuples are written as JSON."""
    values = [_column(value) for value in columns.values()]
    assignments = ", ".join(f"{name} = ?" for name in columns)
    with transaction(db):
        db.execute(f"UPDATE runs SET {assignments} WHERE id = ?", [*values, run_id])  # noqa: S608


def _column(value: Any) -> Any:
    if isinstance(value, dict | tuple):
        return json.dumps(value)
    return storable(value) if isinstance(value, str) else value


def requeue(db: Database, run_id: str) -> None:
    """Put a stopped, failed or interrupted run back in the queue: it goes on from its last checkpoint."""
    with transaction(db):
        run = get(db, run_id)
        if run.state not in RESUMABLE:
            raise UserError(f"{run_id} is {run.state}: only a stopped, failed or interrupted run can be resumed")
        update(db, run_id, state="queued", error=None, hint=None, ended=None, phase="")


def mark_interrupted(db: Database) -> list[str]:
    """Call when no engine lives: what still reads as running lost its engine. Returns the ids."""
    with transaction(db):
        marks = ", ".join("?" * len(LIVE))
        lost = [row[0] for row in db.execute(f"SELECT id FROM runs WHERE state IN ({marks})", list(LIVE))]  # noqa: S608
        for run_id in lost:
            db.execute(
                "UPDATE runs SET state = 'interrupted', ended = ?, phase = '' WHERE id = ?", [time.time(), run_id]
            )
            db.execute(
                "UPDATE commands SET obeyed = ?, answer = 'the engine was gone' WHERE run = ? AND obeyed IS NULL",
                [time.time(), run_id],
            )
    return lost
