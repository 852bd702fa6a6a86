"""Lines of a run's log beyond those of the newest picture; every call belongs into a thread."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from core.store import Database, log, open_store
from core.store.log import Level, Line
from core.text import printable
from core.workspace import Workspace


class Sieve(NamedTuple):
    """Which lines of a run are shown: of at least a level, with some words where there are any."""

    run: str
    level: Level = "debug"
    words: str = ""


class LogPages:
    """Reads of runs.db with a connection for each: a search of a million lines takes a second."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @contextmanager
    def _store(self) -> Iterator[Database]:
        db = open_store(self._workspace.database)
        try:
            yield db
        finally:
            db.close()

    def older(self, sieve: Sieve, before: int | None, limit: int) -> list[Line]:
        """The last lines before an id, in order."""
        with self._store() as db:
            return log.lines(db, sieve.run, before=before, level=sieve.level, words=sieve.words, limit=limit)

    def newer(self, sieve: Sieve, after: int, limit: int) -> list[Line]:
        """The first lines behind an id, in order."""
        with self._store() as db:
            return log.following(db, sieve.run, after=after, level=sieve.level, words=sieve.words, limit=limit)

    def write(self, run: str) -> str:
        """All of a run's log as a file of its own, to be copied or sent; returns where it is, from the workspace."""
        folder = self._workspace.outputs / "logs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{run}.", dir=folder)  # private from its first byte on
        part = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file, self._store() as db:
                for line in log.everything(db, run):
                    file.write(f"{as_text(line)}\n")
            return self._workspace.relative(part.rename(folder / f"{run}.txt"))
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def as_text(line: Line) -> str:
    """A line as it stands in a file: when, what kind, and its words, which may be several lines."""
    text = line.text if line.text.isprintable() else printable(line.text)
    return f"{_second(int(line.time))} {line.level:7} {text}"


@lru_cache(maxsize=64)
def _second(moment: int) -> str:
    """Many lines are of one second, and this is what a line costs most."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
