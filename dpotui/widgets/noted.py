"""Lines that take every key themselves, in order, notes as they are typed, and the line that shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rich.cells import cell_len
from textual import events

from core.text import one_line
from dpotui.roles import Span
from dpotui.widgets.lines import Lines

_LONGEST_NOTE = 1000
_HINT = "enter keeps · esc does not "
_WHEEL = 3

S = TypeVar("S")


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

    def tell(self, rows: Sequence[Span]) -> None:
        """Show these rows in place of what is judged."""
        raise NotImplementedError

    def toggle_prompt(self) -> None:
        """All of the prompt, or its beginning."""
        raise NotImplementedError

    def move(self, rows: int) -> None:
        raise NotImplementedError

    def page_by(self, pages: int) -> None:
        raise NotImplementedError

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.move(_WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.move(-_WHEEL)

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


class NoteFoot(Lines, Generic[S]):
    """What is said of what is judged; a note as it is typed; what was done last."""

    def __init__(self) -> None:
        super().__init__()
        self._session: S | None = None
        self._words = ""
        self._typed: str | None = None

    def fill(self, session: S, words: str = "") -> None:
        self._session, self._words = session, words
        self.show()

    def type_note(self, typed: str | None) -> None:
        """Show a note as it is typed; None when that is over."""
        self._typed = typed
        self.show()

    def typed(self, note: str, width: int) -> Sequence[Span]:
        room = max(8, width - len(_HINT) - 8)
        # The end of a long one is what is being written.
        shown = one_line(note[-room:], room) + (" " if note.endswith(" ") else "")
        pad = width - 7 - cell_len(shown) - len(_HINT)
        return [(" note ", "key"), (shown, ""), ("▏", "accent"), (" " * max(0, pad), ""), (_HINT, "dim")]
