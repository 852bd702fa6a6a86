"""Plan: all checklists as one tree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widget import Widget

from core.checklist import Item
from dpotui.live import Snapshot
from dpotui.offers import offer_of
from dpotui.screens.ticking import TicksItems
from dpotui.widgets.card import Card
from dpotui.widgets.checklist import ChecklistTree, Verb
from dpotui.widgets.find import FindBar


class PlanScreen(TicksItems):
    MODE = "Plan"
    PANES = (("Checklists", "checklists"), ("Details", "item"))
    # What the tree does with an item works beside its details, too.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "item('tick')", "Tick", id="item.tick"),
        Binding("v", "item('value')", "Value", id="item.value"),
        Binding("n", "item('note')", "Note", id="item.note"),
        Binding("e", "item('evidence')", "Evidence", tooltip="Attach a file, a run or a fact", id="item.evidence"),
        Binding("u", "undo_last", "Undo", tooltip="Take the newest change back", id="item.undo"),
        Binding("o", "open(1)", "Next open", id="item.next-open"),
        Binding("O", "open(-1)", "Last open", show=False, tooltip="The open item before", id="item.last-open"),
        Binding("g", "start_here", "Go", tooltip="Start what measures it, or go where it is done", id="item.go"),
    ]
    DEFAULT_CSS = """
    PlanScreen {
        &.-wide > #panes { layout: horizontal; }
        &.-wide #checklists { width: 3fr; }
        &.-wide #item { width: 2fr; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._live: str | None = None  # the run whose stage was unfolded

    def panes(self) -> Iterable[Widget]:
        return ChecklistTree(), Card()

    @property
    def checklist(self) -> ChecklistTree:
        return self.query_one(ChecklistTree)

    def fill(self, snapshot: Snapshot) -> None:
        self.checklist.fill(snapshot.roots, snapshot.states, snapshot.time, _branch(snapshot), snapshot.problem)
        live = snapshot.live.id if snapshot.live is not None else None
        if snapshot.roots and live != self._live:
            self._live = live
            if live is not None:
                self.checklist.unfold(_branch(snapshot))
        self._item()

    def narrowed(self) -> str:
        return self.checklist.filter_words

    def show_item(self, item: Item) -> None:
        self.pane = "item"

    def open_item(self, item_id: str) -> None:
        self.pane = "checklists"
        self.checklist.select(item_id)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "start_here":
            item = self.checklist.item if self.is_mounted else None
            return item is not None and offer_of(item) is not None
        return super().check_action(action, parameters)

    def action_item(self, verb: Verb) -> None:
        self.checklist.action_ask(verb)

    def action_undo_last(self) -> None:
        self.undo()

    def action_open(self, way: int) -> None:
        self.checklist.action_open(way)

    def action_start_here(self) -> None:
        if (item := self.checklist.item) is not None:
            self.follow_offer(item)

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
        self._tabs()


def _branch(snapshot: Snapshot) -> list[str]:
    """The stage at which the work stands, with all below it."""
    return [item.id for root in snapshot.roots if root.stage == snapshot.stage for item in root.walk()]
