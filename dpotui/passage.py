"""A text or chat laid out in rows of a width, as far as somebody looks, with ranges of it marked."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from rich._wrap import divide_line

from core.data.messages import Text
from core.text import printable
from dpotui.diff import Range
from dpotui.roles import Span

# Characters that are laid out in one go of a paragraph; a response may be one line of a megabyte.
_PIECE = 4096
# Characters that are laid out for one look at most.
_STRETCH = 400_000


class Passage:
    """Foreign text made safe to show. Its rows are made when they are asked for.

    Attributes:
        text: as it is shown, turns of a chat below the names of their roles.
        marks: ranges of the text that are marked, in order.
    """

    def __init__(self, text: Text, own_role: str = "") -> None:
        """
        Args:
            own_role: of a single message, whose name needs not be told.
        """
        self.text, self._heads = _shown(text, own_role)
        self.marks: Sequence[Range] = ()
        self._width = 0
        self._rows: list[Range] = []
        self._at = 0  # where the next row begins

    def lay_out(self, width: int, rows: int) -> int:
        """Make that many rows of a width, as far as there are; how many there are by now."""
        if width != self._width:
            self._width, self._rows, self._at = width, [], 0
        until = self._at + _STRETCH
        while not self.whole and len(self._rows) < rows and self._at < until:
            self._paragraph_piece()
        return len(self._rows)

    @property
    def whole(self) -> bool:
        """Whether all rows are made."""
        return self._at > len(self.text)

    def read_to(self, row: int) -> float:
        """The share of the text above the end of a row."""
        if not self.text or row >= len(self._rows):
            return 1.0 if self.whole else self._at / max(1, len(self.text))
        return self._rows[row][1] / len(self.text)

    def row_of_mark(self, row: int, by: int) -> int | None:
        """The row of the next mark that begins below a row (`by` 1) or above it (-1); None where there is none."""
        if row >= len(self._rows):
            return None
        starts = [start for start, _ in self.marks]
        if by > 0:
            index = bisect_right(starts, self._rows[row][1])
            if index == len(starts):
                return None
            while not self.whole and self._at <= starts[index]:
                self._paragraph_piece()
        else:
            index = bisect_left(starts, self._rows[row][0]) - 1
            if index < 0:
                return None
        return bisect_right(self._rows, (starts[index], len(self.text))) - 1

    def row(self, y: int) -> list[Span]:
        """A row that was made, one cell from the left; names of roles stand out of that edge."""
        if y >= len(self._rows):
            return []
        start, stop = self._rows[y]
        if start in self._heads:
            return [(f"▌{self.text[start:stop]}", "key")]
        spans: list[Span] = [(" ", "")]
        at = start
        index = bisect_right(self.marks, start, key=lambda mark: mark[1])
        for mark_start, mark_stop in self.marks[index : index + stop - start + 1]:
            if mark_start >= stop:
                break
            if mark_start > at:
                spans.append((self.text[at:mark_start], ""))
            spans.append((self.text[max(at, mark_start) : min(stop, mark_stop)], "differs"))
            at = min(stop, mark_stop)
        return [*spans, (self.text[at:stop], "")]

    def _paragraph_piece(self) -> None:
        end = self.text.find("\n", self._at)
        end = len(self.text) if end < 0 else end
        stop = min(end, self._at + _PIECE)
        piece = self.text[self._at : stop]
        found = _wrapped(piece, self._width)
        if stop < end and len(found) > 1:
            # The last row may go on: it is made anew with what follows.
            *found, last = found
            stop = self._at + last[0]
        self._rows += [(self._at + a, self._at + b) for a, b in found]
        self._at = stop + 1 if stop == end else stop


def _wrapped(piece: str, width: int) -> list[Range]:
    """Rows of one paragraph: from and to, without the blanks that they end with."""
    if not piece:
        return [(0, 0)]
    if piece.isascii():
        return [(found.start(), found.start() + len(found[0].rstrip())) for found in _rows_of(width).finditer(piece)]
    cuts = [0, *divide_line(piece, max(2, width), fold=True), len(piece)]
    return [(start, start + len(piece[start:stop].rstrip())) for start, stop in pairwise(cuts)]


@lru_cache(maxsize=8)
def _rows_of(width: int) -> re.Pattern[str]:
    return re.compile(rf".{{1,{width}}}(?:[ ]+|$)|\S{{1,{width}}}")


def _shown(text: Text, own_role: str) -> tuple[str, frozenset[int]]:
    if isinstance(text, str):
        return _clean(text), frozenset()
    if len(text) == 1 and text[0]["role"] == own_role:
        return _clean(text[0]["content"]), frozenset()
    parts: list[str] = []
    heads: list[int] = []
    length = 0
    for message in text:
        heads.append(length)
        part = f"{message['role']}\n{_clean(message['content'])}\n"
        parts.append(part)
        length += len(part) + 1
    return "\n".join(parts).rstrip("\n"), frozenset(heads)


def _clean(text: str) -> str:
    return printable(text).expandtabs(4).strip("\n")
