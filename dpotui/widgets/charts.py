"""The charts of a run side by side: as many as the room holds, one of them chosen, one of them large when asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.timer import Timer

from core.text import one_line
from dpotui.roles import Span
from dpotui.widgets.canvas import Frame
from dpotui.widgets.lines import Lines
from dpotui.widgets.plot import Look, Plot, Reading, View, draw, readings
from dpotui.widgets.scale import Axis
from dpotui.widgets.window import Window
from dpotui.wrap import wrap

# The least room in which a chart says something.
_LEAST_WIDTH, _LEAST_HEIGHT = 42, 10
_SMOOTHINGS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
# Seconds between two drawings of points that come.
_CALM = 1.0
# Columns of dots that the cursor leaps.
_LEAP = 20


class Charts(Lines, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", "Last chart", show=False, id="charts.up"),
        Binding("down,j", "choose(1)", "Next chart", show=False, id="charts.down"),
        Binding("enter,m", "large", "Large", tooltip="The chosen chart alone, or all again", id="charts.large"),
        Binding("left", "cursor(-1)", "Cursor left", show=False, tooltip="Read values: cursor to the left",
                id="charts.cursor-left"),
        Binding("right", "cursor(1)", "Cursor right", show=False, tooltip="Read values: cursor to the right",
                id="charts.cursor-right"),
        Binding("shift+left", f"cursor(-{_LEAP})", "Leap left", show=False, key_display="shift+←",
                id="charts.leap-left"),
        Binding("shift+right", f"cursor({_LEAP})", "Leap right", show=False, key_display="shift+→",
                id="charts.leap-right"),
        Binding("home", "edge(0)", "First step", show=False, tooltip="Cursor to the first step seen",
                id="charts.cursor-first"),
        Binding("end", "edge(1)", "Newest step", show=False, tooltip="Cursor to the newest step seen",
                id="charts.cursor-last"),
        Binding("escape", "put_away", "Follow", tooltip="Put the cursor away, follow the newest values",
                id="charts.follow"),
        Binding("i", "zoom(0.5)", "Zoom in", tooltip="Fewer steps, in detail", id="charts.zoom-in"),
        Binding("o", "zoom(2)", "Zoom out", show=False, tooltip="More steps", id="charts.zoom-out"),
        Binding("0", "whole", "Whole run", show=False, id="charts.whole"),
        Binding("less_than_sign,comma", "pan(-1)", "Pan left", show=False, key_display="<", tooltip="Earlier steps",
                id="charts.pan-left"),
        Binding("greater_than_sign,full_stop", "pan(1)", "Pan right", show=False, key_display=">",
                tooltip="Later steps", id="charts.pan-right"),
        Binding("plus,equals_sign", "smooth(1)", "Smooth", key_display="+", tooltip="Smoother", id="charts.smoother"),
        Binding("minus", "smooth(-1)", "Rougher", show=False, key_display="-", id="charts.rougher"),
        Binding("y", "log", "Log y", tooltip="Logarithmic y axis", id="charts.log"),
        Binding("w", "raw", "Raw", show=False, tooltip="Raw line", id="charts.raw"),
    ]  # fmt: skip

    class Moved(Message):
        """Another part of the run is seen: it may be read in detail."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._of: str | None = None
        self._plots: list[Plot] = []
        self._empty = ""
        self._notes: tuple[Span, ...] = ()
        self._look = Look()
        self._window = Window()
        self._cursor: float | None = None
        self._asked = 0.0  # when another part was asked for
        self._coming: list[Plot] = []  # with the points that came since
        self._taken = 0.0  # when the plots were taken over last
        self._next: Timer | None = None  # when it is drawn next, where points came since
        self._chosen = 0
        self._large = False
        self._frames: dict[int, tuple[object, Frame]] = {}
        self._grid: list[list[int]] = []
        self._cell = Size(0, 0)
        self._head: list[Span] = []
        self._read: list[list[Span]] = []

    def fill(self, plots: Sequence[Plot], empty: str, of: str | None = None, notes: Sequence[Span] = ()) -> None:
        """Show plots; `empty` is said where there are none.

        Args:
            of: the run they are of. Another one is seen whole again, without a cursor.
            notes: what stands above them, wrapped.
        """
        other = of != self._of
        if other:
            self._of, self._window, self._cursor = of, Window(), None
        # A key was answered with what there was: what it asked for is drawn when it comes.
        same = not other and time.monotonic() - self._asked > _CALM
        same = same and tuple(notes) == self._notes and _lines(plots) == _lines(self._plots)
        self._coming = list(plots)
        if same and plots:
            # More points of the same run: once a second is often enough, and half the work of twice.
            if self._next is None:
                self._next = self.set_timer(max(0.001, self._taken + _CALM - time.monotonic()), self._points_came)
            return
        self._empty, self._notes = empty, tuple(notes)
        self._chosen = min(self._chosen, max(0, len(plots) - 1))
        self._take()

    def _points_came(self) -> None:
        self._next = None
        self._take()

    def _take(self) -> None:
        """Draw what came last. A key that moves something else does not wait for that."""
        self._plots, self._taken = self._coming, time.monotonic()
        self.show()

    @property
    def wanted(self) -> tuple[int, int | None] | None:
        """The steps that are wanted in detail."""
        return self._window.to_read(self._newest)

    @property
    def seen(self) -> tuple[float, float] | None:
        """The part of the run that is seen; None for all of it."""
        return self._window.seen(self._newest)

    @property
    def _newest(self) -> float:
        """The newest step of the run in hand."""
        lines = (line for plot in self._plots for line in plot.lines if not line.tag and line.points)
        return max((line.points[-1].x for line in lines), default=0.0)

    @property
    def _ascii(self) -> bool:
        return bool(getattr(self.app, "ascii", False))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "put_away":
            return self._cursor is not None
        if action in ("pan", "whole"):
            return bool(self._window.width)
        return True

    def prepare(self, size: Size) -> None:
        """Lay out the grid; draw what changed."""
        self._head = [
            (" " + line, role) for text, role in self._notes for line in wrap(one_line(text, 600), size.width - 2)
        ][: max(0, size.height // 3)]
        view = View(self.seen, self._cursor)
        below = 0
        if self._cursor is not None and self._plots:
            below = min(1 + len(self._plots[self._chosen].lines), size.height // 3)
        room = Size(size.width, max(0, size.height - len(self._head) - below))
        shown = self._fitting(room)
        columns = max(1, min(len(shown), room.width // _LEAST_WIDTH))
        rows = max(1, -(-len(shown) // columns))
        self._grid = [shown[row * columns : (row + 1) * columns] for row in range(rows)]
        self._cell = Size((room.width - columns + 1) // columns, room.height // rows)
        for index in shown:
            key = (self._plots[index], self._look, view, self._cell, self._ascii)
            known = self._frames.get(index)
            if known is None or known[0] != key:
                frame = draw(self._plots[index], self._look, *self._cell, view, ascii=self._ascii)
                self._frames[index] = key, frame
        self._read = self._readout(size.width)[:below] if below else []

    def _fitting(self, size: Size) -> list[int]:
        """The charts that are shown: those that fit, moved on so that the chosen one is among them."""
        if self._large and self._plots:
            return [self._chosen]
        columns, rows = max(1, size.width // _LEAST_WIDTH), max(1, size.height // _LEAST_HEIGHT)
        room = columns * rows
        first = max(0, self._chosen - room + 1)
        return list(range(first, min(len(self._plots), first + room)))

    def row(self, y: int, width: int) -> Sequence[Span]:
        if y < len(self._head):
            return [self._head[y]]
        y -= len(self._head)
        if not self._plots:
            return self.message(self._empty, y, width)
        band, inner = divmod(y, max(1, self._cell.height))
        if band < len(self._grid):
            spans: list[Span] = []
            for index in self._grid[band]:
                if spans:
                    spans.append((" ", ""))
                for text, role in self._frames[index][1].spans(inner):
                    chosen = role == "title" and index == self._chosen and self.has_focus
                    spans.append((text, "here" if chosen else role))
            return spans
        line = y - (self.size.height - len(self._head) - len(self._read))
        return self._read[line] if 0 <= line < len(self._read) else []

    def _readout(self, width: int) -> list[list[Span]]:
        """What the lines of the chosen chart say where the cursor stands, a row each."""
        plot, axis = self._plots[self._chosen], self._frames[self._chosen][1].axis
        if axis is None or self._cursor is None:
            return []
        read = readings(plot, self._look, axis, self._cursor)
        rows: list[list[Span]] = []
        named = min(20, width // 6)
        for each in read:
            mark = each.line.tag or each.line.mark or " "
            label = f"{mark} {each.line.label or plot.title}"
            rows.append(
                [
                    (f" {label[:2]}{one_line(label[2:], named):{named}} ", each.role),
                    (f"{each.mean:>11.6g}  ", "title"),
                    (one_line(self._range(each, told=each[2:4] == read[0][2:4]), max(1, width - named - 18)), "dim"),
                ]
            )
        words = f"{plot.title} at step {_steps(read[0]) if read else f'{self._cursor:.0f}'}"
        return [[(" " + one_line(words, width - 1), "accent")], *rows]

    def _range(self, reading: Reading, *, told: bool) -> str:
        """How far the values reach that are drawn there, their average, and where that is, unless it is told."""
        words = []
        if reading.last > reading.first:
            words.append(f"{reading.low:.6g} to {reading.high:.6g}")
        if reading.line.smooth and self._look.smoothing:
            words.append(f"smoothed {reading.smoothed:.6g}")
        return "  ".join(words if told else [*words, f"step {_steps(reading)}"])

    # Keys

    def action_choose(self, by: int) -> None:
        if self._plots:
            self._chosen = (self._chosen + by) % len(self._plots)
            self.show()

    def action_large(self) -> None:
        self._large = not self._large
        self.show()

    def action_cursor(self, by: int) -> None:
        """Move the cursor by columns of dots, by a step where a step is wider than that."""
        axis = self._axis()
        if axis is None:
            return
        if self._cursor is None:
            self._cursor = min(self._newest, axis.end)  # beginning at the newest values
        else:
            width = (axis.end - axis.start) / max(1, axis.dots - 1)
            self._place(self._cursor + by * max(1.0, width))
        self._looked()

    def action_edge(self, last: int) -> None:
        axis = self._axis()
        if axis is not None:
            self._place(axis.end if last else axis.start)
            self._looked()

    def action_put_away(self) -> None:
        self._cursor = None
        self._looked()

    def action_zoom(self, factor: float) -> None:
        if self._plots:
            whole, newest = self._plots[0].end, self._newest
            self._moved(self._window.zoomed(factor, whole, newest, self._cursor))

    def action_whole(self) -> None:
        self._moved(Window())

    def action_pan(self, by: int) -> None:
        self._moved(self._window.panned(by, self._newest))

    def action_smooth(self, by: int) -> None:
        index = min(max(_SMOOTHINGS.index(self._look.smoothing) + by, 0), len(_SMOOTHINGS) - 1)
        self._change(replace(self._look, smoothing=_SMOOTHINGS[index]))
        self.notify(f"smoothing {self._look.smoothing:g}" if self._look.smoothing else "smoothing off", timeout=2)

    def action_log(self) -> None:
        self._change(replace(self._look, log=not self._look.log))

    def action_raw(self) -> None:
        self._change(replace(self._look, raw=not self._look.raw))

    def on_click(self, event: events.Click) -> None:
        """A click on a chart chooses it and puts the cursor there."""
        band = (event.y - len(self._head)) // max(1, self._cell.height)
        column = event.x // (self._cell.width + 1)
        if not (0 <= band < len(self._grid) and column < len(self._grid[band])):
            return
        self._chosen = self._grid[band][column]
        frame, axis = self._frames[self._chosen][1], self._axis()
        inside = event.x - column * (self._cell.width + 1) - frame.left
        if axis is not None and inside >= 0:
            self._place(axis.x(inside if self._ascii else inside * 2))
        self._looked()

    def _axis(self) -> Axis | None:
        """The x axis of the chosen chart as it is drawn."""
        known = self._frames.get(self._chosen) if self._plots else None
        return known[1].axis if known else None

    def _place(self, x: float) -> None:
        """Put the cursor at a step, and the window where it is seen."""
        self._cursor = min(max(0.0, round(x)), self._newest)
        self._window = self._window.reaching(self._cursor, self._newest)

    def _looked(self) -> None:
        self._asked = time.monotonic()
        self.show()
        self.refresh_bindings()
        self.post_message(self.Moved())

    def _moved(self, window: Window) -> None:
        if window != self._window:
            self._window = window
            self._looked()

    def _change(self, look: Look) -> None:
        self._look = look
        self.show()


def _lines(plots: Sequence[Plot]) -> list[tuple[str, tuple[str, ...]]]:
    return [(plot.title, tuple(line.label for line in plot.lines)) for plot in plots]


def _steps(reading: Reading) -> str:
    first, last = round(reading.first), round(reading.last)
    return str(first) if first == last else f"{first} to {last}"
