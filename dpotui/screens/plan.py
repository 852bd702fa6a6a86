"""Plan: all checklists as one tree."""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.widget import Widget

from core.checklist import Item
from dpotui.live import Snapshot
from dpotui.screens.ticking import TicksItems
from dpotui.widgets.card import Card
from dpotui.widgets.checklist import ChecklistTree
from dpotui.widgets.find import FindBar


class PlanScreen(TicksItems):
    MODE = "Plan"
    PANES = (("Checklists", "checklists"), ("Details", "item"))
    DEFAULT_CSS = """
    PlanScreen {
        &.-wide > #panes { layout: horizontal; }
        &.-wide #checklists { width: 3fr; }
        &.-wide #item { width: 2fr; }
    }
    """

    def panes(self) -> Iterable[Widget]:
        return ChecklistTree(), Card()

    @property
    def checklist(self) -> ChecklistTree:
        return self.query_one(ChecklistTree)

    def fill(self, snapshot: Snapshot) -> None:
        self.checklist.fill(snapshot.roots, snapshot.states, snapshot.time, _unfolded(snapshot))
        states = [snapshot.states[root.id] for root in snapshot.roots]
        done, total = sum(s.done for s in states), sum(s.total for s in states)
        failing, stale = sum(s.failing for s in states), sum(s.stale for s in states)
        words = [f"{done}/{total} done"] if total else []
        words += [f"{failing} FAIL"] if failing else []
        words += [f"{stale} STALE"] if stale else []
        self.checklist.border_subtitle = "  ".join(words)
        self._item()

    def narrowed(self) -> str:
        return self.checklist.filter_words

    def show_item(self, item: Item) -> None:
        self.pane = "item"

    def open_item(self, item_id: str) -> None:
        self.pane = "checklists"
        self.checklist.select(item_id)

    def _item(self) -> None:
        snapshot, item = self.bench.snapshot, self.checklist.item
        if snapshot is not None and item is not None and item.id in snapshot.states:
            self.query_one(Card).fill(self.card_of(item), item.id)

    @on(ChecklistTree.Looked)
    def _looked(self, event: ChecklistTree.Looked) -> None:
        event.stop()
        self._item()

    @on(FindBar.Changed)
    def _find(self, event: FindBar.Changed) -> None:
        self.checklist.find(event.text)


def _unfolded(snapshot: Snapshot) -> list[str]:
    """What is open at first: the stage at which the work stands."""
    return [item.id for root in snapshot.roots if root.stage == snapshot.stage for item in root.walk()]
