"""Hardware: what this machine does now and has for training, and which batch sizes are known or were tried on it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from core.store import engines, runs
from core.store.calibrations import Calibration, Size
from core.store.runs import Run
from dpotui import roles, say
from dpotui.live import Snapshot
from dpotui.machine import Machine, read_machine
from dpotui.screens.dialogs import CardScreen
from dpotui.screens.running import CommandsRuns
from dpotui.stages import CALIBRATE, Action
from dpotui.widgets.card import BLANK, Card, Entry
from dpotui.widgets.find import FindBar
from dpotui.widgets.gauges import Gauges
from dpotui.widgets.table import Column, Row, Table

if TYPE_CHECKING:
    from core.monitor import Monitor, Reading
    from core.store.engines import Engine

_COLUMNS = (
    Column("batch size", 10, "right"),
    Column("source", 9),
    Column("pairs/s", 8, "right"),
    Column("peak memory", 11, "right"),
    Column("verdict", 9),
    Column("note"),
)
_MEASURES = (
    "no batch size was measured here yet: g measures. The size is doubled until it is slower or does not fit; the"
    " fastest is used where training.batch_size is auto"
)
_FITS = {"FITS": "good", "TOO LARGE": "bad"}


def new_monitor() -> Monitor:
    """What reads the machine is not needed to start."""
    from core.monitor import Monitor

    return Monitor()


class HardwareScreen(CommandsRuns):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "hosts", "Hosts", tooltip="Check whether the hosts of a hosts file can work together",
                id="hardware.hosts"),
    ]  # fmt: skip
    MODE = "Hardware"
    PANES = (("Now", "now"), ("Batch sizes", "sizes"), ("Machine", "machine"))
    DEFAULT_CSS = """
    HardwareScreen {
        &.-wide > #panes { layout: grid; grid-size: 2 2; grid-columns: 3fr 2fr; grid-rows: 3fr 4fr; }
        &.-wide #now { row-span: 2; }
    }
    """

    class Sampled(Message):
        """The machine was looked at once more."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, HardwareScreen.Sampled)

    def __init__(self) -> None:
        super().__init__()
        self._machine = Machine([])
        self._monitor: Monitor | None = None
        self._engine: Engine | None = None  # where one lives on this machine
        self._peak: tuple[str, float] | None = None  # of the live run, in bytes
        self._text = ""

    def panes(self) -> Iterable[Widget]:
        return Gauges(), Table(_COLUMNS, _MEASURES), Card()

    def run_in_hand(self) -> Run | None:
        snapshot = self.bench.snapshot
        return snapshot.latest(("calibrate",)) if snapshot else None

    def run_watched(self, snapshot: Snapshot) -> str | None:
        """The live run: its own memory is told beside the machine's."""
        return snapshot.live.id if snapshot.live is not None and snapshot.live.state in runs.LIVE else None

    def action_in_hand(self) -> Action:
        return CALIBRATE

    def action_hosts(self) -> None:
        from dpotui.screens.hosts import ask_for_hosts

        ask_for_hosts(self.bench)

    # The machine is looked at while this is in front

    def on_screen_resume(self) -> None:
        self._read_machine()
        self._look()

    @work(exclusive=True, group="monitor", exit_on_error=False)
    async def _look(self) -> None:
        if self._monitor is None:
            self._monitor = await asyncio.to_thread(new_monitor)
        if self.is_current:
            self._monitor.start(lambda: self.post_message(self.Sampled()), self._of_the_run)

    def on_screen_suspend(self) -> None:
        if self._monitor is not None:
            self._monitor.stop(wait=False)

    def on_unmount(self) -> None:
        if self._monitor is not None:
            self._monitor.stop()

    def _of_the_run(self) -> list[Reading]:
        """What the engine and the live run take; asked for in the monitor's thread."""
        from core.monitor import Reading, engine_memory

        engine, peak = self._engine, self._peak
        found = [engine_memory(engine.pid, engine.started)] if engine is not None else []
        if peak is not None:
            found.append(Reading("run.memory", peak[1], "B", f"{peak[0]}, peak_memory_gb as MLX counts it"))
        return found

    @on(Sampled)
    def _sampled(self) -> None:
        if self._monitor is not None:
            self.query_one(Gauges).fill(self._monitor.samples, self._machine.limits)

    @work(exclusive=True, group="machine", exit_on_error=False)
    async def _read_machine(self) -> None:
        pid = self._engine.pid if self._engine is not None else None
        self._machine = await asyncio.to_thread(read_machine, self.bench.workspace.root, pid)
        self._sampled()
        self.refresh_all()

    # What is shown

    def fill(self, snapshot: Snapshot) -> None:
        self._follow_engine(snapshot)
        words = self._text.casefold()
        shown = [one for one in snapshot.calibrations if words in _searched(one)]
        rows = [row for one in shown for row in _rows(one, snapshot)]
        if not words:
            rows += [] if rows else [Row(None, (("nothing measured here yet: g measures", "dim"),))]
            rows += _known(self._machine)
        table = self.query_one(Table)
        table.fill(rows, f"no calibration with '{self._text}' in it" if self._text else _MEASURES)
        table.border_subtitle = f"{len(snapshot.calibrations)} measured" if snapshot.calibrations else ""
        self.query_one(Card).fill(self._machine.entries or [Entry("", "looking …", "dim")], "machine")
        self.refresh_bindings()

    def _follow_engine(self, snapshot: Snapshot) -> None:
        engine = engines.latest(self.bench.db) if snapshot.engine.alive else None
        before, self._engine = self._engine, None
        if engine is not None and engine.ended is None and engine.host == socket.gethostname():
            self._engine = engine
        if self._engine is not None and (before is None or before.pid != self._engine.pid):
            self._read_machine()  # its environment is told, too
        watched = snapshot.watched
        points = watched.series.get("peak_memory_gb", ()) if watched is not None else ()
        on = watched is not None and watched.run.state in runs.LIVE
        self._peak = (watched.run.id, points[-1].mean * 1e9) if watched is not None and on and points else None

    def narrowed(self) -> str:
        return f"'{self._text}'" if self._text else ""

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        """All that a size rests on."""
        number = event.key.split("/")[0]
        if number == "known":
            self.app.push_screen(CardScreen("Known batch size", _known_card(self._machine, event.key)))
            return
        snapshot = self.bench.snapshot
        found = next((one for one in snapshot.calibrations if str(one.id) == number), None) if snapshot else None
        if found is not None:
            self.app.push_screen(CardScreen("Calibration", _card(found)))

    @on(FindBar.Changed)
    def _find(self, event: FindBar.Changed) -> None:
        self._text = event.text
        self.refresh_all()


