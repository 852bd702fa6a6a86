"""Rows of a plain JSONL file by their place, without an index: any kind of row, readable or not."""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_left
from pathlib import Path
from typing import Any

from core.data.jsonl import BadRow, row_of
from core.data.lines import MAX_LINE
from core.data.pairs import Pair, pair_of
from core.text import printable
from dpotui.browse.kinds import Kind
from dpotui.browse.narrowing import EVERYTHING, Narrowing
from dpotui.browse.raw import RawFile
from dpotui.browse.shown import Detail, Listed, Part, both, characters, clean, first_words, loose, part, said
from dpotui.roles import Span

_PIECE = 1 << 20
# Lines that take about a millisecond.
_BREATH = 1000
# A longer row is read when it is opened, not for its line in the list.
LONG_ROW = 1 << 20
_NAMES = ("chosen", "rejected", "response", "completion")


class Rows:
    """The rows of one file. `scan` finds them, in a thread of its own; those that were found are there at once."""

    indexed = False

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path = path
        self.kind = kind
        self.raw = RawFile(path)
        self.file = 0
        self.scanned = 0  # bytes
        self.complete = False
        self._offsets = array("Q")
        self._lengths = array("Q")
        self._lines = array("Q")
        self._stop = threading.Event()

    def close(self) -> None:
        self._stop.set()
        self.raw.close()

    def scan(self) -> None:
        """Find where rows begin. Blank lines are none; a line of any length costs a piece of memory."""
        with self.path.open("rb", buffering=_PIECE) as file:
            offset = number = 0
            while not self._stop.is_set() and (piece := file.readline(_PIECE)):
                number += 1
                start, blank, last = offset, not piece.strip(), piece
                offset += len(piece)
                while not last.endswith(b"\n") and not self._stop.is_set() and (piece := file.readline(_PIECE)):
                    last, offset = piece, offset + len(piece)
                    blank = blank and not piece.strip()
                if not blank:
                    self._lines.append(number)
                    self._lengths.append(offset - start)
                    self._offsets.append(start)  # last: what is counted is whole
                self.scanned = offset
                if not number % _BREATH:
                    time.sleep(0.0005)  # whoever waits for the interpreter, such as a key, gets it now
        self.complete = not self._stop.is_set()

    def narrow(self, narrowing: Narrowing) -> int:
        """How many rows there are; without an index nothing else is known of them."""
        assert narrowing == EVERYTHING
        return len(self._offsets)

    def page(self, first: int, count: int) -> list[Listed]:
        last = min(first + count, len(self._offsets))
        return [self._listed(place) for place in range(first, last)]

    def place_of(self, offset: int) -> int | None:
        place = bisect_left(self._offsets, offset)
        # A mark at the beginning of the file moves its first row.
        return place if place < len(self._offsets) else None

    def place_of_line(self, line: int) -> int:
        return min(bisect_left(self._lines, line), max(0, len(self._lines) - 1))

    def holds_line(self, line: int) -> bool:
        """Whether the file was gone through up to this line."""
        return bool(self._lines) and self._lines[-1] >= line

    def offset_of(self, place: int) -> int:
        return self._offsets[place] if place < len(self._offsets) else 0

    def place_of_pair(self, pair: int) -> int | None:
        return None

    def _listed(self, place: int) -> Listed:
        line, length = self._lines[place], self._lengths[place]
        if length > LONG_ROW:
            return Listed(place, line, f"(a row of {length / 1e6:.1f} MB: enter reads it)")
        row = self._row(place)
        if isinstance(row, BadRow):
            return Listed(place, line, row.reason, marks=(row.kind,), bad=True)
        if isinstance(row, Pair):
            sizes = (len(said(row.chosen)), len(said(row.rejected)))
            return Listed(place, line, first_words(said(row.prompt)), sizes)
        prompt, responses = _texts(row)
        return Listed(place, line, first_words(prompt.text if prompt else ""), tuple(map(_size, responses)))

    def _row(self, place: int) -> Pair | BadRow | dict[str, Any]:
        """A pair in a file of pairs, else the fields of the row; or why there is neither."""
        line, offset, length = self._lines[place], self._offsets[place], self._lengths[place]
        if length > MAX_LINE:
            reason = f"more than {MAX_LINE} bytes on one line"
            return BadRow(line, "too_long", None, reason, offset, length)
        text = self.raw.read(offset, length)
        if not offset:
            text = text.removeprefix(b"\xef\xbb\xbf")
        ended = text.endswith(b"\n")
        row = row_of(line, text.rstrip(b"\r\n"), offset, ended=ended)
        if isinstance(row, BadRow):
            return row
        return pair_of(row) if self.kind == "pairs" else row.fields

    def detail(self, place: int) -> Detail:
        line, offset, length = self._lines[place], self._offsets[place], self._lengths[place]
        row = self._row(place)
        if isinstance(row, BadRow):
            return bad_row(row, self.raw)
        title = f"row {place + 1:,} of {len(self._offsets):,}"
        if isinstance(row, Pair):
            return pair_detail(row, f"pair {place + 1:,} of {len(self._offsets):,}", ())
        prompt, responses = _texts(row)
        head: list[tuple[Span, ...]] = []
        told = {name: value for name, value in row.items() if isinstance(value, str | int | float | bool)}
        for name in ("prompt", *_NAMES):
            told.pop(name, None)
        for name, value in list(told.items())[:12]:
            head.append(((printable(f"{name[:40]}  "), "dim"), (clean(str(value))[0][:400], "")))
        parts = (prompt,) if prompt is not None else ()
        if prompt is None and not responses:
            parts = (_raw(self.raw, offset, length),)
        return Detail(title, line, offset, tuple(head), parts, responses)


