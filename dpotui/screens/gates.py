"""Gates: all of them, stage by stage, what the chosen one rests on, and how it came to be what it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget

from core.errors import UserError
from core.store import facts
from dpotui import cards
from dpotui.live import Snapshot
from dpotui.offers import offer_for
from dpotui.screens.mode import ModeScreen
from dpotui.widgets import gates
from dpotui.widgets.card import Card
from dpotui.widgets.find import FindBar
from dpotui.widgets.gate_history import GateHistory
from dpotui.widgets.gates import GateTable
from dpotui.widgets.table import Table

if TYPE_CHECKING:
    from core.gates import GateResult, Kept

# What `f` narrows the list to, one after the other.
_SHOWN = {"": ("PASS", "FAIL", "STALE", "UNKNOWN"), "FAIL": ("FAIL",), "not PASS": ("FAIL", "STALE", "UNKNOWN")}


class GatesScreen(ModeScreen):
    MODE = "Gates"
    PANES = (("Gates", "gates"), ("Details", "gate"), ("History", "history"))
    DEFAULT_CSS = """
    GatesScreen {
        &.-wide > #panes { layout: grid; grid-size: 2 2; grid-columns: 2fr 3fr; grid-rows: 1fr 22; }
        &.-wide #gates { column-span: 2; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "measure", "Measure", tooltip="Start what measures this gate", id="list.measure"),
        Binding("c", "config", "Target", tooltip="Open the configuration that holds its target", id="list.config"),
        Binding("f", "only", "Failing", tooltip="Only FAIL, then only not PASS, then all", id="list.failing"),
        Binding("d", "data", "Data", tooltip="The data that was measured", id="list.data"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._text = ""
        self._only = ""

    def panes(self) -> Iterable[Widget]:
        return GateTable(), Card(), GateHistory()

    @property
    def table(self) -> GateTable:
        return self.query_one(GateTable)

    def _result(self) -> GateResult | None:
        """Of the gate under the cursor."""
        snapshot = self.bench.snapshot if self.is_mounted else None
        key = self.table.key if snapshot else None
        return next((r for r in snapshot.gates if gates.key(r) == key), None) if snapshot else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("data", "measure", "config"):
            result = self._result()
            if action == "data":
                return result is not None and result.gate.fact.startswith("data.")
            return result is not None
        return super().check_action(action, parameters)

    def fill(self, snapshot: Snapshot) -> None:
        shown = [r for r in snapshot.gates if r.verdict in _SHOWN[self._only] and self._found(r)]
        empty = f"no gate is {self.narrowed()}" if self.narrowed() else snapshot.problem or gates.NOTHING
        if not snapshot.judged:
            empty = "reading …"
        self.table.fill_gates(shown, snapshot.time, grouped=True, empty=empty, problem=snapshot.problem)
        self.table.border_subtitle = gates.tally(snapshot.gates)
        self._gate()

    def _found(self, result: GateResult) -> bool:
        words = f"{result.verdict} {result.gate.title} {result.gate.fact} {result.run}"
        return self._text.casefold() in words.casefold()

    def narrowed(self) -> str:
        return " ".join(filter(None, (self._only, f"'{self._text}'" if self._text else "")))

    def _gate(self) -> None:
        """What is told of the gate under the cursor."""
        snapshot, result = self.bench.snapshot, self._result()
        card, past = self.query_one(Card), self.query_one(GateHistory)
        if snapshot is not None and result is not None:
            from core.gates import history  # long read where there are results of it

            kept = history(self.bench.db, result.gate.stage, result.gate.name)
            card.fill(cards.of_gate(result, snapshot.time, _since(result, kept)), gates.key(result))
            past.fill_history(result.gate, kept)
            past.border_subtitle = f"{len(kept)} verdicts" if len(kept) > 1 else ""
        else:
            card.fill([])
            past.fill_history(None, [])
        self.refresh_bindings()

    @on(Table.Moved)
    def _moved(self, event: Table.Moved) -> None:
        if event.table is self.table:
            self._gate()

    @on(Table.Chosen)
    async def _chosen(self, event: Table.Chosen) -> None:
        if event.table is self.table:
            self.pane = "gate"
            return
        run = self.query_one(GateHistory).run
        if run is None:
            self.bench.say("no run measured that: it was recorded from outside", "warning")
            return
        try:
            await self.bench.open_run(run)
        except UserError as error:
            self.bench.say(str(error), "error")

    @on(FindBar.Changed)
    def _find(self, event: FindBar.Changed) -> None:
        self._text = event.text
        self.refresh_all()

    # What the keys do

    def action_only(self) -> None:
        choices = list(_SHOWN)
        self._only = choices[(choices.index(self._only) + 1) % len(choices)]
        self.refresh_all()

    @work(group="gate", exit_on_error=False)
    async def action_measure(self) -> None:
        result = self._result()
        offer = offer_for(result.gate.fact) if result else None
        if offer is None:
            self.bench.say("nothing that can be started here measures it", "warning")
        elif offer.action is not None:
            self.bench.start_run(offer.action)
        elif offer.stage is not None:
            await self.bench.open_stage(offer.stage)
        else:
            self.bench.say(f"what brings it about {offer.words}", "warning")

    @work(group="gate", exit_on_error=False)
    async def action_config(self) -> None:
        result = self._result()
        if result is not None:
            await self.bench.open_config(self.bench.workspace.configs / result.gate.file)

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


def _since(result: GateResult, kept: list[Kept]) -> float:
    """When the gate came to the verdict that it has; 0 where that is not known."""
    since = 0.0
    for one in kept:
        if one.verdict != result.verdict:
            break
        since = one.time
    return since
