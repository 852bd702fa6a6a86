"""Where a run comes from and what was made of it: by the models and data it read, by what it wrote, by its parent."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.runs.fields import flattened
from core.store import Database, runs
from core.store.runs import Kind, Run, State

# Of one tree. A model that a thousand runs began from has a thousand lines below it, which nobody reads.
MOST = 200
_DEEPEST = 20

How = Literal["read", "parent", "again", "outside"]


@dataclass(frozen=True, slots=True)
class Node:
    """A run above (what was read) or below (what reads), or a file from outside of all runs.

    `how`: what it wrote was read; it is the parent (or child) only: the one waited for the other; it is shown
    further up with what is beyond it; or no run wrote this file. `same`: its bytes were those that the run that
    wrote them recorded. `keys` are those of the configuration that name the path.
    """

    depth: int
    how: How
    run: str | None
    kind: Kind | None = None
    state: State | None = None
    name: str = ""
    path: str = ""
    keys: tuple[str, ...] = ()
    same: bool = True


@dataclass(frozen=True, slots=True)
class Lineage:
    run: str
    above: tuple[Node, ...]  # what it was made from, nearest first, each followed by its own
    below: tuple[Node, ...]  # what was made from it
    more: bool = False  # there is more than MOST

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "made_from": [_json(node) for node in self.above],
            "used_by": [_json(node) for node in self.below],
            "more": self.more,
        }


def lineage(db: Database, run_id: str) -> Lineage:
    run = runs.get(db, run_id)
    up, down = _Walk(db), _Walk(db)
    up.above(run, 1)
    down.below(run, 1)
    return Lineage(run.id, tuple(up.found), tuple(down.found), up.full or down.full)


def writer(
    db: Database, path: str, *, sha256: str | None = None, kind: Kind | None = None, before: float = math.inf
) -> str | None:
    """The run that wrote a file or model: the one whose bytes these are, else the newest that finished.

    Args:
        before: it began no later than this.
    """
    sql = (
        "SELECT runs.id FROM (SELECT run, sha256 FROM artifacts WHERE path = ?1"
        " UNION ALL SELECT id, NULL FROM runs WHERE output_dir = ?1) AS wrote JOIN runs ON runs.id = wrote.run"
        " WHERE coalesce(runs.started, runs.created) <= ?2 AND (?3 IS NULL OR runs.kind = ?3)"
        " ORDER BY wrote.sha256 IS ?4 AND ?4 IS NOT NULL DESC, runs.state = 'finished' DESC, runs.created DESC,"
        " runs.id DESC LIMIT 1"
    )
    row = db.execute(sql, [path, before, kind, sha256]).fetchone()
    return row[0] if row else None


def _json(node: Node) -> dict[str, Any]:
    return {
        "depth": node.depth, "how": node.how, "run": node.run, "kind": node.kind, "state": node.state,
        "name": node.name, "path": node.path or None, "keys": list(node.keys), "same": node.same,
    }  # fmt: skip


class _Walk:
    def __init__(self, db: Database) -> None:
        self._db = db
        self.found: list[Node] = []
        self._seen: set[str] = set()
        self.full = False

    def _add(self, node: Node) -> bool:
        """Whether it is new, so that what is beyond it is to be shown."""
        if len(self.found) >= MOST:
            self.full = True
            return False
        self.found.append(node)
        if node.run is None or node.run in self._seen or node.how != "read" or node.depth >= _DEEPEST:
            return False
        self._seen.add(node.run)
        return True

    def _node(self, depth: int, how: How, run: Run, path: str, keys: Sequence[str], same: bool = True) -> Node:
        how = "again" if run.id in self._seen else how
        name = "" if run.name == run.id else run.name
        return Node(depth, how, run.id, run.kind, run.state, name, path, tuple(keys), same)

    def above(self, run: Run, depth: int) -> None:
        self._seen.add(run.id)
        written: dict[str, tuple[Run, bool]] = {}
        outside = []
        for path, digest in run.inputs.items():
            by = writer(self._db, path, sha256=digest, before=run.started or run.created)
            if by is None or by == run.id:
                outside.append(path)
                continue
            written[path] = runs.get(self._db, by), self._recorded(by, path) in (None, digest)
        for path, (wrote, same) in written.items():
            node = self._node(depth, "read", wrote, path, _keys(run, path), same)
            if self._add(node):
                self.above(wrote, depth + 1)
        if run.parent is not None and run.parent not in {wrote.id for wrote, _ in written.values()}:
            self._add(self._node(depth, "parent", runs.get(self._db, run.parent), "", ()))
        for path in outside:
            self._add(Node(depth, "outside", None, path=path, keys=_keys(run, path)))

    def below(self, run: Run, depth: int) -> None:
        self._seen.add(run.id)
        readers = self._readers(run)
        for reader, path, same in readers:
            node = self._node(depth, "read", reader, path, _keys(reader, path), same)
            if self._add(node):
                self.below(reader, depth + 1)
            if self.full:
                return
        for (child,) in self._db.execute("SELECT id FROM runs WHERE parent = ? ORDER BY created, id", [run.id]):
            if child not in {reader.id for reader, _, _ in readers}:
                self._add(self._node(depth, "parent", runs.get(self._db, child), "", ()))

    def _readers(self, run: Run) -> list[tuple[Run, str, bool]]:
        """Runs that read what this one wrote, oldest first, by which path, and whether its bytes were these."""
        wrote = dict(self._db.execute("SELECT path, sha256 FROM artifacts WHERE run = ?", [run.id]).fetchall())
        if run.output_dir:
            wrote.setdefault(run.output_dir, None)
        if not wrote:
            return []
        sql = (
            "SELECT runs.id, read.key, read.value FROM runs, json_each(runs.inputs) AS read"
            " WHERE coalesce(runs.started, runs.created) >= ? AND runs.id != ?"
            " AND read.key IN (SELECT value FROM json_each(?)) ORDER BY runs.created, runs.id LIMIT ?"
        )
        begun = run.started or run.created
        rows = self._db.execute(sql, [begun, run.id, json.dumps(list(wrote)), MOST + 1]).fetchall()
        found = []
        for reader, path, digest in rows:
            same = wrote[path] in (None, digest)
            one = runs.get(self._db, reader)
            # Written over by another run before it was read: then it is that one's.
            if same or writer(self._db, path, sha256=digest, before=one.started or one.created) == run.id:
                found.append((one, path, same))
        return found

    def _recorded(self, run: str, path: str) -> str | None:
        row = self._db.execute("SELECT sha256 FROM artifacts WHERE run = ? AND path = ?", [run, path]).fetchone()
        return row[0] if row else None


def _keys(run: Run, path: str) -> tuple[str, ...]:
    return tuple(key for key, value in flattened(run.config).items() if value == path)
