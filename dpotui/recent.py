"""The newest runs, each read again only when its row changed."""

from __future__ import annotations

from core.store import Database, runs
from core.store.runs import Run


class Recent:
    """Configurations are long: taking those of two hundred runs apart at every look is most of what a look costs."""

    def __init__(self, db: Database, count: int) -> None:
        self._db, self._count = db, count
        self._known: dict[str, tuple[tuple[object, ...], Run]] = {}

    def read(self) -> tuple[Run, ...]:
        """Newest first. A run that did not change is the same object as last time."""
        rows = self._db.execute(
            "SELECT id, * FROM runs ORDER BY created DESC, id DESC LIMIT ?", [self._count]
        ).fetchall()
        before, self._known = self._known, {}
        for row in rows:
            known = before.get(row[0])
            self._known[row[0]] = known if known and known[0] == row else (row, runs.get(self._db, row[0]))
        return tuple(run for _, run in self._known.values())
