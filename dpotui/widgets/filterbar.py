"""The line in which one types an expression that finds runs, and below it what it finds or where it is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.widgets import Input, Static

from core.text import one_line
from dpotui.roles import Span
from dpotui.widgets.find import FindBar
from dpotui.widgets.lines import Lines

_HINT = 'such as kind=dpo state=failed kl<=0.1 beta>0.1 tag:good name~persona since:2d "words"; or, not, ( )'


class _Told(Lines):
    DEFAULT_CSS = "_Told { height: 1; dock: bottom; background: $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._words, self._wrong = _HINT, False

    def tell(self, words: str, wrong: bool) -> None:
        self._words, self._wrong = words, wrong
        self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        mark = " ! " if self._wrong else "   "
        return [(mark + one_line(self._words, width - 4), "bad" if self._wrong else "dim")]


class FilterBar(FindBar):
    DEFAULT_CSS = """
    FilterBar { &.-open { height: 2; } }
    """

    def compose(self) -> ComposeResult:
        yield from super().compose()
        yield _Told()

    def on_mount(self) -> None:
        self.query_one(Static).update("filter")
        self.query_one(Input).placeholder = "an expression; enter keeps, escape clears"

    def tell(self, words: str, *, wrong: bool = False) -> None:
        """Say what was found, or where the expression is wrong; "" says what can be typed."""
        self.query_one(_Told).tell(words or _HINT, wrong)
