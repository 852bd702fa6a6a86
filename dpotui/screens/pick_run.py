"""Choose among all runs of a stage: one to take in hand, or some to draw beside it."""

from __future__ import annotations

import asyncio
from typing import ClassVar, NamedTuple

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input

from core.store import open_store
from core.workspace import Workspace
from dpotui import past, roles, say
from dpotui.past import Brief
from dpotui.screens.dialogs import DIALOG_CSS
from dpotui.screens.modal import Modal
from dpotui.widgets.canvas import LINE_ROLES
from dpotui.widgets.table import Column, Row, Table
from dpotui.widgets.typed import Typed

# A chart has no more lines than that, and the run in hand has up to three.
MOST = len(LINE_ROLES) - 3

_COLUMNS = (
    Column("", 3),
    Column("run", 14),
    Column("name", least=60),
    Column("state", 12),
    Column("steps", 13, "right"),
    Column("age", 5, "right"),
)


class Picked(NamedTuple):
    """The run to take in hand, or those to draw beside it."""

    run: str | None = None
    beside: tuple[str, ...] = ()


class PickRun(Modal[Picked | None]):
    DEFAULT_CSS = (
        DIALOG_CSS.format(name="PickRun", width=90) + "PickRun > .box { height: 85%; } PickRun Table { height: 1fr; }"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", id="pick.cancel"),
        Binding("space", "mark", "Beside", id="pick.mark"),
        Binding("slash", "find", "Find", key_display="/", id="pick.find"),
    ]

    def __init__(self, workspace: Workspace, stage: int, now: float, run: str | None, beside: tuple[str, ...]) -> None:
        """`run` and `beside`: those that are in hand and beside it now."""
        super().__init__()
        self._workspace, self._stage, self._now = workspace, stage, now
        self._run, self._marked = run, list(beside)
        self._runs: list[Brief] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = f"Runs of stage {self._stage}"
            box.border_subtitle = "enter take in hand · space draw beside · / find · escape cancel"
            yield Typed(placeholder="words of id, name or state", id="words")
            yield Table(_COLUMNS, "reading …")

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self._read()

    @work(exit_on_error=False)
    async def _read(self) -> None:
        self._runs = await asyncio.to_thread(_listed, self._workspace, self._stage)
        self._fill()
        if self._run is not None:
            self.query_one(Table).select(self._run)

    def _fill(self) -> None:
        words = self.query_one(Input).value.casefold().split()
        shown = [
            run for run in self._runs if all(word in f"{run.id} {run.name} {run.state}".casefold() for word in words)
        ]
        empty = "no run with these words" if words else "no run of this stage yet"
        self.query_one(Table).fill([self._row(run) for run in shown], empty)

    def _row(self, run: Brief) -> Row:
        mark = "[x]" if run.id in self._marked else " ● " if run.id == self._run else ""
        steps = f"{run.step}/{run.steps}" if run.steps else ""
        name = "" if run.name == run.id else run.name
        cells = (
            (mark, "accent"),
            (run.id, ""),
            (name, "dim"),
            (run.state, roles.STATES[run.state]),
            (steps, ""),
            (say.age(self._now, run.created), "dim"),
        )
        return Row(run.id, cells)

    @on(Input.Changed)
    def _typed(self) -> None:
        self._fill()
        self.query_one(Table).action_move(-len(self._runs))

    @on(Input.Submitted)
    def _found(self) -> None:
        self.query_one(Table).focus()

    def action_find(self) -> None:
        self.query_one(Input).focus()

    def action_mark(self) -> None:
        key = self.query_one(Table).key
        if key is None or key == self._run:
            return
        if key in self._marked:
            self._marked.remove(key)
        elif len(self._marked) < MOST:
            self._marked.append(key)
        else:
            self.notify(f"at most {MOST} runs beside the one in hand", severity="warning", timeout=3)
        self._fill()

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        # With marks, enter takes those; without, the row it stands on.
        self.dismiss(Picked(beside=tuple(self._marked)) if self._marked else Picked(event.key))


def _listed(workspace: Workspace, stage: int) -> list[Brief]:
    db = open_store(workspace.database)
    try:
        return past.listing(db, stage)
    finally:
        db.close()
