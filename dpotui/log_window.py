"""The lines of a log that are held in memory: a window of bounded length onto a log of any length."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from core.store.log import LEVELS, Level, Line

# Lines that are asked for at once, and that are held at most.
PAGE = 500
MOST = 4000


class Window:
    """Lines one behind the other, of at least a level and with some words where that is asked.

    They end with those of the newest picture (the tail), or are cut off before it; whether they begin where the log
    does is known once a page came that was not full.
    """

    def __init__(self) -> None:
        self.run: str | None = None
        self.level: Level = "debug"
        self.pattern: re.Pattern[str] | None = None  # of what all lines have to hold
        self.lines: list[Line] = []
        self.tail: tuple[Line, ...] = ()
        self.begun = False
        self.cut = False

    def to_tail(self) -> None:
        """Hold the end of the log alone."""
        self.lines = self._fitting(self.tail)
        self.begun = self.cut = False

    def grow(self, tail: Sequence[Line], *, following: bool) -> None:
        """A newer picture of the same run came."""
        last = self.tail[-1].id if self.tail else 0
        # So much was written since that the picture before does not reach to this one.
        gap = bool(self.tail) and tail[0].id > last
        self.tail = tuple(tail)
        if gap and following:
            self.to_tail()
            return
        self.cut = self.cut or gap
        if not self.cut:
            # A page that was read may have been ahead of the picture.
            last = max(last, self.last)
            self.lines += self._fitting(line for line in tail if line.id > last)
            # Where the end is followed nothing far above it is looked at.
            self._trim(front=following, most=PAGE if following else MOST)

    def add_older(self, page: list[Line]) -> None:
        self.lines = [*page, *self.lines]
        self.begun = len(page) < PAGE
        self._trim(front=False)

    def add_newer(self, page: list[Line]) -> None:
        self.lines = [*self.lines, *page]
        if len(page) < PAGE:
            self._join_tail()
        self._trim(front=True)

    def put(self, before: list[Line], behind: list[Line]) -> None:
        """Hold two pages in place of what was held."""
        self.lines = [*before, *behind]
        self.begun, self.cut = len(before) < PAGE, True
        if len(behind) < PAGE:
            self._join_tail()

    @property
    def first(self) -> int | None:
        """The id before which older lines are: what is held may hold none of a level."""
        held = self.lines or self.tail
        return held[0].id if held else None

    @property
    def last(self) -> int:
        return self.lines[-1].id if self.lines else 0

    def index(self, id_: int) -> int:
        """The place of a line, or of the next one that is held; the last one where there is none."""
        return min(bisect_left(self.lines, id_, key=lambda line: line.id), len(self.lines) - 1)

    def _fitting(self, lines: Iterable[Line]) -> list[Line]:
        levels = LEVELS[LEVELS.index(self.level) :]
        pattern = self.pattern
        return [line for line in lines if line.level in levels and (pattern is None or pattern.search(line.text))]

    def _trim(self, *, front: bool, most: int = MOST) -> None:
        """What lies away from where one looks is let go."""
        if len(self.lines) <= most:
            return
        if front:
            self.lines, self.begun = self.lines[-most:], False
        else:
            self.lines, self.cut = self.lines[:most], True

    def _join_tail(self) -> None:
        last = self.last
        self.lines += self._fitting(line for line in self.tail if line.id > last)
        self.cut = False
