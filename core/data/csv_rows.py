"""Rows of a CSV or TSV file whose first line names the columns, plain or gzip."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from core.data import lines
from core.data.lines import Line, unpacked, without_mark
from core.errors import UserError
from core.text import one_line, printable

# A first line without any of these is a row like the others and no header.
_NAMES = {
    "prompt", "chosen", "rejected", "response", "responses", "completion", "instruction", "question", "messages",
    "context", "text", "input", "output", "response_1", "response1", "response_a",
}  # fmt: skip
_LISTS = ("[{", "[ {")
# What bytes that are no UTF-8 were read as.
_NO_UTF8 = re.compile("[\udc80-\udcff]")


def csv_lines(path: Path) -> Iterator[Line]:
    """The rows after the header, each with the physical line it begins on. A cell that holds a JSON list is one.

    Raises:
        UserError: the file cannot be read at all, names no columns, or holds no rows.
    """
    name = printable(str(path))
    # The module's own limit is 128 KiB; there is one for the process.
    csv.field_size_limit(max(csv.field_size_limit(), lines.MAX_LINE))
    with unpacked(path, name) as (file, packed):
        source = _Source(file, name, packed)
        reader = csv.reader(source, delimiter=_delimiter(path, source), strict=True)
        try:
            header = _header(next(reader, None), name)
        except csv.Error as error:
            raise UserError(f"{name}:1: the line that names the columns is no CSV ({error}): mend it") from error
        found = False
        while True:
            source.begin()
            try:
                cells = next(reader, None)
            except csv.Error as error:
                found = True
                yield source.bad("csv", f"not CSV: {one_line(str(error), 80)}")
                continue
            if cells is None:
                break
            if not "".join(cells).strip():
                continue
            found = True
            yield _line(header, cells, source)
    if not found:
        raise UserError(f"{name} is empty: rows are wanted after the line that names the columns")


class _Source:
    """The lines of the file as text, and the bytes of those that the row at hand was made of."""

    def __init__(self, file: BinaryIO, name: str, packed: bool) -> None:
        self._file, self._name = file, name
        self._number = 0
        self._first = without_mark(self._read(), name, packed)
        self._pending = [self._first]
        self.bytes: list[bytes] = []
        self.line = 1

    def _read(self) -> bytes:
        line = self._file.readline(lines.MAX_LINE + 1)
        if len(line) > lines.MAX_LINE:
            raise UserError(
                f"{self._name}:{self._number + 1}: more than {lines.MAX_LINE} bytes on one line: write it as JSONL"
            )
        return line

    @property
    def first(self) -> str:
        return self._first.decode("utf-8", "replace")

    def begin(self) -> None:
        """A new row begins."""
        self.bytes, self.line = [], self._number + 1

    def __iter__(self) -> _Source:
        return self

    def __next__(self) -> str:
        line = self._pending.pop() if self._pending else self._read()
        if not line:
            raise StopIteration
        self._number += 1
        if not self.bytes:
            self.line = self._number
        self.bytes.append(line)
        # Bytes that are no UTF-8 become half characters, which are found again in the row.
        return line.decode("utf-8", "surrogateescape")

    def bad(self, kind: str, reason: str) -> Line:
        raw = b"".join(self.bytes).rstrip(b"\r\n")
        return Line(self.line, raw, -1, len(raw), bad=(kind, reason))


def _delimiter(path: Path, source: _Source) -> str:
    if ".tsv" in path.suffixes[-2:] or path.name.lower().endswith((".tsv", ".tsv.gz")):
        return "\t"
    # Spreadsheets of half of Europe write semicolons.
    return ";" if ";" in source.first and "," not in source.first else ","


def _header(cells: list[str] | None, name: str) -> list[str]:
    if cells is None or not "".join(cells).strip():
        raise UserError(f"{name} is empty: a line that names the columns is wanted, such as prompt,chosen,rejected")
    header = [cell.strip() for cell in cells]
    if not _NAMES & {cell.lower() for cell in header}:
        shown = one_line(", ".join(header), 60)
        raise UserError(
            f"{name}:1: names no columns ({shown}): write a first line such as prompt,chosen,rejected,chosen_score"
        )
    twice = next((cell for cell in header if header.count(cell) > 1), None)
    if twice is not None:
        raise UserError(f"{name}:1: the column '{one_line(twice, 40)}' stands twice: give each its own name")
    return header


def _line(header: list[str], cells: list[str], source: _Source) -> Line:
    if len(cells) != len(header):
        return source.bad("csv", f"{len(cells)} cells, where the first line names {len(header)} columns")
    fields: dict[str, Any] = {}
    for column, cell in zip(header, cells, strict=True):
        if _NO_UTF8.search(cell):
            return source.bad("encoding", f"{one_line(column, 40)} is not UTF-8 text")
        fields[column] = cell
        if cell.startswith(_LISTS):
            if cell.lstrip("[ {").startswith("'"):
                why = f"{one_line(column, 40)} holds a list as Python prints it: JSON is wanted"
                return source.bad("messages", why)
            fields[column] = _list(cell)
    return Line(source.line, None, -1, sum(map(len, source.bytes)), fields)


def _list(cell: str) -> Any:
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return found if isinstance(found, list) else cell
