"""Files taken apart into lines of bytes: plain text or gzip, of any size, with bounds; and what is no text, by name."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from core.errors import UserError
from core.text import printable

# A line beyond this is no row of text; it is passed over without being held in memory.
MAX_LINE = 16 * 1024 * 1024

# Text of the most repetitive sets shrinks to a hundredth. What shrinks to less is there to fill the memory or the
# disk of whoever unpacks it. Small files may shrink as they like.
BOMB_BYTES = 256 * 1024 * 1024
BOMB_RATIO = 300

GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"

# What other files begin with, and what to do with them.
_FOREIGN = (
    (PARQUET, "is a Parquet file inside gzip: unpack it first"),
    (b"PK\x03\x04", "is a zip archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ\x00", "is compressed with xz: unpack it first"),
    (b"\xff\xfe\x00\x00", "is UTF-32: save it as UTF-8"),
    (b"\xff\xfe", "is UTF-16: save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16: save it as UTF-8"),
    (b"ARROW1", "is an Arrow file: write it out as JSONL first"),
    (b"SQLite format 3\x00", "is an SQLite database: write its rows out as JSONL first"),
    (b"%PDF", "is a PDF: JSONL is wanted, one object a line"),
    (b"\x80\x02", "is a Python pickle, which is never loaded: write it out as JSONL where it comes from"),
    (b"\x80\x03", "is a Python pickle, which is never loaded: write it out as JSONL where it comes from"),
    (b"\x80\x04", "is a Python pickle, which is never loaded: write it out as JSONL where it comes from"),
    (b"\x80\x05", "is a Python pickle, which is never loaded: write it out as JSONL where it comes from"),
    (b"version https://git-lfs", "is a pointer of Git LFS and not the data: fetch it with 'git lfs pull'"),
    (b"<!DOCTYPE", "is a web page, perhaps of a download that failed: fetch the data itself"),
    (b"<!doctype", "is a web page, perhaps of a download that failed: fetch the data itself"),
    (b"<html", "is a web page, perhaps of a download that failed: fetch the data itself"),
)
_MARK = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Line:
    """One line of a file, or one row of a table, before anybody looked into it.

    Attributes:
        number: from 1; the physical line it begins on, in Parquet the row.
        text: its bytes without the end of the line; of a row of a table that can be read, None.
        offset: where it begins in the file; -1 where the file cannot be read from there (gzip, CSV, Parquet).
        length: its bytes in the file, or of its text where that is packed; all of them where it is too long.
        fields: of a row of a table, what stands in its columns.
        bad: why it cannot be a row: kind, and the reason in words.
        ended: whether an end of line stands behind it.
    """

    number: int
    text: bytes | None
    offset: int
    length: int
    fields: dict[str, Any] | None = None
    bad: tuple[str, str] | None = None
    ended: bool = True

    @property
    def raw(self) -> bytes:
        """It as a line of JSONL, to be kept and read again: its own bytes, or its columns as one object."""
        if self.text is not None:
            return self.text
        try:
            return json.dumps(self.fields, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half characters
            return json.dumps(self.fields).encode()


def open_regular(path: Path, name: str) -> BinaryIO:
    """Open a file that stays and can be read twice.

    Raises:
        UserError: there is none, or it is something else, or it may not be read.
    """
    try:
        # Opening a pipe would wait for ever, and some devices act when they are opened.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{name} is a folder: name a JSONL file")
        if not stat.S_ISREG(mode):
            raise UserError(f"{name} is {_special(mode)}, not a regular file: name a JSONL file")
        return path.open("rb", buffering=1 << 18)
    except FileNotFoundError:
        raise UserError(f"{name} does not exist: name a JSONL file") from None
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise UserError(f"{name} is not a file name: {error}") from error


def _special(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"


@contextmanager
def unpacked(path: Path, name: str) -> Iterator[tuple[BinaryIO, bool]]:
    """The file for reading, unpacked where it is gzip, and whether it is."""
    with open_regular(path, name) as file:
        packed = _peek(file).startswith(GZIP)
        if not packed:
            yield file, False
            return
        lines = Gunzipped(file, name)
        with io.BufferedReader(lines, 1 << 18) as buffered:
            yield cast(BinaryIO, buffered), True


def _peek(file: BinaryIO) -> bytes:
    head = file.read(16)
    file.seek(0)
    return head


def is_parquet(path: Path, name: str) -> bool:
    with open_regular(path, name) as file:
        return _peek(file).startswith(PARQUET)


class Gunzipped(io.RawIOBase):
    """What a gzip file holds, unpacked as it is asked for.

    Reading raises UserError where it is cut off, broken, or expands as no text does.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._packed = gzip.GzipFile(fileobj=file, mode="rb")
        self._size = os.fstat(file.fileno()).st_size
        self._total = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            # read1, not read: what could be unpacked of a file that is cut off is handed over before that is said.
            found = self._packed.read1(len(buffer))
        except EOFError:
            raise UserError(
                f"{self._name} is cut off: its compressed data end after {self._total} bytes of text: fetch it again"
            ) from None
        except (OSError, zlib.error) as error:
            raise UserError(f"{self._name} is broken gzip after {self._total} bytes of text: fetch it again") from error
        self._total += len(found)
        if self._total > BOMB_BYTES and self._total > BOMB_RATIO * self._size:
            raise UserError(
                f"{self._name} unpacks to more than {BOMB_RATIO} times its size, which no text does:"
                " unpack it yourself if it is what you want"
            )
        buffer[: len(found)] = found
        return len(found)


