"""The history of a gate: its value from run to run against the target, and below it every verdict with its run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.geometry import Size

from dpotui import roles, say
from dpotui.roles import Span
from dpotui.widgets.canvas import ASCII, BOXES, Frame
from dpotui.widgets.plot import Limit, Line, Look, Plot, draw, point
from dpotui.widgets.table import Column, Row, Table

if TYPE_CHECKING:
    from core.gates import Gate, Kept

_COLUMNS = (
    Column("when", 16),
    Column("verdict", 7),
    Column("value", 9, "right"),
    Column("target", 9, "right"),
    Column("run", 14),
    Column("interval", 18, least=90),
    Column("n", 7, "right", least=90),
    Column("why"),
)
_NOTHING = "no verdict yet: it was never measured"
# The room of the chart, and what the list below keeps in any case.
_CHART, _LIST = 9, 5
# Columns that a verdict takes in the chart: enough to tell its mark from the next one.
_APART = 4


class GateHistory(Table):
    """Enter on a row gives back the id of its verdict."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(_COLUMNS, _NOTHING, id=id, classes=classes)
        self._gate: Gate | None = None
        self._kept: tuple[Kept, ...] = ()
        self._frame: Frame | None = None
        self._drawn: tuple[object, ...] = ()

    def fill_history(self, gate: Gate | None, kept: Sequence[Kept]) -> None:
        """Show the verdicts of a gate, newest first."""
        self._gate, self._kept = gate, tuple(kept)
        self.fill([_row(gate, one) for one in kept] if gate is not None else [], _NOTHING if gate is not None else "")

    @property
    def run(self) -> str | None:
        """The run whose value the verdict under the cursor is of."""
        return next((one.run for one in self._kept if str(one.id) == self.key), None)

    def prepare(self, size: Size) -> None:
        super().prepare(size)
        ascii = bool(getattr(self.app, "ascii", False))
        key = (self._gate, self._kept, size, ascii)
        if key != self._drawn:
            self._drawn = key
            room = min(_CHART, size.height - _LIST - 1)
            gate = self._gate
            self._frame = _chart(gate, self._kept, size.width, room, ascii) if gate is not None else None
        self.FIXED = 1 + (self._frame.height if self._frame is not None else 0)

    def fixed(self, y: int, width: int) -> Sequence[Span]:
        if self._frame is not None and y < self._frame.height:
            return list(self._frame.spans(y))
        return super().fixed(y, width)


def _row(gate: Gate, kept: Kept) -> Row:
    result = kept.of(gate)
    role = roles.VERDICTS[kept.verdict]
    interval = ""
    if kept.low is not None and kept.high is not None:
        interval = f"[{say.value(kept.low)}, {say.value(kept.high)}]"
    return Row(
        str(kept.id),
        (
            (say.date(kept.time), "dim"),
            (kept.verdict, role),
            (result.shown if kept.value is not None else "—", role),
            (result.gate.target, ""),
            (kept.run or "", ""),
            (interval, "dim"),
            (str(kept.n) if kept.n is not None else "", "dim"),
            (kept.reason, "dim"),
        ),
    )


def _chart(gate: Gate, kept: Sequence[Kept], width: int, height: int, ascii: bool) -> Frame | None:
    """The newest verdicts from left to right, each in its own few columns, with the runs' ids below."""
    shown = list(reversed(kept[: max(1, (width - 12) // _APART)]))
    if height < 5 or width < 24 or all(one.value is None for one in shown):
        return None
    values = [math.nan if one.value is None else one.value for one in shown]
    line = Line("", [point(index + 0.5, value) for index, value in enumerate(values)], smooth=False, mark="o")
    plot = Plot(gate.title, (line,), (Limit(gate.op, gate.threshold),), end=float(len(shown)))
    frame = draw(plot, Look(0.0, False), width, height, ascii=ascii)
    # With as many digits as it takes to see on which side of its target the value lies.
    newest = next(one for one in reversed(shown) if one.value is not None).of(gate)
    frame.put(0, 0, " " * width, "")
    end = frame.put(0, 0, gate.title, "title")
    end = frame.put(end, 0, f"  {newest.verdict} {newest.shown}", "line0")
    frame.put(max(end + 2, width - len(gate.target) - 8), 0, f"target {gate.target}", "limit")
    _name_runs(frame, [one.run or say.date(one.time)[5:10] for one in shown], ascii)
    return frame


def _name_runs(frame: Frame, names: Sequence[str], ascii: bool) -> None:
    """In place of the numbers on the x axis; a name without room is left out."""
    bottom, left = frame.height - 1, frame.left
    field = frame.width - left
    frame.put(left, bottom, (ASCII if ascii else BOXES).floor * field, "axis")
    free = left
    for index, name in enumerate(names):
        at = left + int((index + 0.5) / len(names) * field) - len(name) // 2
        if free <= at and at + len(name) <= frame.width:
            free = frame.put(at, bottom, name, "axis") + 1
