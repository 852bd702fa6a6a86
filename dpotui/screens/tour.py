"""What to know before the first key, in five lines; any key closes it and does what it does."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from dpotui.screens.dialogs import DIALOG_CSS, text
from dpotui.screens.modal import Modal

LINES = (
    "1 to 8 are the modes: Plan holds the checklists, Stage the runs.",
    "space ticks an item, v fills its blank, g starts what measures it.",
    "A run goes on when you leave, and when the line drops.",
    "^p finds anything by name, ^o jumps, / finds here, tab turns panes.",
    "? names every key that works where you are; q leaves.",
)


class Tour(Modal[None]):
    DEFAULT_CSS = DIALOG_CSS.format(name="Tour", width=78)
    BINDINGS: ClassVar[list[BindingType]] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "A first look"
            box.border_subtitle = "any key goes on"
            for line in LINES:
                yield text(line)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        if self.is_current:  # keys that came fast are here after it is gone
            self.dismiss()
        if event.key not in ("escape", "enter"):
            # What was pressed was meant for the screen below.
            self.app.call_later(self.app.simulate_key, event.key)