def text_lines(path: Path, overflow: BinaryIO | None = None) -> Iterator[Line]:
    """The lines of a file that are not blank, each with its place.

    Args:
        overflow: takes the bytes of a line that is too long to be held; a reader empties it after each such line.

    Raises:
        UserError: it cannot be read at all, is another format altogether, or holds nothing.
    """
    name = printable(str(path))
    with unpacked(path, name) as (file, packed):
        number = after = 0
        found = False
        while line := file.readline(MAX_LINE + 1):
            number += 1
            at, after = after, after + len(line)
            if number == 1:
                whole = len(line)
                line = without_mark(line, name, packed)
                at += whole - len(line)
            if len(line) > MAX_LINE:
                after += _skip_line(file, line, overflow)
                found = True
                why = ("too_long", f"more than {MAX_LINE} bytes on one line")
                yield Line(number, b"", -1 if packed else at, after - at, bad=why)
                continue
            text = line.rstrip(b"\r\n")
            if not text.strip():
                continue
            if not found:
                _first(text, name, number)
            found = True
            yield Line(number, text, -1 if packed else at, len(text), ended=line.endswith(b"\n"))
    if not found:
        raise UserError(f"{name} is empty: JSONL is wanted, one object a line")


def without_mark(line: bytes, name: str, packed: bool) -> bytes:
    """The first line without a byte-order mark, if the file is text at all.

    Raises:
        UserError: it is not; what it is and what to do.
    """
    if packed and line.startswith(GZIP):
        raise UserError(f"{name} is compressed twice with gzip: unpack it once")
    for magic, advice in _FOREIGN:
        if line.startswith(magic):
            raise UserError(f"{name} {advice}")
    # ASCII in UTF-16 without a mark has a NUL in every second byte.
    if len(line) >= 4 and (line[0] == line[2] == 0 != line[1] or line[1] == line[3] == 0 != line[0]):
        raise UserError(f"{name} is UTF-16: save it as UTF-8")
    return line.removeprefix(_MARK)


def _first(text: bytes, name: str, number: int) -> None:
    if text.lstrip().startswith(b"["):
        raise UserError(f"{name}:{number}: this is a JSON array; JSONL is wanted, one object a line")
    # No JSON text holds a bare CR, so one that something follows ends a row.
    if b"}\r{" in text:
        raise UserError(f"{name} ends its lines with CR alone: change them with tr '\\r' '\\n' < OLD > NEW")


def _skip_line(file: BinaryIO, line: bytes, overflow: BinaryIO | None) -> int:
    """Pass over the rest of a line; returns how many bytes that was."""
    skipped = 0
    if overflow is not None:
        overflow.write(line)
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE)
        skipped += len(line)
        if overflow is not None:
            overflow.write(line)
    return skipped
