"""Two to eight runs side by side over the workbench: facts, what differs in their configuration, curves as one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from core.errors import UserError
from core.runs.compare import Comparison, compare
from core.store import open_store
from core.store.runs import LIVE, Run
from core.text import one_line
from dpotui.charts import overlay
from dpotui.compared import config_rows, fact_rows, head_rows
from dpotui.roles import Span
from dpotui.screens.keys import keys_screen
from dpotui.screens.modal import Modal
from dpotui.screens.mode import WIDE
from dpotui.series import Recorder, Series
from dpotui.widgets.canvas import LINE_ROLES
from dpotui.widgets.charts import Charts
from dpotui.widgets.footer import Keys
from dpotui.widgets.lines import Lines
from dpotui.widgets.side_by_side import SideBySide

if TYPE_CHECKING:
    from dpotui.app import Workbench

# How often runs that go on are looked at.
_LOOK = 2.0
_PANES = (("Facts", "facts"), ("Configuration", "config"), ("Curves", "curves"))


class _Head(Lines):
    """Which runs, and on a narrow screen which of the panes is seen."""

    DEFAULT_CSS = "_Head { height: 1; background: $panel; }"

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__()
        self._ids = ids
        self._pane = ""

    def fill(self, pane: str) -> None:
        self._pane = pane
        self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        tabs: list[Span] = []
        if self._pane:
            tabs = [(f" {title} ", "here" if id_ == self._pane else "dim") for title, id_ in _PANES]
        room = width - sum(len(text) for text, _ in tabs) - 1
        said = one_line(f"{len(self._ids)} runs: {', '.join(self._ids)}", room)
        return [(" " + said.ljust(room), "title"), *tabs]


class CompareScreen(Modal[None]):
    """Over the workbench, all of the screen."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - declared so by Screen
    DEFAULT_CSS = """
    CompareScreen {
        background: $background; layout: vertical; overflow: hidden;
        & > #panes { height: 1fr; }
        &.-narrow .pane { display: none; width: 1fr; height: 1fr; }
        &.-narrow .pane.-shown { display: block; }
        &.-wide > #panes { layout: grid; grid-size: 2 2; grid-columns: 1fr 1fr; grid-rows: 3fr 2fr; }
        &.-wide #curves { row-span: 2; }
        &.-wide .pane { border: round $panel-lighten-1; border-title-color: $dim; border-subtitle-color: $dim; }
        &.-wide .pane:focus { border: round $primary; border-title-color: $primary; border-title-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "pane(1)", "Pane", priority=True, id="screen.next-pane"),
        Binding("shift+tab", "pane(-1)", "Last pane", show=False, priority=True, id="screen.last-pane"),
        Binding("x", "export", "Export", tooltip="The comparison as JSON", id="compare.export"),
        Binding("question_mark", "keys", "Keys", key_display="?", id="app.keys"),
        Binding("escape,q", "dismiss", "Back", key_display="q", tooltip="Back to the runs", id="app.leave"),
    ]

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__()
        self._ids = tuple(ids)
        self._pane = _PANES[0][1]
        self._found: Comparison | None = None
        self._recorders = {run: Recorder() for run in ids}

    @property
    def _bench(self) -> Workbench:
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        yield _Head(self._ids)
        with Container(id="panes"):
            # On a wide screen charts take the right half: the second of the grid, two rows high.
            for id_, widget in (
                ("facts", SideBySide("reading …")), ("curves", Charts()), ("config", SideBySide("reading …")),
            ):  # fmt: skip
                widget.id = id_
                widget.add_class("pane")
                widget.border_title = next(title for title, other in _PANES if other == id_)
                yield widget
        yield Keys()

    def on_mount(self) -> None:
        self.query_one(Charts).fill([], "reading …")
        self._show_pane()
        self._look()
        self.set_interval(_LOOK, self._again)

    def on_resize(self) -> None:
        self._show_pane()

    def _again(self) -> None:
        if self._found is not None and any(run.state in (*LIVE, "queued") for run in self._found.runs):
            self._look()

    @work(exclusive=True, group="look", exit_on_error=False)
    async def _look(self) -> None:
        try:
            found, series = await asyncio.to_thread(self._read)
        except UserError as error:
            for table in self.query(SideBySide):
                table.compare((), [], str(error))
            return
        self._show(found, series)

    def _read(self) -> tuple[Comparison, list[tuple[Run, Mapping[str, Series]]]]:
        """In a thread, with its own connection."""
        workspace = self._bench.workspace
        with closing(open_store(workspace.database)) as db:
            found = compare(db, workspace, self._ids)
            return found, [(run, self._recorders[run.id].read(db, run)) for run in found.runs]

    def _show(self, found: Comparison, series: list[tuple[Run, Mapping[str, Series]]]) -> None:
        self._found = found
        facts, config = self.query_one("#facts", SideBySide), self.query_one("#config", SideBySide)
        facts.compare(self._ids, [*head_rows(found), *fact_rows(found)], "")
        facts.border_subtitle = one_line(found.problem, 60) if found.problem else "↑ ↓ better, as the gates have it"
        none = f"nothing differs: all {found.same} keys are the same"
        config.compare(self._ids, config_rows(found), none)
        config.border_subtitle = f"{found.same} more keys are the same"
        charts = self.query_one(Charts)
        charts.fill(overlay(series), "these runs wrote no metrics")
        left = len(self._ids) - len(LINE_ROLES)
        charts.border_subtitle = f"the first {len(LINE_ROLES)} of {len(self._ids)} runs" if left > 0 else ""

    def _show_pane(self) -> None:
        for _, id_ in _PANES:
            self.query_one(f"#{id_}").set_class(id_ == self._pane, "-shown")
        self.query_one(f"#{self._pane}").focus()
        self.query_one(_Head).fill("" if self.size.width >= WIDE else self._pane)

    def on_descendant_focus(self) -> None:
        focused = self.focused
        if focused is not None and focused.id != self._pane and any(focused.id == id_ for _, id_ in _PANES):
            self._pane = str(focused.id)

    def action_pane(self, by: int) -> None:
        ids = [id_ for _, id_ in _PANES]
        self._pane = ids[(ids.index(self._pane) + by) % len(ids)]
        self._show_pane()

    def action_keys(self) -> None:
        self.app.push_screen(keys_screen(self.active_bindings.values()))

    def action_export(self) -> None:
        if self._found is not None:
            self._export(self._found)

    @work(group="export", exit_on_error=False)
    async def _export(self, found: Comparison) -> None:
        from core.runs import export

        try:
            path = await asyncio.to_thread(export.save_comparison, self._bench.workspace, found)
        except UserError as error:
            self._bench.say(str(error), "error")
        else:
            self._bench.say(f"written: {self._bench.workspace.relative(path)}")
