"""Choose one of a few: a dialog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content

from core.text import printable
from dpotui.screens.dialogs import DIALOG_CSS
from dpotui.screens.modal import Modal
from dpotui.widgets.table import Column, Row, Table


class Pick(Modal[str | None]):
    """Gives back what was chosen."""

    DEFAULT_CSS = DIALOG_CSS.format(name="Pick", width=56) + "Pick Table { height: auto; max-height: 16; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Cancel", key_display="esc", id="pick.cancel"),
    ]

    def __init__(self, title: str, choices: Sequence[str], chosen: str) -> None:
        super().__init__()
        self._title, self._choices, self._chosen = title, choices, chosen

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(printable(self._title))
            box.border_subtitle = "enter choose · escape cancel"
            table = Table((Column(""),), "")
            table.styles.height = min(len(self._choices) + 1, 17)
            yield table

    def on_mount(self) -> None:
        table = self.query_one(Table)
        table.fill([Row(choice, ((choice, ""),)) for choice in self._choices])
        table.select(self._chosen)
        table.focus()

    @on(Table.Chosen)
    def _took(self, event: Table.Chosen) -> None:
        event.stop()
        self.dismiss(event.key)
