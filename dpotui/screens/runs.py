"""Runs: all of them, found by expressions, sorted, grouped and marked; all that is known of one, and its lineage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from core.errors import UserError
from core.runs.compare import FEWEST, MOST
from core.runs.expression import EVERYTHING, parse, written
from core.runs.query import GROUPS, NEWEST, Query
from core.store import artifacts, notes, run_changes
from core.store.runs import Run
from dpotui import cards, descent, runs_columns
from dpotui.live import Snapshot
from dpotui.runs_desk import RunsDesk, Seen
from dpotui.screens.runs_order import KEYS, OrdersRuns
from dpotui.stages import ACTIONS, Action
from dpotui.widgets.card import Card
from dpotui.widgets.descent import Descent
from dpotui.widgets.filterbar import FilterBar
from dpotui.widgets.find import FindBar
from dpotui.widgets.pages import Pages
from dpotui.widgets.runlist import Entry, Heading, RunList, entries
from dpotui.widgets.runs_head import RunsHead
from dpotui.widgets.table import Row, Table

_NOTHING = "no runs yet\n\ng starts one; so does 2 Stage, on the stage it belongs to"
_NO_RUN = "no run is chosen"
# What comes within this time is waited for: the list is then painted once, as it is.
_SOON, _FIRST = 0.015, 0.1
# Lineage follows the cursor when it rests.
_REST = 0.15


class RunsScreen(OrdersRuns):
    MODE = "Runs"
    PANES = (("Runs", "runs"), ("Details", "run"), ("Lineage", "lineage"))
    DEFAULT_CSS = """
    RunsScreen {
        &.-wide > #panes { layout: grid; grid-size: 2 2; grid-columns: 1fr 1fr; grid-rows: 3fr 2fr; }
        &.-wide #runs { column-span: 2; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "Mark", id="runs.mark"),
        Binding("v", "compare", "Compare", tooltip="The marked runs side by side", id="runs.compare"),
        Binding("o", "open", "Open", tooltip="See the run on the screen of its stage", id="runs.open"),
        Binding(
            "right_square_bracket", "sort(1)", "Sort", key_display="]", tooltip="Sort by the next column",
            id="runs.sort",
        ),
        Binding(
            "left_square_bracket", "sort(-1)", "Last sort", show=False, key_display="[",
            tooltip="Sort by the column before", id="runs.sort-last",
        ),
        Binding("i", "invert", "Invert", show=False, tooltip="The other way round", id="runs.invert"),
        Binding("b", "group", "Group", tooltip="Group by stage, kind, state, tag, parent or not", id="runs.group"),
        *KEYS,
        Binding("A", "archived", "Archived", show=False, tooltip="Show archived runs, too", id="runs.archived"),
        Binding("M", "unmark", "Unmark", show=False, tooltip="Mark none", id="runs.unmark"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._desk: RunsDesk | None = None
        self._query = Query()
        self._seen: Seen | None = None
        self._asking: Future[Seen] | None = None
        self._folded: frozenset[str] = frozenset()
        self._marked: dict[str, None] = {}
        self._last: str | None = None  # the run that the cursor stood on last
        self._traced: tuple[object, ...] = ()
        self._tracing = False

    def head(self) -> Iterable[Widget]:
        return (RunsHead(),)

    def finder(self) -> FindBar:
        return FilterBar()

    def panes(self) -> Iterable[Widget]:
        return RunList(runs_columns.columns(None), _NOTHING, self._bring), Card(), Descent("reading …")

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
        return self._seen is None or self._tracing

    # What is in hand

    def run_watched(self, snapshot: Snapshot) -> str | None:
        if self._last is not None:
            return self._last
        return snapshot.runs[0].id if snapshot.runs else None

    def run_key(self) -> str | None:
        return self.listed.key

    def runs_in_hand(self) -> list[str]:
        key = self.listed.key
        return list(self._marked) or ([key] if key is not None else [])

    def run_in_hand(self) -> Run | None:
        snapshot, key = self.bench.snapshot, self.listed.key
        if snapshot is None or key is None:
            return None
        watched = snapshot.watched
        return watched.run if watched is not None and watched.run.id == key else snapshot.run(key)

    def action_in_hand(self) -> Action:
        run = self.run_in_hand()
        return next((action for action in ACTIONS.values() if run and action.kind == run.kind), ACTIONS["sft"])

    # The list

    def fill(self, snapshot: Snapshot) -> None:
        if self._seen is None:
            self._look(_FIRST)
        else:
            self._look(0.0)
        self._card()
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
            empty = _NOTHING
        self.listed.renew(every, runs_columns.columns(seen), empty, keep=keep)
        self._told(seen)
        self._card()

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

    @on(Table.Moved)
    def _moved(self, event: Table.Moved) -> None:
        if event.table is not self.listed:
            return
        if self.listed.key is not None:
            self._last = self.listed.key
        snapshot = self.bench.snapshot
        if snapshot is not None:
            self.bench.watch_run(self.run_watched(snapshot))
        self._card()
        self.refresh_bindings()

    @on(Table.Chosen)
    async def _chosen(self, event: Table.Chosen) -> None:
        if isinstance(event.table, Descent):
            if event.table.run is not None:
                self.show_run(event.table.run)
        elif isinstance(self.listed.entry, Heading):
            group = self.listed.entry.group
            self._folded = self._folded - {group} if group in self._folded else self._folded | {group}
            self._renew()
        else:
            self.pane = "run"

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

    def action_compare(self) -> None:
        from dpotui.screens.compare import CompareScreen

        ids = list(self._marked)
        if not FEWEST <= len(ids) <= MOST:
            marked = f"{len(ids)} {'is' if len(ids) == 1 else 'are'} marked"
            self.bench.say(f"{FEWEST} to {MOST} runs are compared, {marked}: space marks", "warning")
            return
        self.app.push_screen(CompareScreen(ids))

    # One run

    def watch_pane(self, pane: str) -> None:
        super().watch_pane(pane)
        self._trace()

    def _card(self) -> None:
        snapshot, card, key = self.bench.snapshot, self.query_one("#run", Card), self.listed.key
        if snapshot is None or key is None:
            card.fill([])
        elif snapshot.watched is not None and snapshot.watched.run.id == key:
            db = self.bench.db
            card.fill(
                cards.of_run(
                    snapshot.watched, artifacts.of_run(db, key), snapshot.time, notes.of(db, f"run:{key}"),
                    run_changes.of_run(db, key),
                ),
                key,
            )  # fmt: skip
        self._trace()

    def _trace(self) -> None:
        """Where the run under the cursor comes from, where that can be seen."""
        snapshot, key = self.bench.snapshot, self.listed.key
        if snapshot is None or not (self.wide or self.pane == "lineage"):
            return
        if key is None:
            self._traced, self._tracing = (), False
            self.query_one(Descent).fill_lines([], _NO_RUN)
            return
        run, live = snapshot.run(key), snapshot.live
        # What a run reads is known when it starts, what reads it when that one does.
        traced = (key, run.state if run is not None else "", snapshot.total_runs, live.id if live is not None else "")
        if traced != self._traced:
            self._traced, self._tracing = traced, True
            self._trace_later(key)

    @work(exclusive=True, group="lineage", exit_on_error=False)
    async def _trace_later(self, key: str) -> None:
        await asyncio.sleep(_REST)
        try:
            found, run = await asyncio.wrap_future(self.desk.submit(self.desk.lineage, key))
        except UserError as error:
            self._tracing = False
            self.query_one(Descent).fill_lines([], str(error))
            return
        self._tracing = False
        self.query_one(Descent).fill_lines(descent.lines(found, run), _NO_RUN, key)

    async def action_open(self) -> None:
        """See the run on the screen of its stage."""
        if self.listed.key is not None:
            await self.bench.open_run(self.listed.key)


def _order(query: Query) -> tuple[object, ...]:
    return query.filter, query.sort, query.descending, query.group
