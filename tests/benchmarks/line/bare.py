"""Textual with as little around it as there can be: a list of a thousand lines, and one line that counts."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import OptionList, Static


class Bare(App[None]):
    BINDINGS = [("q", "quit", "Leave")]  # noqa: RUF012 - declared so by App

    def compose(self) -> ComposeResult:
        yield Static("0", id="step")
        yield OptionList(*(f"line {number}" for number in range(1000)))

    def on_mount(self) -> None:
        self.animation_level = "none"
        self._step = 0
        self.set_interval(0.5, self._count)

    def _count(self) -> None:
        self._step += 5
        self.query_one("#step", Static).update(str(self._step))


if __name__ == "__main__":
    Bare().run()
