"""Gates: all of them, stage by stage, and what the chosen one rests on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widget import Widget

from core.store import facts
from dpotui import cards
from dpotui.live import Snapshot
from dpotui.screens.mode import ModeScreen
from dpotui.widgets import gates
from dpotui.widgets.card import Card
from dpotui.widgets.find import FindBar
from dpotui.widgets.gates import GateTable
from dpotui.widgets.table import Table

if TYPE_CHECKING:
    from core.gates import GateResult


class GatesScreen(ModeScreen):
    MODE = "Gates"
    PANES = (("Gates", "gates"), ("Details", "gate"))
    DEFAULT_CSS = """
    GatesScreen {
        &.-wide #gates { height: 1fr; }
        &.-wide #gate { height: 15; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "data", "Data", tooltip="The data that was measured", id="list.data"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._text = ""

    def _result(self) -> GateResult | None:
        """Of the gate under the cursor."""
        snapshot = self.bench.snapshot if self.is_mounted else None
        key = self.query_one(GateTable).key if snapshot else None
        return next((r for r in snapshot.gates if gates.key(r) == key), None) if snapshot else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "data":
            result = self._result()
            return result is not None and result.gate.fact.startswith("data.")
        return super().check_action(action, parameters)

    async def action_data(self) -> None:
        """Browse what the fact of the gate was measured on."""
        from dpotui.browse.kinds import is_data

        result = self._result()
        fact = facts.latest(self.bench.db).get(result.gate.fact) if result else None
        names = [name for name in fact.inputs if is_data(Path(name).name)] if fact else []
        if names:
            await self.bench.open_data(self.bench.workspace.path(names[0]))
        else:
            self.bench.say("nothing was measured for this gate yet", "warning")

    def panes(self) -> Iterable[Widget]:
        return GateTable(), Card()

    def fill(self, snapshot: Snapshot) -> None:
        table = self.query_one(GateTable)
        words = self._text.casefold()
        shown = [r for r in snapshot.gates if words in f"{r.verdict} {r.gate.title} {r.gate.fact} {r.run}".casefold()]
        empty = f"no gate with '{self._text}' in it" if self._text else snapshot.problem or gates.NOTHING
        if not snapshot.judged:
            empty = "reading …"
        table.fill_gates(shown, snapshot.time, grouped=True, empty=empty)
        table.border_subtitle = gates.tally(snapshot.gates)
        self._gate()

    def narrowed(self) -> str:
        return f"'{self._text}'" if self._text else ""

    def _gate(self) -> None:
        snapshot, result = self.bench.snapshot, self._result()
        card = self.query_one(Card)
        if snapshot is not None and result is not None:
            card.fill(cards.of_gate(result, snapshot.time), gates.key(result))
        else:
            card.fill([])
        self.refresh_bindings()

    @on(Table.Moved)
    def _moved(self) -> None:
        self._gate()

    @on(Table.Chosen)
    def _chosen(self) -> None:
        self.pane = "gate"

    @on(FindBar.Changed)
    def _find(self, event: FindBar.Changed) -> None:
        self._text = event.text
        self.refresh_all()
