"""Gauges: every reading of the machine on a line, and below them what it came to over the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size

from dpotui import gauge_lines
from dpotui.roles import Span
from dpotui.widgets.canvas import Frame
from dpotui.widgets.lines import Lines
from dpotui.widgets.plot import Look, Plot, draw

if TYPE_CHECKING:
    from core.monitor import Reading, Sample

# The least and the most lines of a chart, its least width, and how wide a pane must be for all of them at once.
_LOW, _HIGH, _NARROW, _SIDE_BY_SIDE = 7, 18, 40, 100
_LOOK = Look(smoothing=0.0, raw=False)
# The plot of a reading, by the end of its key.
_PLOT_OF = {"memory": "memory GB", "swap": "memory GB", "temperature": "temperature °C", "power": "power W"}


class Gauges(Lines, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", "Last value", show=False, id="charts.value-up"),
        Binding("down,j", "choose(1)", "Next value", show=False, id="charts.value-down"),
        Binding("enter,m", "zoom", "Zoom", tooltip="Its chart alone", id="charts.value-zoom"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._samples: Sequence[Sample] = ()
        self._readings: list[Reading] = []
        self._plots: list[Plot] = []
        self._chosen = 0
        self._zoomed = False
        self._first = 0  # the first reading in the window
        self._room = 0  # lines that readings take
        self._grid: list[list[Frame]] = []
        self._drawn: tuple[object, ...] = ()

    def fill(self, samples: Sequence[Sample], limits: Mapping[str, float]) -> None:
        """Show these. `limits`: the most that the value of a key should be."""
        self._samples = samples
        newest = samples[-1].shown() if samples else []
        self._readings = [replace(one, limit=one.limit or limits.get(one.key)) for one in newest]
        self._chosen = min(self._chosen, max(0, len(self._readings) - 1))
        self._plots = gauge_lines.plots(samples, limits)
        self._drawn = ()
        self.show()

    @property
    def _of_chosen(self) -> int:
        """The plot that the chosen reading is drawn in; the first one where it is in none."""
        if not self._readings:
            return 0
        key = self._readings[self._chosen].key.partition("#")[0]
        title = "GPU memory GB" if key == "gpu.memory" else _PLOT_OF.get(key.rpartition(".")[2], "use %")
        return next((index for index, plot in enumerate(self._plots) if plot.title == title), 0)

    def prepare(self, size: Size) -> None:
        count = len(self._readings)
        wide = size.width >= _SIDE_BY_SIDE and size.height >= count + _LOW + 1 and not self._zoomed
        if self._zoomed and self._plots:
            self._room = 0
        else:
            self._room = min(count, max(0, size.height - _LOW - 1)) if self._plots else min(count, size.height)
        # Where not all of them fit the window goes with the cursor.
        self._first = max(0, min(self._chosen - self._room // 2, count - self._room))
        key = (size, wide, self._zoomed, None if wide else self._of_chosen)
        if key == self._drawn:
            return
        self._drawn = key
        shown = self._plots if wide else self._plots[self._of_chosen : self._of_chosen + 1]
        top = self._room + 1 if self._room else 0
        self._grid = _grid(shown, size.width, size.height - top, bool(getattr(self.app, "ascii", False)))

    def row(self, y: int, width: int) -> Sequence[Span]:
        if not self._samples:
            return self.message("the machine is being looked at …", y, width)
        if y < self._room:
            return gauge_lines.spans(self._readings[self._first + y], width)
        y -= self._room + 1 if self._room else 0
        for frames in self._grid:
            if 0 <= y < frames[0].height:
                spans: list[Span] = []
                for frame in frames:
                    spans += [("  ", "")] if spans else []
                    spans += frame.spans(y)
                return spans
            y -= frames[0].height
        return []

    def base(self, y: int) -> Style:
        if y >= self._room or self._first + y != self._chosen or not self._samples:
            return self.palette.base
        return self.palette.base + self.palette.style("cursor" if self.has_focus else "cursor-idle")

    def action_choose(self, by: int) -> None:
        if self._readings:
            self._chosen = (self._chosen + by) % len(self._readings)
            self.show()

    def action_zoom(self) -> None:
        self._zoomed = not self._zoomed
        self.show()


def _grid(plots: Sequence[Plot], width: int, height: int, ascii: bool) -> list[list[Frame]]:
    """As many side by side as the width holds, all of the same size; those that do not fit are left out."""
    if not plots or height < 3:
        return []
    columns = max(1, min(len(plots), width // _NARROW))
    rows = max(1, min(-(-len(plots) // columns), height // _LOW))
    wide = (width - 2 * (columns - 1)) // columns
    shown = plots[: columns * rows]
    high = height // rows if len(plots) == 1 else min(_HIGH, height // rows)
    frames = [draw(plot, _LOOK, wide, high, ascii=ascii) for plot in shown]
    for frame in frames:
        frame.put(frame.width - 4, frame.height - 1, " min", "axis")
    return [frames[row * columns : (row + 1) * columns] for row in range(-(-len(frames) // columns))]
