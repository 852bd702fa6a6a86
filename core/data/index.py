"""An index of files of pairs: where each pair stands, how long it is and what was found in it, in SQLite on disk.

A file of a million pairs is browsed, filtered and measured through it without being held in memory.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from core.data.findings import FINDINGS
from core.data.gap import Scale
from core.data.index_file import (
    FORMAT,
    SUFFIX,
    IndexedFile,
    changed_ns,
    connect,
    family,
    spool_path,
    unchanged,
    write_findings,
)
from core.data.jsonl import BadRow, row_of
from core.data.pairs import Pair, pair_of
from core.data.tokenize import Limits
from core.errors import UserError
from core.text import printable

__all__ = [
    "ALL",
    "SUFFIX",
    "Entry",
    "Filter",
    "Found",
    "Index",
    "IndexedFile",
    "Interrupted",
    "Progress",
    "Range",
    "build",
    "existing",
    "open_index",
    "spool_path",
]

Progress = Callable[[int, int, str], None]  # done, of how many, at what
Range = tuple[float | None, float | None]  # both ends belong to it


class Interrupted(Exception):
    """Building the index was stopped because somebody asked for it; nothing is left of it."""


class Entry(NamedTuple):
    """One pair of the index. Hashes are those of `core.data.messages.text_hash`, the responses' in the context of their
    prompt. Tokens are None where there was no tokenizer, scores and gap (on 0 to 1) where the row has none."""

    id: int
    file: int
    line: int
    offset: int
    length: int
    prompt: int
    chosen: int
    rejected: int
    prompt_chars: int
    chosen_chars: int
    rejected_chars: int
    prompt_tokens: int | None
    chosen_tokens: int | None
    rejected_tokens: int | None
    chosen_score: float | None
    rejected_score: float | None
    score_fields: int | None
    gap: float | None


class Found(NamedTuple):
    """What was found in a pair. `cluster` is the id of the first pair of those that belong together."""

    kind: str
    pair: int
    detail: str
    cluster: int | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which pairs: those for which all of it holds.

    Attributes:
        finding: a kind of finding, or "any".
        gap: on 0 to 1.
        length: of both responses together, in `unit`.
        unit: "characters" or "tokens".
        lines: of their file.
        file: the number of the file.
        prompt: the hash of a prompt.
        cluster: the cluster of the finding (needs `finding`).
    """

    finding: str | None = None
    gap: Range = (None, None)
    length: Range = (None, None)
    unit: str = "characters"
    lines: Range = (None, None)
    file: int | None = None
    prompt: int | None = None
    cluster: int | None = None


ALL = Filter()