def _size(response: Part) -> int:
    return len(response.text) + response.left_out


def _texts(fields: dict[str, Any]) -> tuple[Part | None, tuple[Part, ...]]:
    """Prompt and responses of a row of any kind, as far as it has them."""
    prompt = part("prompt", loose(fields["prompt"])) if fields.get("prompt") is not None else None
    found: list[Part] = []
    messages = fields.get("messages")
    if prompt is None and isinstance(messages, list) and len(messages) > 1:
        prompt, found = part("prompt", loose(messages[:-1])), [part("response", loose(messages[-1:]))]
    responses = fields.get("responses")
    for index, response in enumerate(responses if isinstance(responses, list) else ()):
        told: Any = response if isinstance(response, dict) else {}
        words = [str(told[name])[:60] for name in ("model", "recipe", "finish") if isinstance(told.get(name), str)]
        words += [f"{told['tokens']} tokens"] if isinstance(told.get("tokens"), int) else []
        note = printable(" · ".join(word for word in words if word))
        found.append(part(f"response {index + 1} of {len(responses or ())}", loose(response), note))
    found += [part(name, loose(fields[name])) for name in _NAMES if fields.get(name) is not None]
    return prompt, tuple(found)


def bad_row(row: BadRow, raw: RawFile, spooled: tuple[int, int] | None = None) -> Detail:
    """A row that cannot be used: why, and what stands there. `spooled`: its place in `raw` where that is another."""
    offset, length = spooled or (row.offset, row.length)
    field = f"  {printable(row.field)}" if row.field else ""
    head = ((("NO PAIR  ", "bad"), (f"{row.kind}{field}: {row.reason}", "")),)
    parts = (_raw(raw, offset, length),) if offset >= 0 else ()
    return Detail(f"line {row.line:,} is no pair", row.line, row.offset, head, parts)


def _raw(raw: RawFile, offset: int, length: int) -> Part:
    """What stands in the file, byte for byte as far as it is text."""
    head = raw.read(offset, min(length, 4 * 20_000)).decode("utf-8", "replace").rstrip("\r\n")[:20_000]
    left = length - len(head.encode("utf-8", "replace"))
    return Part("as it stands in the file", printable(head).expandtabs(4), f"{length:,} bytes", (), max(0, left))


def pair_detail(pair: Pair, title: str, head: tuple[tuple[Span, ...], ...]) -> Detail:
    """A pair with both responses compared word by word."""
    chosen, rejected = said(pair.chosen), said(pair.rejected)
    parts = [
        part(name, text, "  ".join([characters(len(text)), *([f"score {score:g}"] if score is not None else [])]))
        for name, text, score in (
            ("chosen", chosen, pair.chosen_score),
            ("rejected", rejected, pair.rejected_score),
        )
    ]
    prompt = said(pair.prompt)
    return Detail(
        title,
        pair.line,
        pair.offset,
        head,
        (part("prompt", prompt, characters(len(prompt))),),
        both(parts[0], parts[1]),
    )