def _known(machine: Machine) -> list[Row]:
    """The workflow's own starting points, of which nothing was measured here."""
    rows = [Row(None, (("known from the workflow's checklist", "title"),))] if machine.known else []
    for chip, size in machine.known.items():
        cells = ((str(size), ""), ("known", "dim"), ("—", "dim"), ("—", "dim"), ("", ""))
        note = (f"{chip}  ◂ this chip", "accent") if chip == machine.chip else (chip, "dim")
        rows.append(Row(f"known/{chip}", (*cells, note)))
    return rows


def _known_card(machine: Machine, key: str) -> list[Entry]:
    chip = key.partition("/")[2]
    return [
        Entry("", chip, "title"),
        Entry("batch size", f"{machine.known[chip]} pairs"),
        Entry("source", "the workflow's checklist of stage 5 (M4 Max: 32, M3 Ultra: 4)"),
        BLANK,
        Entry("", "A place to start, whatever the model and the lengths. g measures which size is the fastest here."),
    ]


def _searched(one: Calibration) -> str:
    return f"{one.run or ''} {one.kind} {one.chip} {one.reason}".casefold()


def _rows(one: Calibration, snapshot: Snapshot) -> list[Row]:
    """A heading, then a row a size."""
    run = snapshot.run(one.run)
    words = [one.kind, one.run or "", say.date(one.started)]
    if one.chosen is not None:
        words.append(f"batch size {one.chosen}: {one.reason}")
    elif one.ended is None and run is not None:
        words.append(run.phase or run.state)
    else:
        words.append(one.reason)
    rows = [Row(None, (("  ".join(word for word in words if word), "title"),))]
    return rows + [Row(f"{one.id}/{size.size}", _cells(size, one.chosen)) for size in one.sizes]


def _cells(size: Size, chosen: int | None) -> tuple[roles.Span, ...]:
    return (
        (str(size.size), ""),
        ("measured", "dim"),
        (say.number(size.rate) if size.rate is not None else "—", ""),
        (f"{size.peak / 1e9:.2f} GB" if size.peak is not None else "—", ""),
        (size.verdict, _FITS[size.verdict]),
        ("◂ chosen", "accent") if size.size == chosen else (size.note, "dim"),
    )


def _card(one: Calibration) -> list[Entry]:
    entries = [
        Entry("", f"Batch size of {one.kind}", "title"),
        Entry("chosen", str(one.chosen) if one.chosen is not None else "none"),
        Entry("why", one.reason),
        Entry("limit", f"{one.limit / 1e9:.1f} GB: {one.limit_source}"),
        Entry("when", say.date(one.started)),
    ]
    entries += [Entry("run", one.run)] if one.run else []
    entries += [BLANK, Entry("", "It holds for", "title")]
    return entries + [Entry("", f"{name}: {value}", "dim") for name, value in sorted(one.subject.items())]
