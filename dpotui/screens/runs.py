"""Runs: all of them, newest first, and all that is known of the chosen one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widget import Widget

from core.store import artifacts
from core.store.runs import Run
from dpotui import cards, roles, say
from dpotui.live import Snapshot
from dpotui.screens.running import CommandsRuns
from dpotui.stages import ACTIONS, Action
from dpotui.widgets.card import Card
from dpotui.widgets.find import FindBar
from dpotui.widgets.table import Column, Row, Table

_COLUMNS = (
    Column("run", 14),
    Column("state", 12),
    Column("progress", 16, least=100),
    Column("step", 11, "right"),
    Column("facts"),
    Column("took", 8, "right", least=90),
    Column("age", 5, "right"),
)
_NOTHING = "no runs yet\n\ng starts one; so does 2 Stage, on the stage it belongs to"


class RunsScreen(CommandsRuns):
    MODE = "Runs"
    PANES = (("Runs", "runs"), ("Details", "run"))
    DEFAULT_CSS = """
    RunsScreen {
        &.-wide > #panes { layout: horizontal; }
        &.-wide #runs { width: 3fr; }
        &.-wide #run { width: 2fr; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "open", "Open", id="runs.open"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._text = ""

    def panes(self) -> Iterable[Widget]:
        return Table(_COLUMNS, _NOTHING), Card()

    @property
    def table(self) -> Table:
        return self.query_one(Table)

    def run_watched(self, snapshot: Snapshot) -> str | None:
        if self.table.key is not None:
            return self.table.key
        return snapshot.runs[0].id if snapshot.runs else None

    def run_in_hand(self) -> Run | None:
        snapshot = self.bench.snapshot
        return snapshot.run(self.table.key) if snapshot else None

    def action_in_hand(self) -> Action:
        run = self.run_in_hand()
        return next((action for action in ACTIONS.values() if run and action.kind == run.kind), ACTIONS["sft"])

    def fill(self, snapshot: Snapshot) -> None:
        words = self._text.casefold().split()
        shown = [run for run in snapshot.runs if all(word in _searched(run) for word in words)]
        empty = f"no run with '{self._text}' in it" if self._text else _NOTHING
        self.table.fill([_row(run, snapshot) for run in shown], empty)
        more = f"newest {len(snapshot.runs)} of " if snapshot.total_runs > len(snapshot.runs) else ""
        self.table.border_subtitle = f"{more}{snapshot.total_runs} runs" if snapshot.total_runs != 1 else "1 run"
        self._card()
        self.refresh_bindings()

    def narrowed(self) -> str:
        return f"'{self._text}'" if self._text else ""

    def _card(self) -> None:
        snapshot, card, key = self.bench.snapshot, self.query_one(Card), self.table.key
        if snapshot is None or key is None:
            card.fill([])
        elif snapshot.watched is not None and snapshot.watched.run.id == key:
            card.fill(cards.of_run(snapshot.watched, artifacts.of_run(self.bench.db, key), snapshot.time), key)

    async def action_open(self) -> None:
        """See the run on the screen of its stage."""
        if self.table.key is not None:
            await self.bench.open_run(self.table.key)

    @on(Table.Moved)
    def _moved(self) -> None:
        self.refresh_all()

    @on(Table.Chosen)
    def _chosen(self) -> None:
        self.pane = "run"

    @on(FindBar.Changed)
    def _find(self, event: FindBar.Changed) -> None:
        self._text = event.text
        self.refresh_all()


def _searched(run: Run) -> str:
    return f"{run.id} {run.name} {run.kind} {run.state} {run.config_path or ''}".casefold()


def _row(run: Run, snapshot: Snapshot) -> Row:
    progress = "".join(say.bar(run.step, run.steps, 16)) if run.steps else ""
    took = say.span((run.ended or snapshot.time) - run.started) if run.started else ""
    step = cards.reached(run) if run.steps else ""
    return Row(
        run.id,
        (
            (run.id if run.name == run.id else f"{run.id} {run.name}", ""),
            (run.state, roles.STATES[run.state]),
            (progress, "bar"),
            (step, ""),
            (snapshot.key_facts.get(run.id, ""), "dim"),
            (took, "dim"),
            (say.age(snapshot.time, run.created), "dim"),
        ),
    )
