"""Gates: all of them, stage by stage, and what the chosen one rests on."""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.widget import Widget

from dpotui import cards
from dpotui.live import Snapshot
from dpotui.screens.mode import ModeScreen
from dpotui.widgets import gates
from dpotui.widgets.card import Card
from dpotui.widgets.find import FindBar
from dpotui.widgets.gates import GateTable
from dpotui.widgets.table import Table


class GatesScreen(ModeScreen):
    MODE = "Gates"
    PANES = (("Gates", "gates"), ("Details", "gate"))
    DEFAULT_CSS = """
    GatesScreen {
        &.-wide #gates { height: 1fr; }
        &.-wide #gate { height: 15; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._text = ""

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
        snapshot, key = self.bench.snapshot, self.query_one(GateTable).key
        result = next((r for r in snapshot.gates if gates.key(r) == key), None) if snapshot else None
        card = self.query_one(Card)
        if snapshot is not None and result is not None:
            card.fill(cards.of_gate(result, snapshot.time), gates.key(result))
        else:
            card.fill([])

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
