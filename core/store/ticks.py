"""Ticks: what people said of checklist items, and the history of it, which can be undone and redone.

The history is only ever added to. Undoing appends a row that says who undid what and marks the row it undid; what was
done in one go (an import, several items in one command) shares its author and time and is undone in one go.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from sqlite_utils import Database

from core.store.database import transaction


@dataclass(frozen=True, slots=True)
class Tick:
    """What a person said of one item; None is what nobody said.

    `values` fill the blanks of the item in order. `evidence` are JSON objects with `kind`, `who` and `time`. `who` and
    `time` are those of the tick where there is one; who gave the rest stands in the history.
    """

    item: str
    ticked: bool | None = None
    values: tuple[str | None, ...] = ()
    note: str | None = None
    evidence: tuple[dict[str, Any], ...] = ()
    who: str = ""
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """A row of the history. An undo or redo names the action it took back in `action`: `undo tick`."""

    id: int
    item: str
    action: str
    before: Tick | None
    after: Tick | None
    who: str
    time: float
    undone: bool


_REVERSALS = ("undo ", "redo ")
_CHANGE = "SELECT id, item, action, before, after, who, time, undone FROM tick_history"


def _to_json(tick: Tick | None) -> str:
    return json.dumps(asdict(tick) if tick else None, ensure_ascii=False)


def _from_json(text: str) -> Tick | None:
    row = json.loads(text)
    return Tick(**{**row, "values": tuple(row["values"]), "evidence": tuple(row["evidence"])}) if row else None


def _change(row: Any) -> Change:
    return Change(row[0], row[1], row[2], _from_json(row[3]), _from_json(row[4]), row[5], row[6], bool(row[7]))


def _tick(row: Any) -> Tick:
    item, ticked, values, note, evidence, who, when = row
    return Tick(
        item,
        None if ticked is None else bool(ticked),
        tuple(json.loads(values)) if values else (),
        note,
        tuple(json.loads(evidence)),
        who,
        when,
    )


def everything(db: Database) -> dict[str, Tick]:
    """What was said of each item."""
    sql = "SELECT item, ticked, value, note, evidence, who, time FROM ticks"
    return {row[0]: _tick(row) for row in db.execute(sql)}


def get(db: Database, item: str) -> Tick:
    sql = "SELECT item, ticked, value, note, evidence, who, time FROM ticks WHERE item = ?"
    row = db.execute(sql, [item]).fetchone()
    return _tick(row) if row else Tick(item)


def put(db: Database, action: str, after: Tick, who: str, when: float) -> None:
    """Write what is now said of an item, with the row of history that can undo it."""
    with transaction(db):
        before = get(db, after.item)
        _write(db, after.item, after)
        _log(db, after.item, action, before if before.time else None, after, who, when)


def history(db: Database, item: str | None = None, limit: int = 50) -> list[Change]:
    """Changes, newest first."""
    where, args = ("WHERE item = ?", [item]) if item is not None else ("", [])
    return [_change(row) for row in db.execute(f"{_CHANGE} {where} ORDER BY id DESC LIMIT ?", [*args, limit])]


def undo(db: Database, who: str, item: str | None = None) -> list[Change]:
    """Take back the newest change that stands (of one item, or of all); returns what was taken back."""
    with transaction(db):
        last = _find(db, item, undone=False, order="DESC")
        return _reverse(db, who, item, last, "undo") if last else []


def redo(db: Database, who: str, item: str | None = None) -> list[Change]:
    """Take back the newest undo, as long as nothing was changed after it; returns what was brought back."""
    with transaction(db):
        stands = _find(db, item, undone=False, order="DESC")
        first = _find(db, item, undone=True, order="ASC", after=stands.id if stands else 0)
        return _reverse(db, who, item, first, "redo") if first else []


def _find(db: Database, item: str | None, *, undone: bool, order: str, after: int = 0) -> Change | None:
    where = "id > ? AND undone = ? AND substr(action, 1, 5) NOT IN (?, ?)" + (" AND item = ?" if item else "")
    args = [after, int(undone), *_REVERSALS, *([item] if item else [])]
    row = db.execute(f"{_CHANGE} WHERE {where} ORDER BY id {order} LIMIT 1", args).fetchone()
    return _change(row) if row else None


def _reverse(db: Database, who: str, item: str | None, change: Change, verb: str) -> list[Change]:
    where = "who = ? AND time = ? AND undone = ? AND substr(action, 1, 5) NOT IN (?, ?)"
    args: list[Any] = [change.who, change.time, int(change.undone), *_REVERSALS]
    if item is not None:
        where, args = f"{where} AND item = ?", [*args, item]
    order = "DESC" if verb == "undo" else "ASC"
    batch = [_change(row) for row in db.execute(f"{_CHANGE} WHERE {where} ORDER BY id {order}", args)]
    now = time.time()
    for each in batch:
        old, new = (each.after, each.before) if verb == "undo" else (each.before, each.after)
        _write(db, each.item, new)
        _log(db, each.item, f"{verb} {each.action}", old, new, who, now)
        db.execute("UPDATE tick_history SET undone = ? WHERE id = ?", [int(verb == "undo"), each.id])
    return batch


def _write(db: Database, item: str, tick: Tick | None) -> None:
    if tick is None:
        db.execute("DELETE FROM ticks WHERE item = ?", [item])
        return
    db.execute(
        "INSERT OR REPLACE INTO ticks (item, ticked, value, note, evidence, who, time) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            item,
            None if tick.ticked is None else int(tick.ticked),
            json.dumps(tick.values, ensure_ascii=False) if any(v is not None for v in tick.values) else None,
            tick.note,
            json.dumps(tick.evidence, ensure_ascii=False),
            tick.who,
            tick.time,
        ],
    )


def _log(db: Database, item: str, action: str, before: Tick | None, after: Tick | None, who: str, when: float) -> None:
    db.execute(
        "INSERT INTO tick_history (item, action, before, after, who, time) VALUES (?, ?, ?, ?, ?, ?)",
        [item, action, _to_json(before), _to_json(after), who, when],
    )
