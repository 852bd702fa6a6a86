"""JSONL read line by line: what a line holds, or why it cannot be read. Files of any size, no line trusted."""

from __future__ import annotations

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
    """

    line: int
    kind: str
    field: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    fields: dict[str, Any]


class _Repeated(ValueError):
    """A key that stands twice in one object: JSON readers disagree on which one counts."""


def read_rows(path: Path) -> Iterator[Row | BadRow]:
    """The rows of a JSONL file; blank lines are passed over.

    Raises:
        UserError: no such file, not a regular file, not readable, empty, or of another format altogether.
    """
    name = printable(str(path))
    with _open(path, name) as file:
        number = rows = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if number == 1:
                line = _without_mark(line, name)
            if len(line) > MAX_LINE:
                _skip_line(file, line)
                rows += 1
                yield BadRow(number, "too_long", None, f"more than {MAX_LINE} bytes on one line")
                continue
            line = line.strip()
            if not line:
                continue
            if not rows and line.startswith(b"["):
                raise UserError(f"{name}:{number}: this is a JSON array; JSONL is wanted, one object a line")
            rows += 1
            yield _row(number, line)
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


def _skip_line(file: BinaryIO, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE)


def _row(number: int, line: bytes) -> Row | BadRow:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        at = f"byte 0x{line[error.start]:02x} at column {error.start + 1}"
        return BadRow(number, "encoding", None, f"not UTF-8 text ({at})")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except _Repeated as error:
        key = one_line(str(error), 60)
        return BadRow(number, "duplicate_key", key, f"{key} stands twice in the row")
    except json.JSONDecodeError as error:
        return BadRow(number, "json", None, f"not JSON: {one_line(error.msg, 80)} at column {error.colno}")
    except ValueError as error:  # NaN, a number of 5,000 digits
        return BadRow(number, "json", None, f"not JSON: {one_line(str(error), 80)}")
    except RecursionError:
        return BadRow(number, "json", None, "nested too deep")
    if not isinstance(value, dict):
        return BadRow(number, "object", None, f"an object with fields is wanted, not {kind_of(value)}")
    return Row(number, value)


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
