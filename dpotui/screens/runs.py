"""Runs: all of them, found by expressions, sorted, grouped and marked; all that is known of one, and its lineage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget

from core.errors import UserError
from core.runs.compare import FEWEST, MOST
from core.store import artifacts, notes, run_changes
from core.store.runs import Run
from dpotui import cards, descent, runs_columns
from dpotui.live import Snapshot
from dpotui.screens.runs_list import NOTHING, ListsRuns
from dpotui.screens.runs_order import KEYS
from dpotui.stages import ACTIONS, Action
from dpotui.widgets.card import Card
from dpotui.widgets.descent import Descent
from dpotui.widgets.filterbar import FilterBar
from dpotui.widgets.find import FindBar
from dpotui.widgets.runlist import Heading, RunList
from dpotui.widgets.runs_head import RunsHead
from dpotui.widgets.table import Table

_NO_RUN = "no run is chosen"
# Lineage follows the cursor when it rests.
_REST = 0.15


class RunsScreen(ListsRuns):
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
        self._last: str | None = None  # the run that the cursor stood on last
        self._traced: tuple[object, ...] = ()
        self._tracing = False

    def head(self) -> Iterable[Widget]:
        return (RunsHead(),)

    def finder(self) -> FindBar:
        return FilterBar()

    def panes(self) -> Iterable[Widget]:
        return RunList(runs_columns.columns(None), NOTHING, self._bring), Card(), Descent("reading …")

    @property
    def looking(self) -> bool:
        """Whether something is still being read."""
        return super().looking or self._tracing

    # What is in hand

    def run_watched(self, snapshot: Snapshot) -> str | None:
        if self._last is not None:
            return self._last
        return snapshot.runs[0].id if snapshot.runs else None

    def run_in_hand(self) -> Run | None:
        snapshot, key = self.bench.snapshot, self.listed.key
        if snapshot is None or key is None:
            return None
        watched = snapshot.watched
        return watched.run if watched is not None and watched.run.id == key else snapshot.run(key)

    def action_in_hand(self) -> Action:
        run = self.run_in_hand()
        return next((action for action in ACTIONS.values() if run and action.kind == run.kind), ACTIONS["sft"])

    @on(Table.Moved)
    def _moved(self, event: Table.Moved) -> None:
        if event.table is not self.listed:
            return
        if self.listed.key is not None:
            self._last = self.listed.key
        snapshot = self.bench.snapshot
        if snapshot is not None:
            self.bench.watch_run(self.run_watched(snapshot))
        self.show_one()
        self.refresh_bindings()

    @on(Table.Chosen)
    async def _chosen(self, event: Table.Chosen) -> None:
        if isinstance(event.table, Descent):
            if event.table.run is not None:
                self.show_run(event.table.run)
        elif isinstance(self.listed.entry, Heading):
            self.fold(self.listed.entry)
        else:
            self.pane = "run"

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

    def show_one(self) -> None:
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
