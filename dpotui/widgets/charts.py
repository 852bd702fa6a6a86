"""The charts of a run side by side: as many as the room holds, one of them chosen, one of them large when asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size

from dpotui.roles import Span
from dpotui.widgets.canvas import Frame
from dpotui.widgets.lines import Lines
from dpotui.widgets.plot import Look, Plot, draw

# The least room in which a chart says something.
_LEAST_WIDTH, _LEAST_HEIGHT = 36, 8
_SMOOTHINGS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)


class Charts(Lines, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", "Last chart", show=False, id="charts.up"),
        Binding("down,j", "choose(1)", "Next chart", show=False, id="charts.down"),
        Binding("enter,m", "zoom", "Zoom", id="charts.zoom"),
        Binding("plus,equals_sign", "smooth(1)", "Smooth", key_display="+", tooltip="Smoother", id="charts.smoother"),
        Binding("minus", "smooth(-1)", "Rougher", show=False, key_display="-", id="charts.rougher"),
        Binding("y", "log", "Log y", tooltip="Logarithmic y axis", id="charts.log"),
        Binding("w", "raw", "Raw", show=False, tooltip="Raw line", id="charts.raw"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._plots: list[Plot] = []
        self._empty = ""
        self._look = Look()
        self._chosen = 0
        self._zoomed = False
        self._frames: dict[int, tuple[Plot, Look, Frame]] = {}
        self._grid: list[list[int]] = []
        self._cell = Size(0, 0)

    def fill(self, plots: Sequence[Plot], empty: str) -> None:
        self._plots, self._empty = list(plots), empty
        self._chosen = min(self._chosen, max(0, len(plots) - 1))
        self.show()

    def prepare(self, size: Size) -> None:
        """Lay out the grid; draw what changed."""
        shown = self._window(size)
        columns = max(1, min(len(shown), size.width // _LEAST_WIDTH))
        rows = max(1, -(-len(shown) // columns))
        self._grid = [shown[row * columns : (row + 1) * columns] for row in range(rows)]
        self._cell = Size((size.width - columns + 1) // columns, size.height // rows)
        for index in shown:
            key = (self._plots[index], self._look)
            known = self._frames.get(index)
            if known is None or known[:2] != key or (known[2].width, known[2].height) != self._cell:
                self._frames[index] = (*key, draw(*key, self._cell.width, self._cell.height))

    def _window(self, size: Size) -> list[int]:
        """The charts that are shown: those that fit, moved on so that the chosen one is among them."""
        if self._zoomed and self._plots:
            return [self._chosen]
        columns, rows = max(1, size.width // _LEAST_WIDTH), max(1, size.height // _LEAST_HEIGHT)
        room = columns * rows
        first = max(0, self._chosen - room + 1)
        return list(range(first, min(len(self._plots), first + room)))

    def row(self, y: int, width: int) -> Sequence[Span]:
        if not self._plots:
            return self.message(self._empty, y, width)
        band, inner = divmod(y, max(1, self._cell.height))
        if band >= len(self._grid):
            return []
        spans: list[Span] = []
        for index in self._grid[band]:
            if spans:
                spans.append((" ", ""))
            for text, role in self._frames[index][2].spans(inner):
                chosen = role == "title" and index == self._chosen and self.has_focus
                spans.append((text, "here" if chosen else role))
        return spans

    def action_choose(self, by: int) -> None:
        if self._plots:
            self._chosen = (self._chosen + by) % len(self._plots)
            self.show()

    def action_zoom(self) -> None:
        self._zoomed = not self._zoomed
        self.show()

    def action_smooth(self, by: int) -> None:
        index = min(max(_SMOOTHINGS.index(self._look.smoothing) + by, 0), len(_SMOOTHINGS) - 1)
        self._change(replace(self._look, smoothing=_SMOOTHINGS[index]))
        self.notify(f"smoothing {self._look.smoothing:g}" if self._look.smoothing else "smoothing off", timeout=2)

    def action_log(self) -> None:
        self._change(replace(self._look, log=not self._look.log))

    def action_raw(self) -> None:
        self._change(replace(self._look, raw=not self._look.raw))

    def _change(self, look: Look) -> None:
        self._look = look
        self.show()
