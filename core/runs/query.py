"""A list of runs: which, in which order, in which groups; and a page of it with what its columns show."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from core.errors import UserError
from core.runs.conditions import condition
from core.runs.expression import EVERYTHING, Expression
from core.runs.fields import FACTS, Field, json_path, resolve, sortable
from core.store import Database
from core.store.runs import Kind, State

Group = Literal["stage", "kind", "state", "tag", "parent"]
GROUPS: tuple[Group, ...] = get_args(Group)
NEWEST = "created"


@dataclass(frozen=True, slots=True)
class Query:
    filter: Expression = EVERYTHING
    sort: str = NEWEST
    descending: bool = True
    group: Group | None = None
    archived: bool = False  # those put out of sight, too; an expression that speaks of them is asked instead


@dataclass(frozen=True, slots=True)
class Found:
    """The ids of all runs of a query, in order, and the group of each.

    `lives`: what it finds, or its order, changes while a run goes on.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...] = ()  # one an id, where they are grouped
    lives: bool = False

    @property
    def count(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list shows of a run. `facts` by their short name with value and unit, `keys` as they were asked for."""

    id: str
    kind: Kind
    name: str
    state: State
    parent: str | None
    step: int
    steps: int
    phase: str
    created: float
    started: float | None
    ended: float | None
    error: str | None
    tags: tuple[str, ...]
    archived: float | None
    facts: Mapping[str, tuple[float | None, str]] = field(default_factory=dict)
    keys: Mapping[str, Any] = field(default_factory=dict)


_GROUP_SQL = {
    "kind": "runs.kind",
    "state": "runs.state",
    "tag": "(SELECT coalesce(group_concat(value, ' '), '') FROM"
    " (SELECT value FROM json_each(runs.tags) ORDER BY value))",
    "parent": "coalesce(runs.part_of, runs.parent, '')",
}
_LISTED = "id, kind, name, state, parent, step, steps, phase, created, started, ended, error, tags, archived"


def find(db: Database, query: Query, now: float) -> Found:
    """
    Raises:
        UserError: a field that is not there, or a value that it cannot have.
    """
    where = condition(db, query.filter, now)
    conditions = [where.sql] if where.sql != "1" else []
    if not query.archived and not where.archived:
        conditions.insert(0, "runs.archived IS NULL")
    group_sql = "''"
    order: list[str] = []
    order_arguments: list[Any] = []
    lives = where.lives
    if query.group is not None:
        group = resolve(db, "stage", now) if query.group == "stage" else None
        group_sql = group.sql if group is not None else _GROUP_SQL[query.group]
        order.append("2")
    if query.sort != NEWEST:
        by = _sorted_by(db, query.sort, now)
        lives = lives or by.lives
        order += [f"({by.sql}) IS NULL", f"{by.sql} {'DESC' if query.descending else 'ASC'}"]
        order_arguments += [*by.arguments, *by.arguments]
    way = "DESC" if query.descending or query.sort != NEWEST else "ASC"
    order += [f"runs.created {way}", f"runs.id {way}"]
    sql = (
        f"SELECT runs.id, {group_sql} FROM runs"  # noqa: S608 - of our own words; what was typed is bound
        f"{' WHERE ' + ' AND '.join(conditions) if conditions else ''} ORDER BY {', '.join(order)}"
    )
    rows = db.execute(sql, [*where.arguments, *order_arguments]).fetchall()
    groups = tuple(str(row[1]) for row in rows) if query.group is not None else ()
    return Found(tuple(row[0] for row in rows), groups, lives)


def _sorted_by(db: Database, name: str, now: float) -> Field:
    try:
        found = resolve(db, name, now)
        if not sortable(found.name):
            raise UserError(f"a list is not sorted by {found.name}: by a column, a fact or a key")
    except UserError as error:
        raise UserError(f"sort: {error}") from None
    return found


def page(db: Database, ids: Sequence[str], keys: Sequence[str] = ()) -> list[Listed]:
    """What is shown of these runs, in this order; one that is gone is left out. A page, not thousands.

    Args:
        keys: dotted keys of configurations that are shown.
    """
    marks = ", ".join("?" * len(ids))
    wanted = "".join(f", json_extract(config, '{json_path(key)}')" for key in keys)
    sql = f"SELECT {_LISTED}{wanted} FROM runs WHERE id IN ({marks})"  # noqa: S608
    measured = _measured(db, ids)
    found = {}
    for row in db.execute(sql, list(ids)):
        values = dict(zip(_LISTED.split(", "), row, strict=False))
        shown = {key: value for key, value in zip(keys, row[len(values) :], strict=True) if value is not None}
        values["tags"] = tuple(json.loads(values["tags"]))
        found[row[0]] = Listed(**values, facts=measured.get(row[0], {}), keys=shown)
    return [found[run] for run in ids if run in found]


def _measured(db: Database, ids: Sequence[str]) -> dict[str, dict[str, tuple[float | None, str]]]:
    """The facts that tell runs apart, of each run by their short names."""
    names = [name for several in FACTS.values() for name in several]
    runs_, facts = (", ".join("?" * len(each)) for each in (ids, names))
    sql = f"SELECT run, name, value, unit FROM facts WHERE run IN ({runs_}) AND name IN ({facts}) ORDER BY id"  # noqa: S608
    newest: dict[str, dict[str, tuple[float | None, str]]] = {}
    for run, name, value, unit in db.execute(sql, [*ids, *names]):
        newest.setdefault(run, {})[name] = (value, unit)
    return {
        run: {
            short: next(values[name] for name in several if name in values)
            for short, several in FACTS.items()
            if any(name in values for name in several)
        }
        for run, values in newest.items()
    }


def differing(db: Database, ids: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Those of the keys whose values are not the same in all of these runs that have them."""
    marks = ", ".join("?" * len(ids))
    counted = ", ".join(f"count(DISTINCT json_extract(config, '{json_path(key)}'))" for key in keys)
    row = db.execute(f"SELECT {counted} FROM runs WHERE id IN ({marks})", list(ids)).fetchone()  # noqa: S608
    return [key for key, count in zip(keys, row, strict=True) if count > 1]
