"""Hardware: what this machine has for training, and which batch sizes were tried on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from textual import on, work
from textual.widget import Widget

from core.store.calibrations import Calibration, Size
from core.store.runs import Run
from dpotui import roles, say
from dpotui.live import Snapshot
from dpotui.screens.dialogs import CardScreen
from dpotui.screens.running import CommandsRuns
from dpotui.stages import CALIBRATE, Action
from dpotui.widgets.card import BLANK, Card, Entry
from dpotui.widgets.find import FindBar
from dpotui.widgets.table import Column, Row, Table

_COLUMNS = (
    Column("batch size", 10, "right"),
    Column("pairs/s", 9, "right"),
    Column("peak memory", 11, "right"),
    Column("verdict", 9),
    Column("note"),
)
_NOTHING = (
    "no batch size was measured yet\n\ng measures: the size is doubled until it is slower or does not fit; what is the"
    " fastest is used where training.batch_size is auto"
)
_FITS = {"FITS": "good", "TOO LARGE": "bad"}


def read_machine(folder: Path) -> list[Entry]:
    """The machine as it is now; asks the GPU what it recommends, which may take a moment."""
    from core import hardware
    from core.config import this_platform

    here = hardware.look(folder)
    limit = hardware.memory_limit("gpu" if this_platform().accelerator else "cpu")
    versions = hardware.versions()
    known = hardware.STARTING_POINTS.get(here.chip)
    others = ", ".join(f"{chip} {size}" for chip, size in hardware.STARTING_POINTS.items())
    fast = f" ({here.performance_cores} fast)" if here.performance_cores else ""
    where = {"metal": "the GPU (Metal)", "cuda": "the GPU (CUDA)", None: "the CPU"}[here.accelerator]
    entries = [
        Entry("", here.chip, "title"),
        Entry("system", here.system),
        Entry("cores", f"{here.cores}{fast}"),
        Entry("memory", f"{here.memory / 1e9:.1f} GB, {here.memory_available / 1e9:.1f} free"),
        Entry("for a run", f"{limit.bytes / 1e9:.1f} GB: {limit.source}"),
        Entry("disk", f"{here.disk_free / 1e9:.0f} GB free"),
        Entry("computes", f"on {where}, mlx {versions['mlx']}, mlx-lm {versions['mlx-lm']}"),
        Entry("start with", f"{known} pairs" if known else f"no batch size is known for this chip ({others})"),
        BLANK,
        Entry("", "Environment", "title"),
    ]
    for name, value, effect in hardware.environment():
        entries.append(Entry("", f"{name}  {'not set' if value is None else value}"))
        entries.append(Entry("", effect, "dim"))
    return entries


class HardwareScreen(CommandsRuns):
    MODE = "Hardware"
    PANES = (("Batch sizes", "sizes"), ("Machine", "machine"))
    DEFAULT_CSS = """
    HardwareScreen {
        &.-wide > #panes { layout: horizontal; }
        &.-wide #sizes { width: 3fr; }
        &.-wide #machine { width: 2fr; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._machine: list[Entry] = []
        self._text = ""

    def panes(self) -> Iterable[Widget]:
        return Table(_COLUMNS, _NOTHING), Card()

    def run_in_hand(self) -> Run | None:
        snapshot = self.bench.snapshot
        return snapshot.latest(("calibrate",)) if snapshot else None

    def action_in_hand(self) -> Action:
        return CALIBRATE

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._read_machine()

    @work(exclusive=True, group="machine", exit_on_error=False)
    async def _read_machine(self) -> None:
        self._machine = await asyncio.to_thread(read_machine, self.bench.workspace.root)
        self.refresh_all()

    def fill(self, snapshot: Snapshot) -> None:
        words = self._text.casefold()
        shown = [one for one in snapshot.calibrations if words in _searched(one)]
        rows = [row for one in shown for row in _rows(one, snapshot)]
        table = self.query_one(Table)
        table.fill(rows, f"no calibration with '{self._text}' in it" if self._text else _NOTHING)
        table.border_subtitle = f"{len(snapshot.calibrations)} measured" if snapshot.calibrations else ""
        self.query_one(Card).fill(self._machine or [Entry("", "looking …", "dim")], "machine")
        self.refresh_bindings()

    def narrowed(self) -> str:
        return f"'{self._text}'" if self._text else ""

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        """All that a calibration holds for."""
        snapshot = self.bench.snapshot
        number = int(event.key.split("/")[0])
        found = next((one for one in snapshot.calibrations if one.id == number), None) if snapshot else None
        if found is not None:
            self.app.push_screen(CardScreen("Calibration", _card(found)))

    @on(FindBar.Changed)
    def _find(self, event: FindBar.Changed) -> None:
        self._text = event.text
        self.refresh_all()


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
