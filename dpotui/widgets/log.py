"""The log of a run: follows its end until one moves away from it; older lines come as they are asked for."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual import events, work
from textual.binding import Binding, BindingType

from core.errors import UserError
from core.store.log import Level, Line
from core.text import one_line, printable
from dpotui import say
from dpotui.log_pages import LogPages, Sieve, as_text
from dpotui.log_window import PAGE, Window
from dpotui.roles import Span
from dpotui.widgets import log_line
from dpotui.widgets.lines import Lines

_SHOWN: tuple[Level, ...] = ("debug", "warning", "error")


class Log(Lines, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="log.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="log.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="log.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="log.page-down"),
        Binding("home", "first", "First line", show=False, tooltip="To the first line of the run", id="log.first"),
        Binding("end,f", "follow", "Follow", id="log.follow"),
        Binding("enter", "whole", "Whole", tooltip="All of a line, folded ones too", id="log.whole"),
        Binding("l", "level", "Level", tooltip="All lines, warnings and above, errors", id="log.level"),
        Binding("n", "hit(1)", "Next hit", show=False, tooltip="The next line with what was found", id="log.next-hit"),
        Binding("N", "hit(-1)", "Last hit", show=False, tooltip="The one before, in all of the log", id="log.last-hit"),
        Binding("m", "only", "Hits only", show=False, tooltip="Only lines with what was found", id="log.only"),
        Binding("y", "copy(False)", "Copy", show=False, tooltip="Copy the line, where the terminal can", id="log.copy"),
        Binding("Y", "copy(True)", "Copy all seen", show=False, tooltip="Copy what is seen", id="log.copy-seen"),
        Binding("x", "write", "File", show=False, tooltip="Write the whole log to a file", id="log.write"),
    ]

    def __init__(self, pages: LogPages, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._pages = pages
        self._held = Window()
        self._first_rows: list[int] = []  # of each line that is held
        self._places: list[tuple[int, int]] = []  # of each row: its line and which of its rows
        self._topmost: int | None = None  # id of the line at the top of the window
        self._following = True
        self._cursor: int | None = None  # id of a line
        self._sought = ""
        self._pattern: re.Pattern[str] | None = None
        self._hits = 0  # lines of those that are held
        self._empty = ""
        self._wanted = 0  # raised when lines that were asked for are not wanted any more
        self._waiting = False

    @property
    def state(self) -> str:
        """What the log shows, in words."""
        words = [] if self._held.level == "debug" else [f"{self._held.level} and above"]
        if self._pattern is not None:
            only = "only " if self._held.pattern is not None else ""
            words.append(f"{only}'{one_line(self._sought, 24)}' {self._hits:,} here, n N")
        words.append("following" if self._following else "paused, end follows")
        return ", ".join([*words, *(["reading …"] if self._waiting else [])])

    @property
    def _sieve(self) -> Sieve:
        return Sieve(self._held.run or "", self._held.level, self._sought if self._held.pattern is not None else "")

    # What is held

    def fill(self, lines: Sequence[Line], empty: str) -> None:
        """The newest lines of a run, all in order; older ones are asked for when they are wanted."""
        held, run = self._held, lines[-1].run if lines else None
        if run == held.run and tuple(lines) == held.tail and empty == self._empty:
            return
        self._empty = empty
        if run != held.run:
            held.run, held.tail = run, tuple(lines)
            self._to_tail()
        else:
            held.grow(lines, following=self._following)
            self._lay_out()

    def _to_tail(self) -> None:
        """Show the end of the log, and follow it."""
        self._wanted += 1
        self._waiting = False
        self._held.to_tail()
        self._following, self._cursor = True, None
        self._lay_out()

    @work(group="log", exit_on_error=False)
    async def _bring(self, way: int) -> None:
        """Read a page before the first line that is held, or behind the last."""
        held, wanted, sieve = self._held, self._wanted, self._sieve
        first, last = held.first, held.last
        try:
            if way < 0:
                page = await asyncio.to_thread(self._pages.older, sieve, first, PAGE)
            else:
                page = await asyncio.to_thread(self._pages.newer, sieve, last, PAGE)
        except (UserError, sqlite3.Error, OSError) as error:
            self._failed(error)
            # It is not asked for again before something else is looked at.
            if way < 0:
                held.begun = True
            else:
                self._to_tail()
            return
        if wanted != self._wanted:
            return
        self._waiting = False
        # Meanwhile lines may have been let go, beside which these would leave a hole.
        if way < 0 and held.first == first:
            held.add_older(page)
        elif way > 0 and held.last == last:
            held.add_newer(page)
        self._lay_out()

    @work(group="log", exit_on_error=False)
    async def _show_around(self, id_: int) -> None:
        """Hold the lines around one, with the cursor on it or the next one that is shown."""
        self._wanted += 1
        wanted, sieve, self._waiting = self._wanted, self._sieve, True
        try:
            before = await asyncio.to_thread(self._pages.older, sieve, id_, PAGE)
            behind = await asyncio.to_thread(self._pages.newer, sieve, id_ - 1, PAGE)
        except (UserError, sqlite3.Error, OSError) as error:
            self._failed(error)
            return
        if wanted != self._wanted:
            return
        self._waiting = False
        self._held.put(before, behind)
        self._following = False
        nearest = self._held.lines[self._held.index(id_)] if self._held.lines else None
        self._cursor = nearest.id if nearest is not None else None
        self._lay_out()
        self._to_cursor(middle=True)

    @work(exclusive=True, group="log-find", exit_on_error=False)
    async def _find_beyond(self, way: int) -> None:
        """Look for the next hit in what is not held."""
        held, wanted = self._held, self._wanted
        sieve = Sieve(held.run or "", held.level, self._sought)
        self._waiting = True
        self.show()
        try:
            if way < 0:
                found = await asyncio.to_thread(self._pages.older, sieve, held.first, 1)
            else:
                found = await asyncio.to_thread(self._pages.newer, sieve, held.last, 1)
        except (UserError, sqlite3.Error, OSError) as error:
            self._failed(error)
            return
        if wanted != self._wanted:
            return
        self._waiting = False
        if found:
            self._show_around(found[0].id)
        else:
            self.show()
            self._no_more(way)

    def _failed(self, error: Exception) -> None:
        self._waiting = False
        self.notify(printable(str(error)), severity="error", markup=False)

    def _no_more(self, way: int) -> None:
        self.notify(f"no more of it {'above' if way < 0 else 'below'}", timeout=2)

    # What is shown

    def _lay_out(self) -> None:
        """Number the rows anew. What stands at the top of the window stays there, unless the end is followed."""
        inside = self.top < len(self._places) and self._places[self.top][1] != 0
        self._first_rows, self._places = [], []
        for index, line in enumerate(self._held.lines):
            self._first_rows.append(len(self._places))
            self._places += [(index, part) for part in log_line.parts(line)]
        self.rows = len(self._places)
        self._hits = sum(map(self._has, range(len(self._held.lines)))) if self._pattern is not None else 0
        self._set_head()
        if self._following:
            self.top = self.last_top
        elif self._topmost is not None and self._first_rows:
            self.top = min(self._first_rows[self._held.index(self._topmost)] + int(inside), self.last_top)
        self._moved()

    def _set_head(self) -> None:
        """A line that says what is shown stands above where that is not all of the end."""
        self.FIXED = int(self._held.level != "debug" or self._pattern is not None or not self._following)

    def _moved(self) -> None:
        """The window stands elsewhere, or over other rows."""
        self.show(self.rows)
        at_top = self._places[self.top][0] if self.top < len(self._places) else None
        self._topmost = self._held.lines[at_top].id if at_top is not None else None
        if self._waiting or not self.size or self._held.run is None:
            return
        # More is asked for where the window comes near an end of what is held.
        if not self._held.begun and self.top < self.page:
            self._waiting = True
            self._bring(-1)
        elif self._held.cut and self.top + 2 * self.page > self.rows:
            self._waiting = True
            self._bring(1)

    def on_resize(self) -> None:
        if self._following:
            self.top = self.last_top
        super().on_resize()
        self._moved()

    def scroll_rows(self, top: int) -> None:
        self._following = top >= self.last_top and not self._held.cut and self._cursor is None
        self._set_head()
        self.top = min(max(0, top), self.last_top)
        self._moved()

    def fixed(self, y: int, width: int) -> Sequence[Span]:
        return [(" " + one_line(self.state, width - 2), "dim")]

    def row(self, y: int, width: int) -> Sequence[Span]:
        if not self._places:
            return self.message(self._nothing(), y, width)
        if y >= len(self._places):
            return []
        index, part = self._places[y]
        return log_line.row(self._held.lines[index], part, width, self._pattern)

    def _nothing(self) -> str:
        if not self._held.tail:
            return self._empty
        if self._waiting or not self._held.begun:
            return "reading …"
        with_it = f" with '{self._sought}'" if self._held.pattern is not None else ""
        of = "" if self._held.level == "debug" else f" of {self._held.level} and above, l shows others"
        return f"no line{with_it}{of}"

    def base(self, y: int) -> Style:
        on_it = y < len(self._places) and self._held.lines[self._places[y][0]].id == self._cursor
        if not on_it:
            return self.palette.base
        return self.palette.base + self.palette.style("cursor" if self.has_focus else "cursor-idle")

    # Where one is

    def _here(self) -> int:
        """The place of the line in hand: under the cursor, else the last one that is seen."""
        if self._cursor is not None:
            return self._held.index(self._cursor)
        return self._places[min(self.top + self.page, len(self._places)) - 1][0]

    def _to_line(self, index: int, *, middle: bool = False) -> None:
        self._following = False
        self._cursor = self._held.lines[index].id
        self._set_head()
        self._to_cursor(middle=middle)

    def _to_cursor(self, *, middle: bool = False) -> None:
        if self._cursor is None or not self._held.lines:
            return
        index = self._held.index(self._cursor)
        first = self._first_rows[index]
        last = (self._first_rows[index + 1] if index + 1 < len(self._first_rows) else len(self._places)) - 1
        if middle and not self.top <= first <= last < self.top + self.page:
            self.scroll_rows(first - self.page // 2)
        elif first < self.top:
            self.scroll_rows(first)
        else:
            self.scroll_rows(max(self.top, last - self.page + 1))

    def action_move(self, by: int) -> None:
        if not self._held.lines:
            return
        index = self._here() + by
        if index >= len(self._held.lines) and not self._held.cut:
            self._to_tail()
        else:
            self._to_line(max(0, min(index, len(self._held.lines) - 1)))

    def action_page(self, direction: int) -> None:
        if not self._places:
            return
        # As many lines as it takes to go a window further.
        here = self._here()
        row = self._first_rows[here] + direction * max(1, self.page - 1)
        if row >= len(self._places):
            self.action_move(len(self._held.lines) - here)
        else:
            self.action_move(self._places[max(0, row)][0] - here)

    def action_first(self) -> None:
        if self._held.begun and self._held.lines:
            self._to_line(0)
        elif self._held.run is not None:
            self._show_around(1)

    def action_follow(self) -> None:
        self._to_tail()

    def action_level(self) -> None:
        self._held.level = _SHOWN[(_SHOWN.index(self._held.level) + 1) % len(_SHOWN)]
        self._sift()

    def action_only(self) -> None:
        if self._pattern is None:
            self.notify("/ finds words first", timeout=2)
            return
        self._held.pattern = self._pattern if self._held.pattern is None else None
        self._sift()

    def _sift(self) -> None:
        """Other lines are shown now; where one was reading one stays."""
        if self._following or not self._held.lines:
            self._to_tail()
        else:
            self._show_around(self._held.lines[self._here()].id)

    # What is found

    def find(self, text: str) -> None:
        """Mark these words, and go to the last line above that has them."""
        if text == self._sought:
            return
        self._sought = text
        self._pattern = re.compile(re.escape(text), re.IGNORECASE) if text else None
        if self._held.pattern is not None:
            self._held.pattern = self._pattern
            self._sift()
            return
        self._lay_out()
        if self._pattern is not None and self._held.lines:
            here = self._here()
            above = next((i for i in range(here, -1, -1) if self._has(i)), None)
            below = next((i for i in range(here, len(self._held.lines)) if self._has(i)), None)
            if (index := above if above is not None else below) is not None:
                self._to_line(index, middle=True)

    def _has(self, index: int) -> bool:
        return (
            self._pattern is not None
            and self._pattern.search(self._held.lines[index].text, 0, log_line.LONGEST) is not None
        )

    def action_hit(self, way: int) -> None:
        if self._pattern is None:
            self.notify("/ finds words first", timeout=2)
            return
        count = len(self._held.lines)
        places = range(self._here() + way, count if way > 0 else -1, way) if count else range(0)
        index = next((i for i in places if self._has(i)), None)
        if index is not None:
            self._to_line(index, middle=True)
        elif (not self._held.begun) if way < 0 else self._held.cut:
            self._find_beyond(way)
        else:
            self._no_more(way)

    # What is taken away

    def action_whole(self) -> None:
        from dpotui.screens.dialogs import CardScreen
        from dpotui.widgets.card import BLANK, Entry

        if not self._held.lines:
            return
        line = self._held.lines[self._here()]
        entries = [
            Entry("when", f"{say.date(line.time)}, {say.clock(line.time)}", "dim"),
            Entry("level", line.level, log_line.ROLES[line.level]),
            BLANK,
            Entry("", line.text),
        ]
        if len(line.text) > log_line.LONGEST:
            more = len(line.text) - log_line.LONGEST
            entries.append(Entry("", f"{more:,} more characters: x writes the whole log to a file", "warn"))
        self.app.push_screen(CardScreen(f"Log of {line.run}", entries))

    def action_copy(self, seen: bool) -> None:
        if not self._places:
            return
        last = min(self.top + self.page, len(self._places)) - 1
        indices = range(self._places[self.top][0], self._places[last][0] + 1) if seen else (self._here(),)
        text = "\n".join(as_text(self._held.lines[index]) for index in indices)
        self.app.copy_to_clipboard(text[: log_line.LONGEST])
        what = f"{len(indices)} lines were" if seen else "the line was"
        self.notify(f"{what} sent to the clipboard (by OSC 52); x writes a file", markup=False)

    @work(exclusive=True, group="log-write", exit_on_error=False)
    async def action_write(self) -> None:
        if self._held.run is None:
            self.notify("there is no log to write", timeout=2)
            return
        try:
            path = await asyncio.to_thread(self._pages.write, self._held.run)
        except (UserError, sqlite3.Error, OSError) as error:
            self._failed(error)
            return
        self.notify(f"the whole log is in {printable(path)}", markup=False, timeout=8)

    def on_click(self, event: events.Click) -> None:
        y = event.y - self.FIXED + self.top
        if event.y < self.FIXED or y >= len(self._places):
            return
        index = self._places[y][0]
        again = self._held.lines[index].id == self._cursor
        self._to_line(index)
        if again:
            self.action_whole()
