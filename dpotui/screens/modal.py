"""A screen over others that is closed once, whatever is typed while it closes."""

from __future__ import annotations

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, ScreenResultType


class Modal(ModalScreen[ScreenResultType]):
    """Textual takes a dialog from the stack a moment after it was dismissed: another key in that moment would dismiss
    it again, or the screen below it."""

    _given_back = False

    @property
    def given_back(self) -> bool:
        """Whether it is on its way out: its widgets may be gone."""
        return self._given_back

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        if self._given_back:
            return AwaitComplete()
        self._given_back = True
        return super().dismiss(result)
