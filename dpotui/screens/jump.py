"""Jump: a letter over every pane and mode, a digit for every stage; one key goes there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Offset
from textual.widgets import Static

from dpotui.screens.modal import Modal
from dpotui.stages import STAGES
from dpotui.widgets.status import MODES, Tabs

if TYPE_CHECKING:
    from dpotui.screens.mode import ModeScreen

# Letters of the modes are in their names; panes get the rest, the home row first.
MODE_LETTERS = dict(zip(MODES.values(), "psgrdche", strict=True))
_PANE_LETTERS = "fjklauiotwnmbvxyz"
_HINT = " jump: a letter, 0-7 a stage, esc stays "


class Target(NamedTuple):
    letter: str
    at: Offset
    kind: str  # mode or pane
    name: str  # of the mode, or the pane's id


def targets(screen: ModeScreen) -> list[Target]:
    """Where one can jump to from a screen as it stands."""
    tabs = screen.query_one(Tabs)
    row = tabs.region.offset
    found = [
        Target(MODE_LETTERS[name], row + Offset(x, 0), "mode", name) for x, kind, name in tabs.places if kind == "mode"
    ]
    letters = iter(_PANE_LETTERS)
    named = {title: x for x, kind, title in tabs.places if kind == "pane"}
    for title, id_ in screen.panes_here:
        widget = screen.query_one(f"#{id_}")
        if title in named:
            # In the blank before the name.
            found.append(Target(next(letters), row + Offset(named[title] - 1, 0), "pane", id_))
        elif widget.display and widget.region:
            found.append(Target(next(letters), widget.region.offset + Offset(2, 0), "pane", id_))
    return found


class Jump(Modal[Target | int | None]):
    """Gives back where to, the number of a stage, or None."""

    DEFAULT_CSS = """
    Jump {
        background: transparent;
        & > Static {
            position: absolute; width: auto; height: 1; background: $accent; color: $background; text-style: bold;
        }
    }
    """

    def __init__(self, found: Sequence[Target]) -> None:
        super().__init__()
        self._found = {target.letter: target for target in found}

    def compose(self) -> ComposeResult:
        for target in self._found.values():
            label = Static(Content(target.letter))
            label.styles.offset = (target.at.x, target.at.y)
            yield label
        hint = Static(Content(_HINT))
        hint.styles.offset = (0, max(0, self.app.size.height - 1))
        yield hint

    def on_key(self, event: events.Key) -> None:
        event.stop()
        if not self.is_current:
            return
        if event.key in self._found:
            self.dismiss(self._found[event.key])
        elif event.key.isdigit() and int(event.key) < len(STAGES):
            self.dismiss(int(event.key))
        else:
            self.dismiss(None)
