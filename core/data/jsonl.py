"""Rows of a file: objects of JSONL, plain or gzip, or rows of CSV and Parquet; and why a line is none."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from core.data.lines import Line, is_parquet, text_lines
from core.text import one_line, printable

_CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that is no row: what kind of error, in which field, and why: a sentence that is safe to show.

    Kinds: encoding, json, object, duplicate_key, too_long, csv, missing, type, empty, messages, prompt, identical,
    score, kto, convert, tie. Its line is the `length` bytes of the file from `offset` on.
    """

    line: int
    kind: str
    field: str | None
    reason: str
    offset: int = dataclasses.field(default=-1, compare=False)
    length: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Row:
    """An object of the file, on line `line`, in the `length` bytes from `offset` on (without the end of the line).

    An offset of -1 says that it cannot be read from the file again by itself (gzip, CSV, Parquet): whoever wants to
    keeps `Line.raw` (see `read_lines`), which `row_of` reads.
    """

    line: int
    fields: dict[str, Any]
    offset: int = dataclasses.field(default=-1, compare=False)
    length: int = dataclasses.field(default=0, compare=False)


def read_rows(path: Path) -> Iterator[Row | BadRow]:
    """The rows of a JSONL, CSV or Parquet file; blank lines are passed over.

    Raises:
        UserError: no such file, not a regular file, not readable, empty, broken, or of another format altogether.
    """
    return map(row_in, read_lines(path))


def read_lines(path: Path, overflow: BinaryIO | None = None) -> Iterator[Line]:
    """What `read_rows` makes rows of, for those who keep or copy the lines themselves: `row_in` each of them.

    Args:
        overflow: takes the bytes of a line that is too long to be held; the caller empties it after each such line.

    Raises:
        UserError: as `read_rows`.
    """
    if is_parquet(path, printable(str(path))):
        from core.data.parquet_rows import parquet_lines

        return parquet_lines(path)
    if path.name.lower().endswith(_CSV):
        from core.data.csv_rows import csv_lines

        return csv_lines(path)
    return text_lines(path, overflow)


def row_in(line: Line) -> Row | BadRow:
    """What a line holds."""
    if line.bad is not None:
        kind, reason = line.bad
        return BadRow(line.number, kind, None, reason, line.offset, line.length)
    if line.fields is not None:
        return Row(line.number, line.fields, line.offset, line.length)
    assert line.text is not None
    return row_of(line.number, line.text, line.offset, ended=line.ended)


def row_of(number: int, text: bytes, offset: int = -1, *, ended: bool = True) -> Row | BadRow:
    """What these bytes of a line hold, or such a line that was kept elsewhere. `ended`: an end of line followed."""
    try:
        return Row(number, _fields(text, ended), offset, len(text))
    except _Unreadable as error:
        return BadRow(number, error.kind, error.field, str(error), offset, len(text))


class _Repeated(ValueError):
    """A key that stands twice in one object: JSON readers disagree on which one counts."""


class _NoNumber(ValueError):
    """NaN, Infinity or -Infinity, which Python's reader would take."""


class _Unreadable(Exception):
    def __init__(self, kind: str, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.field = field


def _fields(line: bytes, ended: bool) -> dict[str, Any]:
    try:
        value = _decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        if not ended and error.end == len(line) and "unexpected end" in error.reason:
            raise _Unreadable("encoding", "not UTF-8 text: the file ends in the middle of a character") from None
        at = f"byte 0x{line[error.start]:02x} at column {error.start + 1}"
        raise _Unreadable("encoding", f"not UTF-8 text ({at})") from None
    except _Repeated as error:
        key = one_line(str(error), 60)
        raise _Unreadable("duplicate_key", f"{key} stands twice in the row", key) from None
    except json.JSONDecodeError as error:
        raise _Unreadable("json", f"not JSON: {_why(line, ended, error)}") from None
    except _NoNumber as error:
        raise _Unreadable("json", f"not JSON: {error}") from None
    except ValueError:  # Python reads integers of up to so many digits
        raise _Unreadable("json", f"a number of more than {sys.get_int_max_str_digits()} digits") from None
    except RecursionError:
        raise _Unreadable("json", "nested too deep") from None
    if not isinstance(value, dict):
        raise _Unreadable("object", f"an object with fields is wanted, not {kind_of(value)}")
    return value


def _why(line: bytes, ended: bool, error: json.JSONDecodeError) -> str:
    if b"\0" in line:
        return f"{line.count(0)} NUL bytes, from byte {line.index(0) + 1} of the line on"
    if b"}\r{" in line:
        return "two rows with CR alone between them"
    # What is missing is missing at the end: the text so far could go on to be JSON.
    if not ended and (error.msg.startswith("Unterminated string") or not error.doc[error.pos :].strip()):
        return "the file ends in the middle of this row"
    return f"{one_line(error.msg, 80)} at column {error.colno}"


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
    raise _NoNumber(f"{name} is not a JSON number")


# One decoder for all lines: json.loads makes a new one for each call with a hook.
_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant).decode


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
