"""The list of runs on the screen: asked for in a thread, found by an expression, sorted, grouped, folded, marked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from textual import on, work
from textual.widgets import Input

from core.errors import UserError
from core.runs.expression import EVERYTHING, parse, written
from core.runs.query import GROUPS, NEWEST, Query
from dpotui import runs_columns
from dpotui.live import Snapshot
from dpotui.runs_desk import RunsDesk, Seen
from dpotui.screens.runs_order import OrdersRuns
from dpotui.widgets.filterbar import FilterBar
from dpotui.widgets.find import FindBar
from dpotui.widgets.pages import Pages
from dpotui.widgets.runlist import Entry, Heading, RunList, entries
from dpotui.widgets.runs_head import RunsHead
from dpotui.widgets.table import Row

NOTHING = "no runs yet\n\ng starts one; so does 2 Stage, on the stage it belongs to"
# What comes within this time is waited for: the list is then painted once, as it is.
_SOON, _FIRST = 0.015, 0.1


class ListsRuns(OrdersRuns):
    """A mode with a `RunList`, a `RunsHead` and a `FilterBar`."""

    def __init__(self) -> None:
        super().__init__()
        self._desk: RunsDesk | None = None
        self._query = Query()
        self._seen: Seen | None = None
        self._asking: Future[Seen] | None = None
        self._folded: frozenset[str] = frozenset()
        self._marked: dict[str, None] = {}

    @property
    def listed(self) -> RunList:
        return self.query_one(RunList)

    @property
    def desk(self) -> RunsDesk:
        if self._desk is None:
            self._desk = RunsDesk(self.bench.workspace, self._now)
        return self._desk

    def _now(self) -> float:
        snapshot = self.bench.snapshot
        assert snapshot is not None
        return snapshot.time

    def on_unmount(self) -> None:
        if self._desk is not None:
            self._desk.close()

    @property
    def looking(self) -> bool:
        """Whether something is still being read."""
        return self._seen is None

    def show_one(self) -> None:
        """Show what is known of the run under the cursor."""
        raise NotImplementedError

    def run_key(self) -> str | None:
        return self.listed.key

    def runs_in_hand(self) -> list[str]:
        key = self.listed.key
        return list(self._marked) or ([key] if key is not None else [])

    # What it holds

    def fill(self, snapshot: Snapshot) -> None:
        if self._seen is None:
            self._look(_FIRST)
        else:
            self._look(0.0)
        self.show_one()
        self.refresh_bindings()

    def _look(self, wait: float = _SOON) -> None:
        """Ask for the list as the query has it; what does not come within a moment comes when it does."""
        if self._asking is not None:
            self._asking.cancel()
        future = self._asking = self.desk.submit(self.desk.look, self._query)
        if not wait:
            self._look_later(future)
            return
        try:
            seen = future.result(wait)
        except TimeoutError:
            self._look_later(future)
        except UserError as error:
            self._refused(error)
        else:
            self._show(seen)

    @work(exclusive=True, group="look", exit_on_error=False)
    async def _look_later(self, future: Future[Seen]) -> None:
        try:
            seen = await asyncio.wrap_future(future)
        except UserError as error:
            if future is self._asking:
                self._refused(error)
        else:
            if future is self._asking:
                self._show(seen)

    def _refused(self, error: UserError) -> None:
        """The list stays as it is; so does what it is narrowed to."""
        self._query = self._seen.query if self._seen is not None else Query()
        bar = self.query_one(FilterBar)
        if bar.has_class("-open"):
            bar.tell(str(error), wrong=True)
        else:
            self.bench.say(str(error), "error")
            self._look(0.0)

    def _show(self, seen: Seen) -> None:
        if seen is self._seen:
            self.listed.freshen()
            self._told(seen)
            return
        before, self._seen = self._seen, seen
        # In another order or of another choice it begins at its first; a run that came or went leaves the cursor be.
        keep = before is not None and _order(before.query) == _order(seen.query)
        self._renew(keep=keep)
        if self.query_one(FilterBar).has_class("-open"):
            self._count()

    def _renew(self, *, keep: bool = True) -> None:
        seen = self._seen
        if seen is None:
            return
        found = seen.found
        group = seen.query.group or ""
        every: list[Entry] = entries(
            found.ids, found.groups, self._folded, lambda name: runs_columns.group_words(group, name)
        )
        if seen.query.filter != EVERYTHING:
            empty = f"no run with {written(seen.query.filter)}\n\n/ asks for others"
        elif seen.archived:
            empty = f"all {seen.archived} runs are archived\n\nA shows them"
        else:
            empty = NOTHING
        self.listed.renew(every, runs_columns.columns(seen), empty, keep=keep)
        self._told(seen)
        self.show_one()

    def _told(self, seen: Seen) -> None:
        self.query_one(RunsHead).fill(seen, len(self._marked), written(seen.query.filter))
        count = f"{seen.found.count:,} of {seen.total:,} runs" if seen.total != 1 else "1 run"
        self.listed.border_subtitle = count

    def _bring(self, ids: Sequence[str]) -> Sequence[Row] | None:
        """The rows of these runs, if they come within a moment."""
        seen = self._seen
        if seen is None:
            return None
        future = self.desk.submit(self.desk.rows, ids, seen.keys)
        try:
            listed = future.result(_SOON)
        except TimeoutError:
            return None
        return [runs_columns.row(run, seen, self._marked, self._now()) for run in listed]

    @on(Pages.Wanted)
    def _wanted(self, event: Pages.Wanted) -> None:
        self._bring_later(event.block)

    @work(group="bring", exit_on_error=False)
    async def _bring_later(self, block: int) -> None:
        seen = self._seen
        if seen is None:
            return
        ids = self.listed.ids_of(block)
        listed = await asyncio.wrap_future(self.desk.submit(self.desk.rows, ids, seen.keys))
        if seen is self._seen and ids == self.listed.ids_of(block):
            now = self._now()
            self.listed.put_runs(block, [runs_columns.row(run, seen, self._marked, now) for run in listed])

    def fold(self, heading: Heading) -> None:
        """Hide the runs below a heading, or show them again."""
        self._folded = self._folded ^ {heading.group}
        self._renew()

    def show_run(self, run: str) -> None:
        """Set the cursor on a run; where the list is narrowed to others it is widened."""
        if not self.listed.select_run(run):
            self._query, self._folded = Query(archived=True), frozenset()
            self.query_one(FilterBar).query_one(Input).value = ""
            self._look(_FIRST)
            self.listed.select_run(run)
        self.pane = "runs"

    # Finding, sorting, grouping

    def find(self, expression: str) -> None:
        """Narrow the list to what an expression finds."""
        try:
            asked = parse(expression)
        except UserError as error:
            self.query_one(FilterBar).tell(str(error), wrong=True)
            return
        if asked != self._query.filter:
            self._query = replace(self._query, filter=asked)
            self._look()
        else:
            self._count()

    def _count(self) -> None:
        seen = self._seen
        if seen is None or seen.query.filter == EVERYTHING:
            self.query_one(FilterBar).tell("")
        else:
            found = seen.found.count
            self.query_one(FilterBar).tell(f"{found:,} run{'s' if found != 1 else ''} of {seen.total:,}")

    @on(FindBar.Changed)
    def _typed(self, event: FindBar.Changed) -> None:
        self.find(event.text)

    def narrowed(self) -> str:
        return written(self._query.filter)

    def action_sort(self, by: int) -> None:
        fields = runs_columns.sorts(self._seen)
        here = fields.index(self._query.sort) if self._query.sort in fields else 0
        field = fields[(here + by) % len(fields)]
        # Words begin with a, numbers with the largest.
        self._query = replace(self._query, sort=field, descending=field not in runs_columns.WORDS)
        self._look()

    def action_invert(self) -> None:
        self._query = replace(self._query, descending=not self._query.descending)
        self._look()

    def action_group(self) -> None:
        every = (None, *GROUPS)
        group = every[(every.index(self._query.group) + 1) % len(every)]
        self._query, self._folded = replace(self._query, group=group), frozenset()
        self._look()

    def action_archived(self) -> None:
        self._query = replace(self._query, archived=not self._query.archived)
        self._look()

    def action_first_pane(self) -> None:
        """Back to the list; there, back to all runs."""
        if self.pane == "runs" and (self._query.filter != EVERYTHING or self._query.sort != NEWEST):
            self.query_one(FilterBar).query_one(Input).value = ""
            self._query = replace(self._query, filter=EVERYTHING, sort=NEWEST, descending=True)
            self._look()
        super().action_first_pane()

    # Marks

    def action_mark(self) -> None:
        entry = self.listed.entry
        if isinstance(entry, str):
            if entry in self._marked:
                del self._marked[entry]
            else:
                self._marked[entry] = None
            self._marks_changed()
            self.listed.action_move(1)

    def action_unmark(self) -> None:
        self._marked.clear()
        self._marks_changed()

    def _marks_changed(self) -> None:
        self.listed.freshen()
        if self._seen is not None:
            self._told(self._seen)


def _order(query: Query) -> tuple[object, ...]:
    return query.filter, query.sort, query.descending, query.group
