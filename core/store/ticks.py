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


# Changes that were not taken back. Those that take something back are none themselves.
_STANDING = "undone = 0 AND substr(action, 1, 5) NOT IN ('undo ', 'redo ')"
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


def changed_by(db: Database, who: str) -> set[str]:
    """The items of which something that this person said still stands."""
    sql = f"SELECT DISTINCT item FROM tick_history WHERE who = ? AND {_STANDING}"  # noqa: S608
    return {item for (item,) in db.execute(sql, [who])}


def newest(db: Database, item: str | None = None) -> Change | None:
    """The change that `undo` would take back first, of an item or of all."""
    where, args = ("AND item = ?", [item]) if item is not None else ("", [])
    row = db.execute(f"{_CHANGE} WHERE {_STANDING} {where} ORDER BY id DESC LIMIT 1", args).fetchone()
    return _change(row) if row else None


def undo(db: Database, who: str, item: str | None = None) -> list[Change]:
    """Take back the newest change that stands (of one item, or of all); returns what was taken back."""
    where, args = ("AND item = ?", [item]) if item is not None else ("", [])
    with transaction(db):
        last = newest(db, item)
        if last is None:
            return []
        same = [*args, last.who, last.time]
        batch = db.execute(f"{_CHANGE} WHERE {_STANDING} {where} AND who = ? AND time = ? ORDER BY id DESC", same)
        return _reverse(db, who, [_change(row) for row in batch], "undo")


def redo(db: Database, who: str, item: str | None = None) -> list[Change]:
    """Take back the newest undo, as long as its items were not changed after it; returns what was brought back."""
    where, args = ("WHERE item = ?", [item]) if item is not None else ("", [])
    with transaction(db):
        changes = [_change(row) for row in db.execute(f"{_CHANGE} {where} ORDER BY id", args)]
        undone = _undone(changes)
        if not undone:
            return []
        newest = max(undone, key=lambda pair: pair[1].id)[1]
        batch = [change for change, by in undone if (by.who, by.time) == (newest.who, newest.time)]
        return _reverse(db, who, sorted(batch, key=lambda change: change.id), "redo")


def _undone(changes: list[Change]) -> list[tuple[Change, Change]]:
    """What was undone and by what, where nothing came after it: the history of each item, played through."""
    done: dict[str, list[Change]] = {}
    undone: dict[str, list[tuple[Change, Change]]] = {}
    for change in changes:
        verb = change.action[:5]
        if verb == "undo ":
            undone.setdefault(change.item, []).append((done[change.item].pop(), change))
        elif verb == "redo ":
            done[change.item].append(undone[change.item].pop()[0])
        else:
            done.setdefault(change.item, []).append(change)
            undone[change.item] = []
    return [pair for pairs in undone.values() for pair in pairs]


def _reverse(db: Database, who: str, batch: list[Change], verb: str) -> list[Change]:
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
