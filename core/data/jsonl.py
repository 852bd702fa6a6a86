"""JSONL read line by line: what a line holds, or why it cannot be read. Files of any size, no line trusted."""

from __future__ import annotations

import dataclasses
import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import UserError
from core.text import one_line, printable

# A line beyond this is no row of text; it is passed over without being held in memory.
MAX_LINE = 16 * 1024 * 1024

# What other files begin with, and what to do with them.
_FOREIGN = {
    b"\x1f\x8b": "is compressed with gzip: unpack it first",
    b"PAR1": "is a Parquet file: write it out as JSONL first",
    b"PK\x03\x04": "is a zip archive: unpack it first",
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that is no row: what kind of error, in which field, and why: a sentence that is safe to show.

    Kinds: encoding, json, object, duplicate_key, too_long, missing, type, empty, messages, prompt, identical, score.
    Its line is the `length` bytes of the file from `offset` on.
    """

    line: int
    kind: str
    field: str | None
    reason: str
    offset: int = dataclasses.field(default=-1, compare=False)
    length: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Row:
    """An object of the file, on line `line`, in the `length` bytes from `offset` on (without the end of the line)."""

    line: int
    fields: dict[str, Any]
    offset: int = dataclasses.field(default=-1, compare=False)
    length: int = dataclasses.field(default=0, compare=False)


class _Repeated(ValueError):
    """A key that stands twice in one object: JSON readers disagree on which one counts."""


def read_rows(path: Path) -> Iterator[Row | BadRow]:
    """The rows of a JSONL file; blank lines are passed over.

    Raises:
        UserError: no such file, not a regular file, not readable, empty, or of another format altogether.
    """
    name = printable(str(path))
    with _open(path, name) as file:
        number = rows = after = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            at, after = after, after + len(line)
            if number == 1:
                whole = len(line)
                line = _without_mark(line, name)
                at += whole - len(line)
            if len(line) > MAX_LINE:
                after += _skip_line(file, line)
                rows += 1
                why = f"more than {MAX_LINE} bytes on one line"
                yield BadRow(number, "too_long", None, why, at, after - at)
                continue
            line = line.rstrip(b"\r\n")
            if not line.strip():
                continue
            if not rows and line.lstrip().startswith(b"["):
                raise UserError(f"{name}:{number}: this is a JSON array; JSONL is wanted, one object a line")
            rows += 1
            yield row_of(number, line, at)
    if not rows:
        raise UserError(f"{name} is empty: JSONL is wanted, one object a line")


def _open(path: Path, name: str) -> BinaryIO:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{name} is a folder: name a JSONL file")
        # Opening a pipe would wait for ever, and hashes and second readings need a file that stays.
        if not stat.S_ISREG(mode):
            raise UserError(f"{name} is not a regular file: name a JSONL file")
        return path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{name} does not exist: name a JSONL file") from None
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise UserError(f"{name} is not a file name: {error}") from error


def _without_mark(line: bytes, name: str) -> bytes:
    """The first line without a byte-order mark, if the file is text at all."""
    for magic, advice in _FOREIGN.items():
        if line.startswith(magic):
            raise UserError(f"{name} {advice}")
    return line.removeprefix(b"\xef\xbb\xbf")


def _skip_line(file: BinaryIO, line: bytes) -> int:
    """Pass over the rest of a line; returns how many bytes that was."""
    skipped = 0
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE)
        skipped += len(line)
    return skipped


def row_of(number: int, line: bytes, offset: int) -> Row | BadRow:
    """What the line at byte `offset` holds."""
    try:
        return Row(number, _fields(line), offset, len(line))
    except _Unreadable as error:
        return BadRow(number, error.kind, error.field, str(error), offset, len(line))


class _Unreadable(Exception):
    def __init__(self, kind: str, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.field = field


def _fields(line: bytes) -> dict[str, Any]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        at = f"byte 0x{line[error.start]:02x} at column {error.start + 1}"
        raise _Unreadable("encoding", f"not UTF-8 text ({at})") from None
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except _Repeated as error:
        key = one_line(str(error), 60)
        raise _Unreadable("duplicate_key", f"{key} stands twice in the row", key) from None
    except json.JSONDecodeError as error:
        raise _Unreadable("json", f"not JSON: {one_line(error.msg, 80)} at column {error.colno}") from None
    except ValueError as error:  # NaN, a number of 5,000 digits
        raise _Unreadable("json", f"not JSON: {one_line(str(error), 80)}") from None
    except RecursionError:
        raise _Unreadable("json", "nested too deep") from None
    if not isinstance(value, dict):
        raise _Unreadable("object", f"an object with fields is wanted, not {kind_of(value)}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Repeated(key)
            seen.add(key)
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {one_line(str(value), 24)}"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"
