"""Lines that take every key themselves, in order, and notes as they are typed."""

from __future__ import annotations

from collections.abc import Callable

from textual import events

from dpotui.widgets.lines import Lines

_LONGEST_NOTE = 1000


class NotedLines(Lines, can_focus=True):
    """Takes all keys and answers each before it looks at the next one: over a slow line they come in bursts, and in the
    burst of a note no letter may be taken for a vote or a mark."""

    def __init__(self, noted: Callable[[str, bool | None], None]) -> None:
        """
        Args:
            noted: called at once with a note as it is typed (None), is kept (True) or thrown away (False).
        """
        super().__init__()
        self._noted = noted
        self.note: str | None = None  # as far as it is typed; None while none is

    async def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        if self.app.screen is not self.screen:  # a dialog was opened by a key before this one
            return
        if self.note is not None:
            self._type(event)
            return
        active = self.screen.active_bindings.get(event.key)
        if active is not None and active.enabled:
            await self.app.run_action(active.binding.action, active.node)

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        if self.note is not None:
            self._typed(self.note + " ".join(event.text.split()))

    def _type(self, event: events.Key) -> None:
        assert self.note is not None
        if event.key in ("enter", "escape"):
            text, self.note = self.note.strip(), None
            self._noted(text, event.key == "enter")
        elif event.key == "backspace":
            self._typed(self.note[:-1])
        elif event.key == "ctrl+w":
            self._typed(self.note.rstrip().rpartition(" ")[0])
        elif event.key == "ctrl+u":
            self._typed("")
        elif event.is_printable and event.character:
            self._typed(self.note + event.character)

    def _typed(self, text: str) -> None:
        self.note = text[:_LONGEST_NOTE]
        self._noted(self.note, None)
