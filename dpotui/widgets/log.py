"""The log of a run: follows its end until scrolled away from it, filtered by level and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from core.store.log import LEVELS, Level, Line
from core.text import one_line, printable
from dpotui import say
from dpotui.roles import Span
from dpotui.widgets.lines import Lines

_ROLES = {"debug": "dim", "info": "", "warning": "warn", "error": "bad"}
_WORDS = {"debug": "", "info": "", "warning": "WARNING ", "error": "ERROR "}
_SHOWN: tuple[Level, ...] = ("debug", "warning", "error")
# Rows of one line of log: a traceback is shown, a megabyte is not.
_ROWS = 60

Older = Callable[[int, Level, int], list[Line]]


class Log(Lines, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="log.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="log.down"),
        Binding("pageup", "move(-10)", "Page up", show=False, id="log.page-up"),
        Binding("pagedown", "move(10)", "Page down", show=False, id="log.page-down"),
        Binding("home", "move(-1000000)", "First line", show=False, id="log.first"),
        Binding("end,f", "follow", "Follow", id="log.follow"),
        Binding("l", "level", "Level", id="log.level"),
    ]

    def __init__(self, older: Older, *, id: str | None = None, classes: str | None = None) -> None:
        """`older`: brings lines of at least a level that stand before the one of this id, at most so many."""
        super().__init__(id=id, classes=classes)
        self._older = older
        self._lines: tuple[Line, ...] = ()
        self._rows: list[tuple[str, str, str]] = []  # time, text, role
        self._filter = ""
        self._level: Level = "debug"
        self._empty = ""
        self._following = True

    @property
    def state(self) -> str:
        """What the log shows, in words."""
        shown = "" if self._level == "debug" else f"{self._level} and above, "
        found = f"'{self._filter}', " if self._filter else ""
        return f"{shown}{found}{'following' if self._following else 'paused, end follows'}"

    def fill(self, lines: Sequence[Line], empty: str) -> None:
        if lines == self._lines and empty == self._empty:
            return
        self._lines, self._empty = tuple(lines), empty
        self._lay_out()

    def find(self, text: str) -> None:
        self._filter = text
        self._lay_out()

    def _lay_out(self) -> None:
        wanted = LEVELS[LEVELS.index(self._level) :]
        words = self._filter.casefold()
        self._rows = []
        for line in self._lines:
            if line.level not in wanted or words not in line.text.casefold():
                continue
            rows = printable(line.text[:20000]).split("\n")[:_ROWS]
            self._rows.append((say.clock(line.time), _WORDS[line.level] + rows[0], _ROLES[line.level]))
            self._rows += [("", row, _ROLES[line.level]) for row in rows[1:]]
        self.rows = len(self._rows)
        self.top = self.last_top if self._following else self.top
        self.show(self.rows)

    def on_resize(self) -> None:
        if self._following:
            self.top = self.last_top
        super().on_resize()

    def scroll_rows(self, top: int) -> None:
        self._following = top >= self.last_top
        super().scroll_rows(top)

    def row(self, y: int, width: int) -> Sequence[Span]:
        if not self._rows:
            return self.message(self._empty, y, width)
        if y >= len(self._rows):
            return []
        time, text, role = self._rows[y]
        indent = "" if time else " " * (len(text) - len(text.lstrip()))
        return [(f" {time:8} ", "dim"), (indent + one_line(text, width - 10 - len(indent)), role)]

    def action_move(self, by: int) -> None:
        self.scroll_rows(self.top + by)

    def action_follow(self) -> None:
        self.scroll_rows(self.last_top)

    def action_level(self) -> None:
        self._level = _SHOWN[(_SHOWN.index(self._level) + 1) % len(_SHOWN)]
        self._lay_out()
        self.notify("all lines" if self._level == "debug" else f"{self._level} and above", timeout=2)
