"""The queue over any screen: what waits and for what; runs are moved, put off, started, taken out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from core.errors import UserError
from core.runs import queue
from core.runs.queue import HELD, Waiting, Way
from core.store import commands
from core.text import one_line
from dpotui.screens.dialogs import DIALOG_CSS, Ask, Field
from dpotui.screens.modal import Modal
from dpotui.widgets.table import Column, Row, Table

if TYPE_CHECKING:
    from dpotui.app import Workbench

# How often it is looked at (seconds). Only rows that changed are painted.
_LOOK = 1.0
_COLUMNS = (Column("", 3, "right"), Column("run", 16), Column("waits for"), Column("name", 24, least=84))


class QueueScreen(Modal[None]):
    DEFAULT_CSS = (
        DIALOG_CSS.format(name="QueueScreen", width=100)
        + "QueueScreen > .box { height: 60%; } QueueScreen Table { height: 1fr; }"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", key_display="esc", id="queue.close"),
        Binding("K,shift+up", "move_run('up')", "Earlier", key_display="K", id="queue.up"),
        Binding("J,shift+down", "move_run('down')", "Later", key_display="J", id="queue.down"),
        Binding("F", "move_run('first')", "First", key_display="F", id="queue.first"),
        Binding("L", "move_run('last')", "Last", key_display="L", id="queue.last"),
        Binding("t", "time", "Time", tooltip="Not before a time", id="queue.time"),
        Binding("S", "force", "Start", key_display="S", tooltip="Next, whatever its time and the memory",
                id="queue.force"),
        Binding("x", "take_out", "Take out", tooltip="Take it out of the queue; it can be resumed", id="queue.out"),
    ]  # fmt: skip

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Queue"
            box.border_subtitle = "K J move · F L first, last · t time · S start · x take out · escape close"
            yield Table(_COLUMNS, "nothing waits")

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self._fill()
        self.set_interval(_LOOK, self._fill)

    @property
    def _bench(self) -> Workbench:
        return cast("Workbench", self.app)

    def _fill(self) -> None:
        if not self.given_back:
            self.query_one(Table).fill([_row(each) for each in queue.listing(self._bench.db)])

    def _do(self, act: Callable[[str], object]) -> None:
        """Act on the run under the cursor; what a person can mend is a notice."""
        run = self.query_one(Table).key
        if run is None:
            return
        try:
            act(run)
        except UserError as error:
            self._bench.say(str(error), "warning")
        self._fill()
        self._bench.written()

    def action_move_run(self, way: Way) -> None:
        self._do(lambda run: queue.move(self._bench.db, run, way))

    def action_force(self) -> None:
        self._do(lambda run: queue.force(self._bench.db, run))

    def action_take_out(self) -> None:
        self._do(lambda run: commands.send(self._bench.db, run, "stop", self._bench.who))

    def action_time(self) -> None:
        run = self.query_one(Table).key
        if run is None:
            return

        def submit(values: list[str]) -> None:
            queue.put_off(self._bench.db, run, values[0])
            self._fill()
            self._bench.written()

        field = Field("Not before", hint="22:00, tomorrow 6:30, +2h, now")
        words = "The engine waits for it. The machine has to be on by then: a Mac must not sleep."
        self.app.push_screen(Ask(f"When does {run} start?", words, [field], submit))


def _row(each: Waiting) -> Row:
    name = "" if each.run.name == each.run.id else each.run.name
    role = "warn" if each.why.startswith(HELD) else "live" if each.why == "next" else "dim"
    return Row(
        each.run.id,
        ((str(each.place), "dim"), (each.run.id, ""), (each.why, role), (one_line(name, 40), "dim")),
    )  # fmt: skip
