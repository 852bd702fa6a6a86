"""Pairs of a file through its index: a page, a pair in full with what was found in it, and where a pair stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from core.data.findings import FINDINGS
from core.data.index import SUFFIX, Entry, Filter, Found, Index, IndexedFile, open_index, spool_path
from core.data.jsonl import BadRow
from core.data.pairs import Pair
from core.errors import UserError
from core.text import printable
from dpotui import say
from dpotui.browse.kinds import Kind
from dpotui.browse.narrowing import ANY, EVERYTHING, Narrowing
from dpotui.browse.raw import RawFile
from dpotui.browse.rows import LONG_ROW, bad_row, pair_detail
from dpotui.browse.shown import Detail, Listed, first_words, said
from dpotui.roles import Span

# Findings whose clusters are pairs that belong together.
_TOGETHER = ("conflict", "duplicate", "near_duplicate", "transitivity", "leak")
_PARTNERS = 40

# What people said of a pair, in words.
Voted = Callable[[Pair], Sequence[Span]]


def index_of(path: Path, folder: Path) -> tuple[Index, int] | None:
    """The newest index that holds this file as it is now, and the number of the file in it."""
    wanted = path.absolute()
    found = sorted(folder.glob(f"*{SUFFIX}"), key=lambda each: each.stat().st_mtime_ns, reverse=True)
    for each in found:
        if ".part" in each.name:
            continue
        index = open_index(each)
        if index is None:
            continue
        number = next((number for number, file in enumerate(index.files) if file.path == wanted), None)
        if number is not None and index.is_current():
            return index, number
        index.close()
    return None


class IndexedPairs:
    """One file of an index. Used by one thread."""

    indexed = True
    complete = True
    kind: Kind = "pairs"

    def __init__(self, index: Index, number: int, voted: Voted | None = None) -> None:
        self.index, self.file = index, number
        self.told: IndexedFile = index.files[number]
        self.path = self.told.path
        self._original = RawFile(self.path)
        # Where offsets lead: the file, or what was kept of it.
        self.raw = RawFile(spool_path(index.path, number)) if self.told.spooled else self._original
        self.scanned = self._original.size
        self._voted = voted
        self._first = sum(file.pairs for file in index.files[:number])
        self._where = self._filter(EVERYTHING)
        self._narrowing = EVERYTHING

    def close(self) -> None:
        self.index.close()
        self._original.close()
        self.raw.close()

    @property
    def has_tokens(self) -> bool:
        """Whether lengths are known in tokens."""
        return bool(self.told.pairs) and self.index.entry(self._first).prompt_tokens is not None

    def check(self) -> None:
        """
        Raises:
            FileChanged: the file is not what was indexed any more.
        """
        self._original.check()

    @property
    def _whole(self) -> bool:
        """Whether the list is all pairs of the file: then places are ids and nothing is looked up."""
        return self._narrowing == EVERYTHING

    def _filter(self, narrowing: Narrowing) -> Filter:
        alone = len(self.index.files) == 1
        return Filter(
            finding=narrowing.finding,
            gap=narrowing.gap,
            length=narrowing.length,
            unit=narrowing.unit,
            file=None if alone else self.file,
        )

    # The list

    def narrow(self, narrowing: Narrowing) -> int:
        """Narrow the list; how many rows it has then."""
        self._original.check()
        self._narrowing, self._where = narrowing, self._filter(narrowing)
        if narrowing.bad is not None:
            return sum(count for kind, count in self.bad_counts().items() if narrowing.bad in (kind, ANY))
        return self.told.pairs if self._whole else self.index.count(self._where)

    def page(self, first: int, count: int) -> list[Listed]:
        self._original.check()
        if self._narrowing.bad is not None:
            return [
                Listed(first + i, row.line, row.reason, (), None, (row.kind,), True)
                for i, row in enumerate(self._bad(first, count))
            ]
        return [self._listed(first + i, entry) for i, entry in enumerate(self._entries(first, count))]

    def _entries(self, first: int, count: int) -> list[Entry]:
        if self._whole:
            count = min(count, self.told.pairs - first)
            return self.index.page(Filter(), self._first + first, count) if count > 0 else []
        return self.index.page(self._where, first, count)

    def _listed(self, place: int, entry: Entry) -> Listed:
        marks = tuple(dict.fromkeys(found.kind for found in self.index.findings(entry)))
        if entry.length > LONG_ROW:
            words = f"(a row of {entry.length / 1e6:.1f} MB: enter reads it)"
        else:
            words = first_words(said(self.index.read(entry).prompt))
        return Listed(place, entry.line, words, (entry.chosen_chars, entry.rejected_chars), entry.gap, marks)

    def _bad(self, first: int, count: int) -> list[BadRow]:
        kind = self._narrowing.bad
        of_kind, values = ("", []) if kind == ANY else (" AND kind = ?", [kind])
        sql = f"SELECT line, kind, field, reason, offset, length FROM bad_rows WHERE file = ?{of_kind}"  # noqa: S608
        rows = self.index.rows(f"{sql} ORDER BY id LIMIT ? OFFSET ?", [self.file, *values, count, first])
        return [BadRow(*row) for row in rows]

    def bad_counts(self) -> dict[str, int]:
        sql = "SELECT kind, count(*) FROM bad_rows WHERE file = ? GROUP BY kind ORDER BY kind"
        return {str(kind): int(count) for kind, count in self.index.rows(sql, [self.file])}

    def finding_counts(self) -> dict[str, int]:
        """How many pairs of this file have a finding, by kind; of every kind that was looked for."""
        counts = self.index.counts()
        if len(self.index.files) == 1:
            return counts
        sql = "SELECT kind, count(*) FROM findings JOIN pairs ON id = pair WHERE file = ? GROUP BY kind"
        mine = dict(self.index.rows(sql, [self.file]))
        return {kind: int(mine.get(kind, 0)) for kind in counts}

    # Places

    def place_of(self, offset: int) -> int | None:
        """The place of the row at this offset, if it is in the list."""
        if self._narrowing.bad is not None:
            return None
        low, high = self._first, self._first + self.told.pairs
        while low < high:
            middle = (low + high) // 2
            if self.index.entry(middle).offset < offset:
                low = middle + 1
            else:
                high = middle
        if low == self._first + self.told.pairs:
            return None
        # A byte-order mark stands before the first row.
        there = self.index.entry(low).offset
        if there != offset and (offset or there > 3):
            return None
        return self.place_of_pair(low)

    def place_of_pair(self, pair: int) -> int | None:
        """The place of a pair of the index, if it is in the list."""
        if not self._first <= pair < self._first + self.told.pairs or self._narrowing.bad is not None:
            return None
        if self._whole:
            return pair - self._first
        place = self.index.place(self._where, pair)
        there = self.index.page(self._where, place, 1)
        return place if there and there[0].id == pair else None

    def place_of_line(self, line: int) -> int:
        """The place of this line of the file, or of the first one after it that is in the list."""
        low, high = self._first, self._first + self.told.pairs
        while low < high:
            middle = (low + high) // 2
            if self.index.entry(middle).line < line:
                low = middle + 1
            else:
                high = middle
        return low - self._first if self._whole else self.index.place(self._where, low)

    def offset_of(self, place: int) -> int:
        if self._narrowing.bad is not None:
            rows = self._bad(place, 1)
            return rows[0].offset if rows else 0
        entries = self._entries(place, 1)
        return entries[0].offset if entries else 0

    # One row

    def detail(self, place: int) -> Detail:
        self._original.check()
        if self._narrowing.bad is not None:
            rows = self._bad(place, 1)
            if not rows:
                raise UserError("there is no such row any more")
            return bad_row(rows[0], self.raw)
        entries = self._entries(place, 1)
        if not entries:
            raise UserError("there is no such pair any more")
        entry = entries[0]
        pair = self.index.read(entry)
        found = self.index.findings(entry)
        partners = self._partners(entry, found)
        head: list[tuple[Span, ...]] = [*self._measured(entry), *(self._found(each) for each in found)]
        if partners:
            head.append(self._partner_words(partners))
        if self._voted is not None:
            words = tuple(self._voted(pair))
            head += [words] if words else []
        title = f"pair {entry.id - self._first + 1:,} of {self.told.pairs:,}"
        return replace(pair_detail(pair, title, tuple(head)), partners=partners, pair=entry.id)

    def _measured(self, entry: Entry) -> list[tuple[Span, ...]]:
        spans: list[Span] = []
        if entry.gap is not None:
            spans += [("gap ", "dim"), (say.number(entry.gap), "")]
            fields = entry.score_fields
            if fields is not None and fields < len(self.index.score_fields):
                spans.append((f" by {printable(self.index.score_fields[fields])}", "dim"))
        if entry.chosen_tokens is not None and entry.rejected_tokens is not None:
            spans.append(("   " if spans else "", ""))
            spans += [
                ("tokens ", "dim"),
                (f"{entry.prompt_tokens} + {entry.chosen_tokens}/{entry.rejected_tokens}", ""),
            ]
        return [tuple(spans)] if spans else []

    @staticmethod
    def _found(found: Found) -> tuple[Span, ...]:
        finding = FINDINGS.get(found.kind)
        title = finding.title if finding else found.kind
        detail = printable(found.detail).strip() or (finding.sentence if finding else "")
        return ((f"{title}  ", "warn"), (detail, ""))

    def _partners(self, entry: Entry, found: Sequence[Found]) -> tuple[int, ...]:
        """Other pairs of the index that this one is to be seen with."""
        pairs: dict[int, None] = {}
        for each in found:
            if each.kind not in _TOGETHER or each.cluster is None:
                continue
            pairs[each.cluster] = None
            sql = "SELECT pair FROM findings WHERE kind = ? AND cluster = ? ORDER BY pair LIMIT ?"
            for (pair,) in self.index.rows(sql, [each.kind, each.cluster, _PARTNERS]):
                pairs[int(pair)] = None
        # The first of several has no finding of its own.
        sql = "SELECT pair FROM findings WHERE cluster = ? LIMIT ?"
        for (pair,) in self.index.rows(sql, [entry.id, _PARTNERS]):
            pairs[int(pair)] = None
        pairs.pop(entry.id, None)
        return tuple(sorted(pairs)[:_PARTNERS])

    def _partner_words(self, partners: Sequence[int]) -> tuple[Span, ...]:
        names = [self.where(pair) for pair in partners[:4]]
        more = f" and {len(partners) - 4} more" if len(partners) > 4 else ""
        return (("belongs to  ", "dim"), (f"{', '.join(names)}{more}", ""), ("   o", "key"), (" goes there", "dim"))

    def where(self, pair: int) -> str:
        """Where a pair of the index stands, in words."""
        entry = self.index.entry(pair)
        if entry.file == self.file:
            return f"line {entry.line:,}"
        return f"{printable(self.index.files[entry.file].path.name)}:{entry.line}"