class Index:
    """An index on disk. Reading it is safe from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._db = connect(path, "ro")
        self._handles: dict[int, int] = {}
        self._selected: Filter | None = None
        self._selected_count = 0
        self.meta: dict[str, Any] = {
            key: json.loads(value) for key, value in self._db.execute("SELECT key, value FROM meta")
        }
        self.files = tuple(IndexedFile(**{**told, "path": Path(told["path"])}) for told in self.meta["files"])
        self.pairs: int = self.meta["pairs"]
        self.score_fields: list[str] = self.meta["score_fields"]

    def close(self) -> None:
        with self._lock:
            for handle in self._handles.values():
                os.close(handle)
            self._handles.clear()
            self._db.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_current(self) -> bool:
        """Whether the files are still those that were read."""
        return all(unchanged(file) for file in self.files)

    # Pairs

    def count(self, where: Filter = ALL) -> int:
        """How many pairs there are of this kind."""
        if where == ALL:
            return self.pairs
        with self._lock:
            return self._select(where)

    def page(self, where: Filter, first: int, count: int) -> list[Entry]:
        """Pairs number `first` to `first + count - 1` of those that the filter lets through, in the order of the
        files. The first page of a filter costs a pass over the index, the others nothing."""
        first, count = max(0, first), max(0, count)
        with self._lock:
            if where == ALL:
                rows = self._db.execute(
                    "SELECT * FROM pairs WHERE id >= ? AND id < ? ORDER BY id", [first, first + count]
                )
            else:
                self._select(where)
                rows = self._db.execute(
                    "SELECT pairs.* FROM selected JOIN pairs USING (id) WHERE place > ? AND place <= ? ORDER BY place",
                    [first, first + count],
                )
            return [Entry(*row) for row in rows]

    def place(self, where: Filter, pair: int) -> int:
        """How many pairs of the filter stand before this one."""
        if where == ALL:
            return min(max(0, pair), self.pairs)
        with self._lock:
            self._select(where)
            row = self._db.execute("SELECT count(*) FROM selected WHERE id < ?", [pair]).fetchone()
            return int(row[0])

    def entry(self, pair: int) -> Entry:
        """The pair with this id."""
        with self._lock:
            row = self._db.execute("SELECT * FROM pairs WHERE id = ?", [pair]).fetchone()
        if row is None:
            raise KeyError(pair)
        return Entry(*row)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The result of a query: for those who measure."""
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The result of a query that is too large to be held, over a connection of its own."""
        db = connect(self.path, "ro")
        try:
            yield from db.execute(sql, values)
        finally:
            db.close()

    def read(self, entry: Entry) -> Pair:
        """The pair itself, read from its file.

        Raises:
            UserError: the file changed since, or is gone.
        """
        file = self.files[entry.file]
        with self._lock:
            line = self._bytes(entry.file, entry.offset, entry.length)
        row = row_of(entry.line, line, entry.offset)
        found = row if isinstance(row, BadRow) else pair_of(row)
        if isinstance(found, BadRow):
            raise UserError(
                f"{printable(str(file.path))}:{entry.line} changed since it was indexed: check the file again"
            )
        return found

    def _bytes(self, file: int, offset: int, length: int) -> bytes:
        handle = self._handles.get(file)
        if handle is None:
            path = spool_path(self.path, file) if self.files[file].spooled else self.files[file].path
            try:
                handle = self._handles[file] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise UserError(f"{printable(str(path))} cannot be read: {error.strerror or error}") from error
        return os.pread(handle, length, offset)

    # Findings

    def findings(self, entry: Entry | int) -> list[Found]:
        """What was found in a pair, in the order of FINDINGS."""
        pair = entry if isinstance(entry, int) else entry.id
        with self._lock:
            rows = self._db.execute(
                "SELECT kind, pair, detail, cluster FROM findings WHERE pair = ?", [pair]
            ).fetchall()
        order = list(FINDINGS)
        return sorted((Found(*row) for row in rows), key=lambda found: order.index(found.kind))

    def found(self, kind: str, first: int = 0, count: int = 1 << 60) -> list[Found]:
        """The findings of a kind, in the order of their pairs."""
        with self._lock:
            rows = self._db.execute(
                "SELECT kind, pair, detail, cluster FROM findings WHERE kind = ? ORDER BY pair LIMIT ? OFFSET ?",
                [kind, count, first],
            )
            return [Found(*row) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many pairs have a finding, by kind, in the order of FINDINGS; kinds that were not looked for are left
        out."""
        with self._lock:
            counted = dict(self._db.execute("SELECT kind, count(*) FROM findings GROUP BY kind").fetchall())
        looked: list[str] = self.meta["looked_for"]
        return {kind: counted.get(kind, 0) for kind in FINDINGS if kind in looked or kind in counted}

    def add_findings(self, kind: str, rows: Iterable[tuple[int, str, int | None]]) -> None:
        """Put findings of a kind (pair, detail, cluster) in the place of those that stand there."""
        if kind not in FINDINGS:
            raise ValueError(f"{kind} is no kind of finding")
        with self._lock:
            self._selected = None
            db = connect(self.path, "rw")
            try:
                with db:
                    write_findings(db, ((kind, *row) for row in rows), replace=kind)
                    looked = sorted({*self.meta["looked_for"], kind})
                    db.execute("INSERT OR REPLACE INTO meta VALUES ('looked_for', ?)", [json.dumps(looked)])
                self.meta["looked_for"] = looked
            finally:
                db.close()

    # Rows that are no pairs

    def bad_rows(self, first: int = 0, count: int = 1 << 60) -> list[tuple[Path, BadRow]]:
        """Rows that are no pairs, in their order, each with its file."""
        return [(self.files[number].path, row) for number, row in self.numbered_bad_rows(None, count, first)]

    def numbered_bad_rows(self, file: int | None, count: int, first: int = 0) -> list[tuple[int, BadRow]]:
        """Rows of one file or of all that are no pairs, each with the number of its file."""
        with self._lock:
            rows = self._db.execute(
                "SELECT file, line, kind, field, reason, offset, length FROM bad_rows WHERE ?1 IS NULL OR file = ?1"
                " ORDER BY id LIMIT ?2 OFFSET ?3",
                [file, count, first],
            )
            return [(number, BadRow(*rest)) for number, *rest in rows]

    def bad_counts(self, file: int | None = None) -> dict[str, int]:
        """How many rows are no pairs, by kind."""
        with self._lock:
            counted = self._db.execute(
                "SELECT kind, count(*) FROM bad_rows WHERE ?1 IS NULL OR file = ?1 GROUP BY kind ORDER BY kind", [file]
            )
            return dict(counted.fetchall())

    # Selections

    def _select(self, where: Filter) -> int:
        """Put the ids of the filter's pairs into a table, numbered from 1; returns how many there are."""
        if where == self._selected:
            return self._selected_count
        source, conditions = "pairs", list[str]()
        values: list[Any] = []
        if where.finding is not None:
            if where.finding == "any":
                conditions.append("id IN (SELECT pair FROM findings)")
            else:
                source = "findings JOIN pairs ON id = pair"
                conditions.append("kind = ?")
                values.append(where.finding)
            if where.cluster is not None:
                conditions.append("cluster = ?")
                values.append(where.cluster)
        unit = "tokens" if where.unit == "tokens" else "chars"
        length = f"chosen_{unit} + rejected_{unit}"
        for column, (low, high) in (("gap", where.gap), (length, where.length), ("line", where.lines)):
            for bound, compare in ((low, ">="), (high, "<=")):
                if bound is not None:
                    conditions.append(f"{column} {compare} ?")
                    values.append(bound)
        for column, value in (("file", where.file), ("prompt", where.prompt)):
            if value is not None:
                conditions.append(f"{column} = ?")
                values.append(value)
        self._selected = None
        self._db.execute("DROP TABLE IF EXISTS temp.selected")
        self._db.execute("CREATE TEMP TABLE selected (place INTEGER PRIMARY KEY, id INTEGER NOT NULL)")
        # Every word of the statement is from above; the values are bound.
        statement = f"SELECT id FROM {source} WHERE {' AND '.join(conditions) or '1'} ORDER BY id"  # noqa: S608
        self._db.execute(f"INSERT INTO selected (id) {statement}", values)
        self._selected_count = int(self._db.execute("SELECT count(*) FROM selected").fetchone()[0])
        self._db.commit()
        self._selected = where
        return self._selected_count


