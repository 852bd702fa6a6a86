"""Runs of a stage, however many came after them: the newest, those before and after one, all of them in short."""

from __future__ import annotations

from typing import Any, NamedTuple

from core.store import Database, runs
from core.store.runs import STAGE_OF_KIND, Run

STAGES = tuple(sorted(set(STAGE_OF_KIND.values())))

_BASELINE = "coalesce(json_extract(config, '$.evaluation.subject'), '') = 'baseline'"


class Brief(NamedTuple):
    """What a list tells of a run."""

    id: str
    name: str
    state: str
    step: int
    steps: int
    created: float


def _of(stage: int) -> str:
    """The condition that a run is of a stage and not archived (see `Run.stage`)."""
    # An evaluation of the baseline belongs to the stage that trained it. Kinds are names of our own.
    kinds = ", ".join(f"'{kind}'" for kind, of in STAGE_OF_KIND.items() if of == stage and kind != "evaluate")
    parts = [f"kind IN ({kinds})"] if kinds else []
    if stage == 1:
        parts.append(f"(kind = 'evaluate' AND {_BASELINE})")
    elif stage == STAGE_OF_KIND["evaluate"]:
        parts.append(f"(kind = 'evaluate' AND NOT {_BASELINE})")
    # Measuring of batch sizes is shown with the machine.
    return f"({' OR '.join(parts) or '0'}) AND kind <> 'calibrate' AND archived IS NULL"


def _first(db: Database, sql: str, arguments: list[Any]) -> Run | None:
    row = db.execute(sql, arguments).fetchone()
    return None if row is None else runs.get(db, row[0])


def newest(db: Database, stage: int) -> Run | None:
    return _first(db, f"SELECT id FROM runs WHERE {_of(stage)} ORDER BY created DESC, id DESC LIMIT 1", [])  # noqa: S608


def neighbour(db: Database, run: Run, by: int) -> Run | None:
    """The next older (-1) or newer (1) run of the same stage."""
    sign, order = ("<", "DESC") if by < 0 else (">", "ASC")
    return _first(
        db,
        f"SELECT id FROM runs WHERE {_of(run.stage)} AND (created, id) {sign} (?, ?)"  # noqa: S608
        f" ORDER BY created {order}, id {order} LIMIT 1",
        [run.created, run.id],
    )


def before(db: Database, run: Run, count: int) -> tuple[str, ...]:
    """The runs of the same kind and stage before one, newest first, that came to do something."""
    sql = (
        f"SELECT id FROM runs WHERE {_of(run.stage)} AND kind = ? AND started IS NOT NULL"  # noqa: S608
        " AND (created, id) < (?, ?) ORDER BY created DESC, id DESC LIMIT ?"
    )
    return tuple(row[0] for row in db.execute(sql, [run.kind, run.created, run.id, count]))


def listing(db: Database, stage: int) -> list[Brief]:
    """All runs of a stage, newest first."""
    sql = f"SELECT id, name, state, step, steps, created FROM runs WHERE {_of(stage)} ORDER BY created DESC, id DESC"  # noqa: S608
    return [Brief(*row) for row in db.execute(sql)]
