"""A field of one line that answers its keys in the order in which they were pressed."""

from __future__ import annotations

from textual import events
from textual.widgets import Input


class Typed(Input):
    """Textual inserts a letter as soon as a field gets it, but looks a key such as backspace up only after it went
    all the way up to the program. Of keys that come in a burst, as over a slow line or pasted by a terminal, letters
    overtake those before them: backspace then takes back what was typed after it."""

    def __init__(self, value: str = "", placeholder: str = "", *, id: str | None = None) -> None:
        super().__init__(value, placeholder=placeholder, id=id)
        self.cursor_blink = False

    async def _on_key(self, event: events.Key) -> None:
        bindings = () if event.is_printable else self._bindings.key_to_bindings.get(event.key, ())
        for binding in bindings:
            event.stop()
            event.prevent_default()
            if await self.app.run_action(binding.action, self):
                return