# Finding and making


def build(
    paths: Sequence[Path],
    folder: Path,
    *,
    tokenizer: Path | None = None,
    limits: Limits | None = None,
    scale: Scale | None = None,
    chat: bool = False,
    rows_only: bool = False,
    progress: Progress | None = None,
    wants_stop: Callable[[], bool] | None = None,
) -> Index:
    """The index of these files as they are now: the one that stands in the folder, or a new one.

    Args:
        paths: files of pairs that belong to one data set.
        folder: where indexes lie, such as `cache/data` of the workspace.
        tokenizer: a model's folder with tokenizer.json; without it lengths in tokens are not known.
        limits: what training cuts prompts and responses to.
        scale: of the scores, when they do not say it themselves.
        chat: plain text goes into the tokenizer's chat template, as `data.apply_chat_template` says.
        rows_only: look for nothing, only note what stands where.
        progress: told how far it is: bytes or pairs done, of how many, at what.
        wants_stop: asked often whether to end early.

    Raises:
        UserError: a file cannot be read at all, changed while it was read, or the folder cannot be written to.
        Interrupted: `wants_stop` said so.
    """
    # What builds an index is much, and the terminal only reads them.
    from core.data.index_build import build as make

    return make(
        paths,
        folder,
        tokenizer=tokenizer,
        limits=limits,
        scale=scale,
        chat=chat,
        rows_only=rows_only,
        progress=progress,
        wants_stop=wants_stop,
    )


def existing(paths: Sequence[Path], folder: Path) -> Index | None:
    """The newest index of these files in the folder, if the files are still what they were."""
    for path in sorted(folder.glob(f"{family(paths)}-*{SUFFIX}"), key=changed_ns, reverse=True):
        found = open_index(path)
        if found is None:
            continue
        if found.is_current():
            return found
        found.close()
    return None


def open_index(path: Path) -> Index | None:
    """The index in a file, unless it is damaged or was made by another version."""
    try:
        found = Index(path)
    except (sqlite3.Error, OSError, KeyError, TypeError, ValueError):
        return None
    if found.meta.get("format") != FORMAT:
        found.close()
        return None
    return found
