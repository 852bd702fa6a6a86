"""Conflicts settled: the same two responses to the same prompt, preferred one way here and the other way there."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from core.data.comparisons import comparison_key
from core.data.jsonl import BadRow, Row, read_lines, read_rows, row_in
from core.data.lines import Line
from core.data.manifest import writing
from core.data.messages import Text, text_key
from core.data.outputs import refuse_overwriting
from core.data.pairs import Pair, pair_of
from core.errors import UserError
from core.text import one_line, printable

By = Literal["majority", "newest", "drop", "hand"]
# Of a conflict: the response whose text comes first in the order of texts is preferred, or the other one, or its rows
# go altogether.
Decision = Literal["first", "second", "drop"]

# Ways of preference of a row, as SQL knows them.
_FIRST, _SECOND = 0, 1


@dataclass(frozen=True, slots=True)
class Conflict:
    """Rows that disagree. `first` and `second` are the responses in the order of their texts, whoever stands first in
    the file; `for_first` and `for_second` are how many rows prefer which."""

    key: str
    line: int  # the first of its rows
    prompt: Text
    first: Text
    second: Text
    for_first: int
    for_second: int
    number: int  # of `total` conflicts in the file
    total: int


# Told how many rows of how many are done, and at what.
Progress = Callable[[int, int | None, str], None]
# Asked about a conflict by hand; None leaves its rows as they are.
Ask = Callable[[Conflict], Decision | None]


@dataclass(slots=True)
class Resolved:
    """What `resolve` did. `conflicts` were in the file, `left` are in what was written."""

    rows: int
    written: int
    bad_rows: int
    conflicts: int
    conflict_rows: int
    dropped: int  # rows of conflicts
    tied: int  # conflicts without a majority
    left: int
    collapsed: int
    settled: dict[str, int] = field(default_factory=dict)  # conflicts by what became of them


class _Rows:
    """All pairs of a file by their comparison, on disk."""

    def __init__(self, path: Path, time_field: str | None, progress: Progress | None) -> None:
        self.path, self.time_field, self._progress = path, time_field, progress
        self.rows = self.bad = 0
        # An empty name is a file that only this connection knows and that goes with it; what is read fits in 16 MiB.
        self.db = sqlite3.connect("")
        self.db.execute("PRAGMA cache_size = -16384")
        self.db.execute("CREATE TABLE pairs (key BLOB, line INTEGER, way INTEGER, time REAL)")
        self.db.executemany("INSERT INTO pairs VALUES (?, ?, ?, ?)", self._read())
        self.db.execute("CREATE INDEX by_key ON pairs(key)")
        self.db.execute(
            "CREATE TABLE conflicts AS SELECT key, min(line) AS line, sum(way = 0) AS first, sum(way = 1) AS second,"
            " NULL AS decision FROM pairs GROUP BY key HAVING min(way) != max(way)"
        )
        self.db.execute("CREATE UNIQUE INDEX conflicts_by_key ON conflicts(key)")

    def _read(self) -> Iterator[tuple[bytes, int, int, float | None]]:
        for row in read_rows(self.path):
            self.rows += 1
            self.tell(self.rows, None, "rows read")
            pair = row if isinstance(row, BadRow) else pair_of(row)
            if isinstance(row, BadRow) or isinstance(pair, BadRow):
                self.bad += 1
                continue
            key, way = _identity(pair)
            time = None if self.time_field is None else _time(row, self.time_field, self.path)
            yield key, pair.line, way, time

    def tell(self, done: int, of: int | None, what: str) -> None:
        if self._progress is not None and done % 1000 == 0:
            self._progress(done, of, what)

    def count(self) -> tuple[int, int]:
        """Conflicts, and the rows in them."""
        found = self.db.execute("SELECT count(*), coalesce(sum(first + second), 0) FROM conflicts").fetchone()
        return int(found[0]), int(found[1])

    def decisions(self) -> dict[str, Decision]:
        """What was decided of which conflict."""
        decided = "SELECT key, decision FROM conflicts WHERE decision IS NOT NULL ORDER BY line"
        return {key.hex(): decision for key, decision in self.db.execute(decided)}

    def conflicts(self) -> Iterator[Conflict]:
        """All conflicts, in the order of their first rows, which are read again."""
        wanted = self.db.execute("SELECT line, key, first, second FROM conflicts ORDER BY line")
        following, number, total = wanted.fetchone(), 0, self.count()[0]
        for row in read_rows(self.path):
            if following is None:
                return
            if row.line != following[0]:
                continue
            pair = pair_of(row) if isinstance(row, Row) else row
            if isinstance(pair, BadRow) or _identity(pair)[0] != following[1]:
                raise UserError(f"{printable(str(self.path))} changed while it was read: try again")
            first, second = _in_order(pair)
            number += 1
            yield Conflict(
                following[1].hex(), row.line, pair.prompt, first, second, following[2], following[3], number, total
            )
            following = wanted.fetchone()


@contextmanager
def _rows_of(path: Path, time_field: str | None = None, progress: Progress | None = None) -> Iterator[_Rows]:
    rows = _Rows(path, time_field, progress)
    with closing(rows.db):
        yield rows


def _identity(pair: Pair) -> tuple[bytes, int]:
    """The comparison that a pair is, and which of its responses it prefers."""
    key = bytes.fromhex(comparison_key(pair.prompt, pair.chosen, pair.rejected))
    return key, _FIRST if text_key(pair.chosen) <= text_key(pair.rejected) else _SECOND


def _in_order(pair: Pair) -> tuple[Text, Text]:
    if text_key(pair.chosen) <= text_key(pair.rejected):
        return pair.chosen, pair.rejected
    return pair.rejected, pair.chosen


def _time(row: Row, name: str, path: Path) -> float:
    """Seconds of a number, or of a date and time as ISO 8601 writes it; without a zone it is UTC."""
    value, found = row.fields.get(name), math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value) if abs(value) < 1e300 else math.nan
    elif isinstance(value, str):
        try:
            when = datetime.fromisoformat(value.strip())
            found = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    if not math.isfinite(found):
        shown = "is missing" if value is None else f"is '{one_line(str(value), 24)}'"
        raise UserError(
            f"{printable(path.name)}:{row.line}: {one_line(name, 40)} {shown}: a time is wanted, such as"
            " 2025-01-31T12:00:00Z or seconds"
        )
    return found


def find_conflicts(path: Path) -> Iterator[Conflict]:
    """The conflicts of a file, in the order of their first rows, in memory that does not grow with the file.

    Raises:
        UserError: the file cannot be read.
    """
    with _rows_of(path) as rows:
        yield from rows.conflicts()


def count_conflicts(path: Path) -> int:
    """How many pairs of responses are preferred both ways."""
    with _rows_of(path) as rows:
        return rows.count()[0]


def resolve(
    path: Path,
    out: Path,
    by: By,
    *,
    ask: Ask | None = None,
    decided: Path | None = None,
    time_field: str | None = None,
    collapse: bool = False,
    command: str = "data resolve",
    progress: Progress | None = None,
) -> Resolved:
    """Write the pairs of a file without their conflicts: each row byte for byte as it was, in its order.

    Rows that are no pairs are left out and counted. The file is read twice (three times by hand); memory does not grow
    with it.

    Args:
        by: which rows of a conflict stay. "majority": those of the way that more rows have; with as many on both sides
            all go. "newest": those that agree with the newest row. "drop": none. "hand": as `ask` says.
        ask: of each conflict in the order of the file.
        decided: the file in which the answers of `ask` are kept, for the manifest.
        time_field: the field that says how new a row is; without it the later line is the newer.
        collapse: of rows that say the same (the same two responses to the same prompt, preferred the same way) keep
            the first; by "newest" the newest.
        progress: told how far it is.

    Raises:
        UserError: the file cannot be read, a time is missing, nothing would be left, or `out` cannot be written.
    """
    refuse_overwriting([out], [path] if decided is None else [path, decided])
    if time_field is not None and by != "newest":
        raise UserError(f"--time-field says what is newest: it goes with --by newest, not {by}")
    with _rows_of(path, time_field, progress) as rows:
        conflicts, conflict_rows = rows.count()
        done = Resolved(rows.rows, 0, rows.bad, conflicts, conflict_rows, 0, 0, 0, 0)
        _decide(rows, by, ask, done)
        parameters: dict[str, Any] = {"by": by, "collapse": collapse}
        if time_field is not None:
            parameters["time_field"] = time_field
        parents = [path]
        if decided is not None and decided.exists():
            parents.append(decided)
        elif by == "hand":
            parameters["decisions"] = rows.decisions()
        with writing(out, command=command, parameters=parameters, parents=parents) as writer:
            for line, keep in _kept(rows, by, collapse, done):
                if keep:
                    writer.line(line.raw)
            done.written = writer.rows
            if not done.written:
                mend = "settle its conflicts another way" if done.conflicts else "it holds no pairs"
                raise UserError(f"{printable(str(path))}: nothing would be left: {mend}")
            writer.counts.update(
                {
                    "rows read": done.rows,
                    "no pairs": done.bad_rows,
                    "conflicts": done.conflicts,
                    "rows dropped of conflicts": done.dropped,
                    "duplicates collapsed": done.collapsed,
                    "conflicts left": done.left,
                }
            )
    return done


_STAYS_FIRST = "CREATE TABLE stays AS SELECT min(line) AS line FROM pairs GROUP BY key, way"
_STAYS_NEWEST = (
    "CREATE TABLE stays AS SELECT line FROM (SELECT line, row_number() OVER"
    " (PARTITION BY key, way ORDER BY time DESC, line DESC) AS place FROM pairs) WHERE place = 1"
)
_NEWEST = "SELECT way FROM pairs WHERE key = ? ORDER BY time DESC, line DESC LIMIT 1"


def _decide(rows: _Rows, by: By, ask: Ask | None, done: Resolved) -> None:
    """Write into the table which way every conflict goes."""
    if by == "hand":
        if ask is None:
            raise UserError("by hand somebody must say which response is better")
        for conflict in rows.conflicts():
            decision = ask(conflict)
            rows.db.execute("UPDATE conflicts SET decision = ? WHERE key = ?", [decision, bytes.fromhex(conflict.key)])
    elif by == "majority":
        rows.db.execute(
            "UPDATE conflicts SET decision ="
            " CASE WHEN first > second THEN 'first' WHEN second > first THEN 'second' ELSE 'drop' END"
        )
        done.tied = int(rows.db.execute("SELECT count(*) FROM conflicts WHERE first = second").fetchone()[0])
    elif by == "newest":
        for (key,) in rows.db.execute("SELECT key FROM conflicts").fetchall():
            (way,) = rows.db.execute(_NEWEST, [key]).fetchone()
            rows.db.execute(
                "UPDATE conflicts SET decision = ? WHERE key = ?", ["first" if way == _FIRST else "second", key]
            )
    else:
        rows.db.execute("UPDATE conflicts SET decision = 'drop'")
    done.settled = {
        str(decision or "left"): count
        for decision, count in rows.db.execute("SELECT decision, count(*) FROM conflicts GROUP BY decision")
    }
    done.left = done.settled.get("left", 0)


def _kept(rows: _Rows, by: By, collapse: bool, done: Resolved) -> Iterator[tuple[Line, bool]]:
    """Every line that is a pair, and whether it stays."""
    if collapse:
        rows.db.execute(_STAYS_NEWEST if by == "newest" else _STAYS_FIRST)
        rows.db.execute("CREATE UNIQUE INDEX stays_by_line ON stays(line)")
    for count, line in enumerate(read_lines(rows.path), 1):
        rows.tell(count, rows.rows, "rows written")
        row = row_in(line)
        pair = row if isinstance(row, BadRow) else pair_of(row)
        if isinstance(pair, BadRow):
            continue
        key, way = _identity(pair)
        found = rows.db.execute("SELECT decision FROM conflicts WHERE key = ?", [key]).fetchone()
        if found is not None and found[0] not in (None, "first" if way == _FIRST else "second"):
            done.dropped += 1
            yield line, False
        elif collapse and rows.db.execute("SELECT 1 FROM stays WHERE line = ?", [line.number]).fetchone() is None:
            done.collapsed += 1
            yield line, False
        else:
            yield line, True


# Decisions in a file


def decision_row(conflict: Conflict, decision: Decision | None) -> dict[str, Any]:
    """A line of a file of decisions: the texts are for whoever decides, the key is what is read again."""
    return {
        "key": conflict.key,
        "line": conflict.line,
        "prompt": conflict.prompt,
        "first": conflict.first,
        "second": conflict.second,
        "rows_for_first": conflict.for_first,
        "rows_for_second": conflict.for_second,
        "decision": decision,
    }


def read_decisions(path: Path) -> dict[str, Decision | None]:
    """What was decided, by the key of the conflict; the last line counts where one stands twice.

    Raises:
        UserError: it cannot be read, or a line is no decision.
    """
    found: dict[str, Decision | None] = {}
    for row in read_rows(path):
        where = f"{printable(str(path))}:{row.line}"
        if isinstance(row, BadRow):
            raise UserError(f"{where}: {row.reason}")
        key, decision = row.fields.get("key"), row.fields.get("decision")
        if not isinstance(key, str) or len(key) != 32:
            raise UserError(f"{where}: key is missing: export the decisions with 'dpotui data resolve FILE --export'")
        if decision not in (None, "", "first", "second", "drop"):
            raise UserError(
                f"{where}: decision must be first, second, drop or null, not '{one_line(str(decision), 24)}'"
            )
        found[key] = decision or None
    return found


def export_decisions(path: Path, out: Path, progress: Progress | None = None) -> int:
    """Write the conflicts of a file for somebody to decide elsewhere; returns how many there are."""
    refuse_overwriting([out], [path])
    with (
        _rows_of(path, None, progress) as rows,
        writing(out, command="data resolve --export", parameters={}, parents=[path]) as writer,
    ):
        for conflict in rows.conflicts():
            writer.row(decision_row(conflict, None))
        return writer.rows
