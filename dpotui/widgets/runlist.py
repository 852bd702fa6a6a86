"""The list of runs: thousands of ids in order, under headings that fold, with rows that are read as they are seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from textual.geometry import Size

from core.text import one_line
from dpotui.roles import Span
from dpotui.runs_columns import RunColumn
from dpotui.widgets.pages import BLOCK, Pages
from dpotui.widgets.table import Row


@dataclass(frozen=True, slots=True)
class Heading:
    group: str
    words: str
    count: int
    folded: bool


Entry = str | Heading


def entries(
    ids: Sequence[str], groups: Sequence[str], folded: frozenset[str], words: Callable[[str], str]
) -> list[Entry]:
    """Ids in order; where they are grouped below the heading of each group, without those of a folded one."""
    if not groups:
        return list(ids)
    found: list[Entry] = []
    start = 0
    for place in range(1, len(ids) + 1):
        if place == len(ids) or groups[place] != groups[start]:
            group = groups[start]
            found.append(Heading(group, words(group), place - start, group in folded))
            if group not in folded:
                found += ids[start:place]
            start = place
    return found


class RunList(Pages):
    def __init__(
        self, columns: Sequence[RunColumn], empty: str, bring: Callable[[Sequence[str]], Sequence[Row] | None]
    ) -> None:
        """
        Args:
            bring: the rows of these runs, if they can be had within a moment.
        """
        super().__init__(columns, empty, self._rows_of)
        self._bring = bring
        self._entries: list[Entry] = []
        self._run_columns = tuple(columns)

    @property
    def entry(self) -> Entry | None:
        """What the cursor stands on."""
        return self._entries[self._cursor] if self._cursor < len(self._entries) else None

    @property
    def key(self) -> str | None:
        """The run under the cursor; None on a heading."""
        return self.entry if isinstance(self.entry, str) else None

    def ids_of(self, block: int) -> list[str]:
        return [each for each in self._entries[block * BLOCK : (block + 1) * BLOCK] if isinstance(each, str)]

    def shown_ids(self) -> list[str]:
        """Runs of the list, as far as no heading folds them away."""
        return [each for each in self._entries if isinstance(each, str)]

    def renew(self, found: Sequence[Entry], columns: Sequence[RunColumn], empty: str, *, keep: bool) -> None:
        """Another list.

        Args:
            keep: the cursor stays on its run, or its heading, and the window with it; else it begins at its first run.
        """
        before, place = self.entry, self._cursor - self.top
        self._columns = self._run_columns = tuple(columns)
        self._entries = list(found)
        self._blocks.clear()
        self._asked.clear()
        self._empty, self._count = empty, len(found)
        first = 1 if found and isinstance(found[0], Heading) and not found[0].folded else 0
        self._cursor = min(self._place_of(before), max(0, len(found) - 1)) if keep else first
        self.rows = len(found)
        self.top = max(0, min(self._cursor - place, self.last_top)) if keep else 0
        self.remake()
        self.show(len(found))
        if self.entry != before:
            self.post_message(self.Moved(self, self.key))

    def _place_of(self, entry: Entry | None) -> int:
        for place, each in enumerate(self._entries):
            if each == entry:
                return place
            if isinstance(entry, Heading) and isinstance(each, Heading) and each.group == entry.group:
                return place
        return self._cursor

    def select_run(self, run: str) -> bool:
        """Set the cursor on a run; whether it is in the list."""
        if run not in self._entries:
            return False
        self.go(self._entries.index(run))
        return True

    def freshen(self) -> None:
        """Read what is in view anew; what is not is read when it comes into view."""
        first, last = self.top // BLOCK, (self.top + self.page) // BLOCK
        for block in [block for block in self._blocks if not first <= block <= last]:
            del self._blocks[block]
        for block in range(first, last + 1):
            if block in self._blocks:
                rows = self._rows_of(block)
                if rows is None:
                    self.post_message(self.Wanted(self, block))
                else:
                    self._blocks[block] = tuple(rows)
        self.show()

    def put_runs(self, block: int, rows: Iterable[Row]) -> None:
        self.put(block, self._with_headings(block, rows))

    def _rows_of(self, block: int) -> Sequence[Row] | None:
        rows = self._bring(self.ids_of(block))
        return None if rows is None else self._with_headings(block, rows)

    def _with_headings(self, block: int, rows: Iterable[Row]) -> list[Row]:
        by_id = {row.key: row for row in rows}
        blank = Row(None, (("", ""),))
        here = self._entries[block * BLOCK : (block + 1) * BLOCK]
        return [by_id.get(each, blank) if isinstance(each, str) else blank for each in here]

    def row(self, y: int, width: int) -> Sequence[Span]:
        entry = self._entries[y] if y < len(self._entries) else None
        if isinstance(entry, Heading):
            runs = "1 run" if entry.count == 1 else f"{entry.count:,} runs"
            mark = "▸" if entry.folded else "▾"
            return [(f" {mark} {one_line(entry.words, max(8, width - 20))}", "title"), (f"  {runs}", "dim")]
        if isinstance(entry, str):
            row = self._row(y)
            # A run that was there a moment ago and is not any more has no cells.
            return self._cells(row.cells) if row is not None and row.key else [(" …", "faint")]
        return super().row(y, width)

    def prepare(self, size: Size) -> None:
        shown = [
            column if column.least <= size.width and (not column.most or size.width < column.most) else None
            for column in self._run_columns
        ]
        fixed = sum(column.width + 1 for column in shown if column is not None)
        flexible = [column for column in shown if column is not None and column.width == 0]
        share = max(0, size.width - 1 - fixed) // max(1, len(flexible))
        self._widths = [0 if column is None else column.width or share for column in shown]

    def _go(self, index: int, direction: int) -> None:
        before = self.entry
        super()._go(index, direction)
        # From a heading to another one the key stays None.
        if self.entry != before and self.key is None:
            self.post_message(self.Moved(self, None))

    def action_choose(self) -> None:
        if self.entry is not None:
            self.post_message(self.Chosen(self, self.key or ""))
