"""Where a run comes from and what was made of it: by the models and data it read, by what it wrote, by its parent."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from core.runs.fields import flattened
from core.store import Database, runs
from core.store.runs import Kind, Run, State

# Of one tree. A model that a thousand runs began from has a thousand lines below it, which nobody reads.
MOST = 200
_DEEPEST = 20

How = Literal["read", "parent", "child", "whole", "part", "again", "outside"]


@dataclass(frozen=True, slots=True)
class Node:
    """A run above (what was read) or below (what reads), or a file from outside of all runs.

    `how`: what it wrote was read; it is the parent or a child only: the one waited for the other; it executed the
    other as its part, or is one; it is shown in another place with what is beyond it; or no run wrote this file.
    `same`: its bytes were those that the run that wrote them recorded. `keys` are those of the configuration that name
    the path.
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
    down.below(run)
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


@dataclass(frozen=True, slots=True)
class _Read:
    """What one run read of another."""

    run: Run  # the other one
    paths: tuple[str, ...]
    keys: tuple[str, ...]
    same: bool


class _Walk:
    def __init__(self, db: Database) -> None:
        self._db = db
        self.found: list[Node] = []
        self._seen: set[str] = set()
        self.full = False

    def _add(self, node: Node) -> bool:
        """Whether what is beyond it is to be shown."""
        if len(self.found) >= MOST:
            self.full = True
            return False
        self.found.append(node)
        return node.how == "read" and node.depth < _DEEPEST

    def _node(self, depth: int, how: How, read: _Read) -> Node:
        run = read.run
        more = f" and {len(read.paths) - 1} more" if len(read.paths) > 1 else ""
        path = f"{read.paths[0]}{more}" if read.paths else ""
        name = "" if run.name == run.id else run.name
        return Node(depth, how, run.id, run.kind, run.state, name, path, read.keys, read.same)

    def above(self, run: Run, depth: int) -> None:
        self._seen.add(run.id)
        reads, outside = self._reads(run)
        for read in reads:
            again = read.run.id in self._seen
            if self._add(self._node(depth, "again" if again else "read", read)):
                self.above(read.run, depth + 1)
        others: tuple[tuple[How, str | None], ...] = (("parent", run.parent), ("whole", run.part_of))
        for how, other in others:
            if other is not None and other not in {read.run.id for read in reads}:
                self._add(self._node(depth, how, _Read(runs.get(self._db, other), (), (), True)))
        for path in outside:
            self._add(Node(depth, "outside", None, path=path, keys=_keys(run, path)))

    def _reads(self, run: Run) -> tuple[list[_Read], list[str]]:
        """What a run read of others, and the files that none of them wrote."""
        by: dict[str, list[str]] = {}
        outside = []
        for path, digest in run.inputs.items():
            wrote = writer(self._db, path, sha256=digest, before=_begun(run))
            if wrote is None or wrote == run.id:
                outside.append(path)
            else:
                by.setdefault(wrote, []).append(path)
        reads = []
        for wrote, paths in by.items():
            same = all(self._recorded(wrote, path) in (None, run.inputs[path]) for path in paths)
            keys = tuple(key for path in paths for key in _keys(run, path))
            reads.append(_Read(runs.get(self._db, wrote), tuple(paths), keys, same))
        return reads, outside

    def below(self, run: Run) -> None:
        """Each run stands below the latest of those that it read from: an evaluation below the model it is of."""
        readers: dict[str, list[_Read]] = {}
        latest: dict[str, tuple[float, str]] = {}
        waiting = [run]
        while waiting and len(readers) < MOST:
            wrote = waiting.pop(0)
            if wrote.id in readers:
                continue
            readers[wrote.id] = self._readers(wrote)
            for read in readers[wrote.id]:
                waiting.append(read.run)
                latest[read.run.id] = max(latest.get(read.run.id, (0.0, "")), (_begun(wrote), wrote.id))
        self._below(run, 1, readers, {reader: wrote for reader, (_, wrote) in latest.items()})

    def _below(self, run: Run, depth: int, readers: dict[str, list[_Read]], latest: dict[str, str]) -> None:
        self._seen.add(run.id)
        here = readers.get(run.id, [])
        for read in here:
            again = read.run.id in self._seen or latest[read.run.id] != run.id
            if self._add(self._node(depth, "again" if again else "read", read)):
                self._below(read.run, depth + 1, readers, latest)
            if self.full:
                return
        known = {read.run.id for read in here}
        relations: tuple[tuple[How, str], ...] = (("child", "parent"), ("part", "part_of"))
        for how, column in relations:
            sql = f"SELECT id FROM runs WHERE {column} = ? ORDER BY created, id"  # noqa: S608
            for (other,) in self._db.execute(sql, [run.id]):
                if other not in known:
                    self._add(self._node(depth, how, _Read(runs.get(self._db, other), (), (), True)))

    def _readers(self, run: Run) -> list[_Read]:
        """Runs that read what this one wrote, oldest first."""
        wrote = dict(self._db.execute("SELECT path, sha256 FROM artifacts WHERE run = ?", [run.id]).fetchall())
        if run.output_dir:
            wrote.setdefault(run.output_dir, None)
        if not wrote:
            return []
        sql = (
            "SELECT runs.id, read.key, read.value FROM runs, json_each(runs.inputs) AS read"
            " WHERE coalesce(runs.started, runs.created) >= ? AND runs.id != ?"
            " AND read.key IN (SELECT value FROM json_each(?))"
            " ORDER BY coalesce(runs.started, runs.created), runs.id LIMIT ?"
        )
        rows = self._db.execute(sql, [_begun(run), run.id, json.dumps(list(wrote)), MOST + 1]).fetchall()
        found: dict[str, _Read] = {}
        for reader, path, digest in rows:
            same = wrote[path] in (None, digest)
            one = found[reader].run if reader in found else runs.get(self._db, reader)
            # Written over by another run before it was read: then it is that one's.
            if same or writer(self._db, path, sha256=digest, before=_begun(one)) == run.id:
                before = found.get(reader, _Read(one, (), (), True))
                keys = (*before.keys, *_keys(one, path))
                found[reader] = _Read(one, (*before.paths, path), keys, before.same and same)
        return list(found.values())

    def _recorded(self, run: str, path: str) -> str | None:
        row = self._db.execute("SELECT sha256 FROM artifacts WHERE run = ? AND path = ?", [run, path]).fetchone()
        return row[0] if row else None


def _keys(run: Run, path: str) -> tuple[str, ...]:
    return tuple(key for key, value in flattened(run.config).items() if value == path)


def _begun(run: Run) -> float:
    return run.started or run.created
