"""Words sought in a file of rows of any size: streamed, told how far it is, ended when it is asked to."""

from __future__ import annotations

import json
import re
import threading
from array import array
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20
# A row longer than this is sought by its bytes alone.
_PARSED = 1 << 22


class Find:
    """One search. `hits` are the places, in bytes, of the rows that hold the words; they grow while `run` runs.

    Case does not matter. Most rows are passed over without being read as JSON: only those whose bytes hold the longest
    plain stretch of the words are.
    """

    def __init__(self, path: Path, words: str) -> None:
        self.words = words
        self.path = path
        self.hits = array("Q")
        self.size = path.stat().st_size
        self.done = 0
        self.ended = False
        self.stopped = False
        self.error: Exception | None = None
        self._wanted = words.casefold()
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        """Go through the file, in a thread of its own."""
        try:
            self._search()
        except OSError as error:
            self.error = error
        self.stopped = self._stop.is_set()
        self.ended = True

    def _search(self) -> None:
        hint = _hint(self.words)
        with self.path.open("rb", buffering=0) as file:
            at, rest = 0, b""  # where `rest` begins in the file
            while not self._stop.is_set():
                block = file.read(_BLOCK)
                if not block:
                    self._rows(rest, at, hint)
                    break
                end = block.rfind(b"\n") + 1
                if not end:
                    # A row longer than a block: it is looked at whole, up to what a row may be.
                    rest += block
                    if len(rest) > 16 * _PARSED:
                        self._rows(rest, at, hint)
                        at, rest = at + len(rest), b""
                else:
                    self._rows(rest + block[:end], at, hint)
                    at += len(rest) + end
                    rest = block[end:]
                self.done = at + len(rest)

    def _rows(self, rows: bytes, at: int, hint: bytes) -> None:
        """The hits among whole rows that begin at `at`."""
        position = 0
        lowered = rows.lower() if hint else rows
        while position < len(rows) and not self._stop.is_set():
            if hint:
                found = lowered.find(hint, position)
                if found < 0:
                    return
                position = rows.rfind(b"\n", position, found) + 1 or position
            end = rows.find(b"\n", position)
            end = len(rows) if end < 0 else end
            if end > position and self._holds(rows[position:end]):
                self.hits.append(at + position)
            position = end + 1

    def _holds(self, row: bytes) -> bool:
        if len(row) > _PARSED:
            return self._wanted.encode() in row.lower()
        try:
            return _within(json.loads(row.decode("utf-8", "replace").removeprefix("\ufeff")), self._wanted)
        except (ValueError, RecursionError):
            # A row that cannot be read can be found too.
            return self._wanted in row.decode("utf-8", "replace").casefold()

    # Where the hits are

    def after(self, offset: int) -> int | None:
        """The first hit behind this place."""
        index = bisect_right(self.hits, offset)
        return self.hits[index] if index < len(self.hits) else None

    def before(self, offset: int) -> int | None:
        index = bisect_left(self.hits, offset)
        return self.hits[index - 1] if index else None

    def number(self, offset: int) -> int | None:
        """Which of the hits, from 1, stands at this place; None when none does."""
        index = bisect_left(self.hits, offset)
        return index + 1 if index < len(self.hits) and self.hits[index] == offset else None

    @property
    def told(self) -> str:
        """How it stands, in words."""
        count = f"{len(self.hits):,} row{'s' if len(self.hits) != 1 else ''}"
        if self.error is not None:
            return f"{count}, then the file could not be read"
        if not self.ended:
            return f"{count} so far, {100 * self.done // max(1, self.size)} % of the file sought, escape ends it"
        return f"{count}, search ended at {100 * self.done // max(1, self.size)} %" if self.stopped else count


def _within(value: Any, wanted: str) -> bool:
    """Whether some text in a JSON value holds the words; keys are not looked at."""
    if isinstance(value, str):
        return wanted in value.casefold()
    if isinstance(value, dict):
        return any(_within(each, wanted) for each in value.values())
    return isinstance(value, list) and any(_within(each, wanted) for each in value)


# What JSON writes as it is, in whatever case: the rest may be escaped, or change its length with its case.
_PLAIN = re.compile(r"[ !#-.0-;=?@\[\]-jl-rt-~A-JL-RT-Z]+")


def _hint(words: str) -> bytes:
    """What the bytes of every row with these words hold in lower case; nothing where that cannot be said."""
    longest = max(_PLAIN.findall(words), key=len, default="")
    # One character is in every row.
    return longest.lower().encode() if len(longest) > 1 else b""
