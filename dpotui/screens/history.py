"""Who changed what in the checklists, and when; one change of it can be taken back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from core.checklist import Item
from core.store import ticks
from core.store.ticks import Change
from dpotui import say
from dpotui.commands.checklist_view import told
from dpotui.screens.dialogs import Confirm
from dpotui.screens.modal import Modal
from dpotui.widgets.table import Column, Row, Table

if TYPE_CHECKING:
    from dpotui.app import Workbench

# Older ones are on the command line: 'dpotui checklist history'.
_MOST = 1000


class HistoryScreen(Modal[str | None]):
    """Gives back the id of the item that was chosen."""

    DEFAULT_CSS = """
    HistoryScreen {
        align: center middle;
        & > Table {
            width: 150; max-width: 95%; height: 80%; background: $surface; border: round $primary;
            border-title-color: $primary; border-title-style: bold; border-subtitle-color: $dim;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,H", "dismiss", "Close", key_display="esc", id="item.close"),
        Binding("u", "undo", "Undo", tooltip="Take this change back", id="item.undo-this"),
    ]

    def __init__(self, items: Mapping[str, Item]) -> None:
        super().__init__()
        self._items = items
        self._changes: dict[str, Change] = {}

    @property
    def _bench(self) -> Workbench:
        return cast("Workbench", self.app)

    @property
    def _wide(self) -> bool:
        return self.app.size.width >= 150

    def compose(self) -> ComposeResult:
        table = Table(_columns(self._wide), "nothing was ticked, filled or noted yet")
        table.border_title = "History"
        table.border_subtitle = "enter goes to the item · u takes this change back · escape close"
        yield table

    def on_mount(self) -> None:
        self._read()
        self.query_one(Table).focus()

    def _read(self) -> None:
        self._changes = {str(change.id): change for change in ticks.history(self._bench.db, limit=_MOST)}
        self.query_one(Table).fill([self._row(key, change) for key, change in self._changes.items()])

    def _row(self, key: str, change: Change) -> Row:
        item = self._items.get(change.item)
        role = "faint" if change.undone else "dim" if change.action.startswith(("undo ", "redo ")) else ""
        what = told(change) + (" (undone)" if change.undone else "")
        words = item.text if item else f"{change.item} (no longer in the files)"
        when = say.date(change.time)
        cells = (when if self._wide else when[5:], change.who, change.action, words, what)
        return Row(key, tuple((cell, role) for cell in cells))

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        event.stop()
        item = self._changes[event.key].item
        if item in self._items:
            self.dismiss(item)
        else:
            self._bench.say(f"{item} is no longer in the files", "warning")

    def action_undo(self) -> None:
        change = self._changes.get(self.query_one(Table).key or "")
        if change is None:
            return
        newest = ticks.newest(self._bench.db, change.item)
        if change.undone or change.action.startswith(("undo ", "redo ")):
            self._bench.say("that is taken back already" if change.undone else "U brings back what was undone last")
        elif newest is None or newest.id != change.id:
            self._bench.say(f"{change.item} was changed after that: take the newer change back first", "warning")
        elif change.who == self._bench.who:
            self._undo(change)
        else:
            question = f"{change.who}: {change.action} {change.item}\n{told(change)}"
            title = f"Take back what {change.who} did?"
            self.app.push_screen(Confirm(title, question), lambda yes: self._undo(change, yes))

    def _undo(self, change: Change, yes: bool | None = True) -> None:
        if yes:
            ticks.undo(self._bench.db, self._bench.who, change.item)
            self._bench.written()
            self._read()


def _columns(wide: bool) -> tuple[Column, ...]:
    return (
        Column("when", 16 if wide else 11),
        Column("who", 12 if wide else 7),
        Column("action", 14 if wide else 8),
        Column("item", 44 if wide else 18),
        Column("what"),
    )
