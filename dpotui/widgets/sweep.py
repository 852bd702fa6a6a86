"""What a sweep is shown by: a line of what is sought, the table of trials, the charts beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType

from dpotui import sweep_lines
from dpotui.roles import Span
from dpotui.widgets.lines import Lines
from dpotui.widgets.table import Column, Table

if TYPE_CHECKING:
    from core.experiments.sweep_standing import Standing


class SweepHead(Lines):
    """What is sought, how far it came, and the best."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._of: Standing | None = None

    def fill(self, of: Standing) -> None:
        self._of = of
        self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        if self._of is None:
            return []
        lines = sweep_lines.head(self._of, width)
        return lines[y] if y < len(lines) else []


class TrialTable(Table):
    """Columns of a sweep: known only when it was read."""

    def shape(self, columns: Sequence[Column]) -> None:
        if tuple(columns) != self._columns:
            self._columns = tuple(columns)
            self.remake()


class SweepCharts(Lines, can_focus=True):
    """Best so far, importances and parallel coordinates, as high as there is room for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="results.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="results.down"),
        Binding("pageup", "move(-10)", "Page up", show=False, id="results.page-up"),
        Binding("pagedown", "move(10)", "Page down", show=False, id="results.page-down"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._of: Standing | None = None
        self._chosen: int | None = None
        self._made: list[list[Span]] = []

    def fill(self, of: Standing, chosen: int | None) -> None:
        self._of, self._chosen = of, chosen
        self.show()

    def _make(self) -> None:
        width, height = self.size.width - 2, self.size.height
        self._made = []
        if self._of is not None and width > 20:
            shares = sweep_lines.importances(self._of, width)
            left = max(14, height - len(shares) - 7)
            chart = max(5, left * 2 // 5)
            self._made = [
                [("best so far", "dim")],
                *sweep_lines.best_so_far(self._of, width, chart),
                [],
                [("what made the difference (PED-ANOVA)", "dim")],
                *shares,
                [],
                [(self._named(), "dim")],
                *sweep_lines.parallel(self._of, width, max(9, left - chart), self._chosen),
            ]
        self.rows = len(self._made)
        self.top = min(self.top, self.last_top)
        super()._make()

    def _named(self) -> str:
        return "trials in parallel" + (f", trial {self._chosen} on top" if self._chosen is not None else "")

    def action_move(self, by: int) -> None:
        self.scroll_rows(self.top + by)

    def row(self, y: int, width: int) -> Sequence[Span]:
        return [(" ", ""), *self._made[y]] if y < len(self._made) else []
