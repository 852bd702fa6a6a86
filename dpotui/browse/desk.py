"""The file that is open: one thread reads it, so that a slow disk or a long query never holds up a key."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from core.data.index import Index, Interrupted, build, open_index
from core.data.lineage import Node, lineage
from core.errors import UserError
from core.store import files, open_store
from core.text import printable
from core.workspace import Workspace
from dpotui.browse.ballots import Votes
from dpotui.browse.find import Find
from dpotui.browse.kinds import kind_of_file, packed
from dpotui.browse.narrowing import EVERYTHING, Narrowing
from dpotui.browse.pairs import IndexedPairs, index_of
from dpotui.browse.report import Report, report, share
from dpotui.browse.rows import Rows
from dpotui.browse.shown import Detail, Listed

T = TypeVar("T")
Source = IndexedPairs | Rows

# Hits that are looked at for one that is in a narrowed list.
_HITS_TRIED = 2000


@dataclass(slots=True)
class Building:
    """An index that is being built, as far as it is."""

    path: Path
    done: int = 0
    total: int = 0
    phase: str = "beginning"
    stop: threading.Event = field(default_factory=threading.Event)

    def progress(self, done: int, total: int, phase: str) -> None:
        self.done, self.total, self.phase = done, total, phase

    @property
    def told(self) -> str:
        share = f" {100 * min(self.done, self.total) // self.total} %" if self.total else ""
        return f"building the index: {self.phase}{share}, escape ends it"


class NotBrowsable(UserError):
    """The file cannot be paged as it is; its sentence says what to do."""


class Desk:
    """Opens files and reads from the one that is open. Everything that touches it runs in its thread."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.folder = workspace.cache / "data"
        self.source: Source | None = None
        self._thread = ThreadPoolExecutor(1, "data-file")
        self._votes = Votes(workspace)
        self._measured: tuple[tuple[Path, int, int], Report] | None = None

    def submit(self, work: Callable[..., T], *arguments: object) -> Future[T]:
        return self._thread.submit(work, *arguments)

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.wrap_future(self.submit(work, *arguments))

    def close(self) -> None:
        self._thread.submit(self._close)
        self._thread.shutdown(wait=True)

    def _close(self) -> None:
        self._drop()
        self._votes.close()

    def _drop(self) -> None:
        if self.source is not None:
            self.source.close()
            self.source = None

    # Opening

    def open(self, path: Path) -> Source:
        """Open a file through its index if there is one, else as plain rows.

        Raises:
            UserError: it cannot be read, or not be paged without an index.
        """
        self._drop()
        found = index_of(path, self.folder) if self.folder.is_dir() else None
        if found is not None:
            self.source = IndexedPairs(*found, self._votes.words)
            return self.source
        kind = kind_of_file(path)
        if packed(path):
            if kind in ("pairs", "table"):
                words = "its rows cannot be read from the middle: b builds an index, through which it is browsed"
            else:
                words = "its rows cannot be read from the middle: unpack it to browse it"
            raise NotBrowsable(f"{printable(path.name)}: {words}")
        rows = Rows(path, kind)
        self.source = rows
        threading.Thread(target=rows.scan, name="data-rows", daemon=True).start()
        return rows

    def check(self) -> None:
        """
        Raises:
            FileChanged: what is open is not what lies there now.
        """
        if isinstance(self.source, IndexedPairs):
            self.source.check()
        elif self.source is not None:
            self.source.raw.check()

    # Reading

    def page(self, first: int, count: int) -> list[Listed]:
        return self.source.page(first, count) if self.source is not None else []

    def narrow(self, narrowing: Narrowing) -> int:
        if isinstance(self.source, Rows):
            return self.source.narrow(EVERYTHING)
        return self.source.narrow(narrowing) if self.source is not None else 0

    def detail(self, place: int) -> Detail | None:
        return self.source.detail(place) if self.source is not None else None

    def place_of(self, offset: int) -> int | None:
        return self.source.place_of(offset) if self.source is not None else None

    def place_of_line(self, line: int) -> int:
        return self.source.place_of_line(line) if self.source is not None else 0

    def place_of_pair(self, pair: int) -> int | None:
        return self.source.place_of_pair(pair) if self.source is not None else None

    def elsewhere(self, pair: int) -> tuple[Path, int] | None:
        """The other file of the index in which a pair stands, and its line."""
        source = self.source
        if not isinstance(source, IndexedPairs):
            return None
        entry = source.index.entry(pair)
        return None if entry.file == source.file else (source.index.files[entry.file].path, entry.line)

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Of findings and of rows that are no pairs, by kind."""
        source = self.source
        return (source.finding_counts(), source.bad_counts()) if isinstance(source, IndexedPairs) else ({}, {})

    def hit(self, find: Find, place: int, by: int, here: bool) -> int | None:
        """The place of the next hit, or of the last one. `here`: the row at `place` counts too."""
        if self.source is None:
            return None
        at = self.source.offset_of(place)
        offset = at - 1 if here else at
        for _ in range(_HITS_TRIED):
            found = find.after(offset) if by > 0 else find.before(offset)
            if found is None:
                return None
            offset = found
            there = self.source.place_of(offset)
            if there is not None:
                return there
        return None

    def hit_at_or_before(self, find: Find, place: int) -> int | None:
        """The place of the hit at a row, or of the last one before it."""
        if self.source is not None and find.number(self.source.offset_of(place)) is not None:
            return place
        return self.hit(find, place, -1, False)

    def hit_number(self, find: Find, place: int) -> int | None:
        return find.number(self.source.offset_of(place)) if self.source is not None else None

    # What takes longer, on connections of its own

    def measure(self, target: float | None) -> tuple[Report, float | None] | None:
        """The report of the open file, and the share of its pairs that meets the target. In any thread."""
        source = self.source
        if not isinstance(source, IndexedPairs):
            return None
        index = open_index(source.index.path)
        if index is None:
            return None
        with closing(index):
            met = None if target is None else share(index, source.file, target)
            key = index.path, index.path.stat().st_mtime_ns, source.file
            if self._measured is None or self._measured[0] != key:
                self._measured = key, report(index, source.file)
            return self._measured[1], met

    def descent(self, path: Path) -> list[Node]:
        """The lineage of a file. In any thread.

        Raises:
            UserError: it is gone.
        """
        with closing(open_store(self.workspace.database)) as db:
            return lineage(path, lambda each: files.sha256(db, self.workspace, self.workspace.relative(each)))

    def build(self, building: Building) -> bool:
        """Index a file; whether it was not stopped. In any thread.

        Raises:
            UserError: it cannot be read.
        """
        try:
            made: Index = build(
                [building.path], self.folder, progress=building.progress, wants_stop=building.stop.is_set
            )
        except Interrupted:
            return False
        made.close()
        return True
