"""The keys that work here and now, on one line; what does not fit is under `?`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from textual import events
from textual.screen import Screen

from dpotui.roles import Span
from dpotui.screens.names import key_name
from dpotui.widgets.lines import Lines

# Always there, at the end.
_PINNED = ("screen.next-pane", "app.keys", "app.leave")
# In which order the rest deserves room.
_ORDER = ("item", "pair", "config", "list", "data", "runs", "run", "charts", "log", "screen", "app")


class _Key(NamedTuple):
    name: str
    words: str
    press: str  # the key to send when it is clicked

    @property
    def width(self) -> int:
        return cell_len(self.name) + cell_len(self.words) + 3


class Keys(Lines):
    DEFAULT_CSS = "Keys { height: 1; dock: bottom; background: $surface; }"

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[_Key] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def on_unmount(self) -> None:
        self.screen.bindings_updated_signal.unsubscribe(self)

    def _changed(self, screen: Screen[object]) -> None:
        if screen is self.screen:
            self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        self._shown = self._fitting(width)
        spans: list[Span] = []
        for key in self._shown:
            spans += [(" ", ""), (key.name, "key"), (f" {key.words} ", "dim")]
        return spans

    def _fitting(self, width: int) -> list[_Key]:
        found: dict[str, tuple[tuple[int, int], _Key]] = {}
        pinned: dict[str, _Key] = {}
        for index, active in enumerate(self.screen.active_bindings.values()):
            binding = active.binding
            if not binding.show or not active.enabled or binding.id is None:
                continue
            key = _Key(binding.key_display or key_name(binding.key), binding.description, binding.key)
            if binding.id in _PINNED:
                pinned.setdefault(binding.id, key)
                continue
            owner = binding.id.split(".")[0]
            rank = _ORDER.index(owner) if owner in _ORDER else len(_ORDER)
            # The first of several keys of one action is the one that is shown.
            found.setdefault(binding.id, ((rank, index), key))
        last = [pinned[id_] for id_ in _PINNED if id_ in pinned]
        room = width - sum(key.width for key in last)
        fitting = []
        for _, key in sorted(found.values(), key=lambda entry: entry[0]):
            if key.width <= room:
                fitting.append(key)
                room -= key.width
            else:
                break
        return [*fitting, *last]

    def on_click(self, event: events.Click) -> None:
        x = 0
        for key in self._shown:
            x += key.width
            if event.x < x:
                self.app.simulate_key(key.press)
                return
