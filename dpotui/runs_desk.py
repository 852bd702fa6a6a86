"""The list of runs as it is asked for: one thread reads runs.db for it, so that no query ever holds up a key."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from core.runs.fields import FACTS
from core.runs.lineage import Lineage, lineage
from core.runs.query import Found, Listed, Query, differing, find, page
from core.store import Database, open_store, runs
from core.store.runs import Run
from core.workspace import Workspace

# Keys that have a column where they differ.
KEYS = {"training.beta": "β", "training.learning_rate": "lr"}
# Of the runs found, those that are asked which columns they fill.
_ASKED = 500
# What a list depends on, without a look at a run: states, what was measured, what people changed.
_STAMP = (
    "SELECT (SELECT group_concat(n) FROM (SELECT state || count(*) AS n FROM runs GROUP BY state)),"
    " (SELECT max(id) FROM facts), (SELECT max(id) FROM run_changes), (SELECT sum(undone) FROM run_changes),"
    " (SELECT max(id) FROM notes)"
)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a query finds, and which columns have something to show."""

    query: Query
    found: Found
    total: int = 0
    archived: int = 0
    facts: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class RunsDesk:
    """Everything that touches the connection runs in its thread."""

    def __init__(self, workspace: Workspace, clock: Callable[[], float] = time.time) -> None:
        self._workspace, self._clock = workspace, clock
        self._thread = ThreadPoolExecutor(1, "runs-list")
        self._db: Database | None = None
        self._stamp: tuple[object, ...] = ()
        self._seen: Seen | None = None

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._thread.submit(call, *args, **kwargs)

    def close(self) -> None:
        self._thread.submit(self._close)
        self._thread.shutdown(wait=True)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()

    # In its thread

    @property
    def db(self) -> Database:
        if self._db is None:
            self._db = open_store(self._workspace.database)
        return self._db

    def look(self, query: Query) -> Seen:
        """What a query finds; the very same object while nothing it depends on has changed.

        Raises:
            UserError: the query cannot be asked.
        """
        stamp = tuple(self.db.execute(_STAMP).fetchone())
        last = self._seen
        if last is not None and last.query == query and stamp == self._stamp and not last.found.lives:
            return last
        found = find(self.db, query, self._clock())
        if last is not None and last.query == query and last.found == found and stamp == self._stamp:
            return last
        self._stamp = stamp
        first = found.ids[:_ASKED]
        total, archived = self.db.execute("SELECT count(*), count(archived) FROM runs").fetchone()
        keys = tuple(differing(self.db, first, tuple(KEYS))) if first else ()
        self._seen = Seen(query, found, total, archived, self._measured(first), keys)
        return self._seen

    def rows(self, ids: Sequence[str], keys: Sequence[str]) -> list[Listed]:
        return page(self.db, ids, keys) if ids else []

    def lineage(self, run: str) -> tuple[Lineage, Run]:
        return lineage(self.db, run), runs.get(self.db, run)

    def _measured(self, ids: Sequence[str]) -> tuple[str, ...]:
        """The short names of facts that any of these runs has."""
        marks = ", ".join("?" * len(ids))
        sql = f"SELECT DISTINCT name FROM facts WHERE run IN ({marks})"  # noqa: S608
        there = {row[0] for row in self.db.execute(sql, list(ids))}
        return tuple(short for short, names in FACTS.items() if there.intersection(names))
