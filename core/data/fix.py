"""A clean copy of a file: the rows that can be used as they were, and beside it those that cannot, with the reason."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from core.data.jsonl import BadRow, Row, read_lines, row_in
from core.data.lines import Line
from core.data.manifest import writing
from core.data.outputs import refuse_overwriting
from core.data.pairs import pair_of
from core.errors import UserError
from core.text import printable
from core.workspace import private_folder

# Reads a row as what the file is meant to hold; a BadRow where it is none.
Reader = Callable[[Row], object]

# Bytes of an over-long line that are written at a time; a multiple of 3, so that base64 has no padding inside.
_PIECE = 3 << 18


@dataclass(frozen=True, slots=True)
class Fixed:
    """What `fix` wrote. `errors` counts what was left out, by kind."""

    rows: int
    kept: int
    errors: dict[str, int]

    @property
    def left_out(self) -> int:
        return self.rows - self.kept


def fix(
    path: Path,
    out: Path,
    left_out: Path,
    *,
    reader: Reader = pair_of,
    also: Callable[[object], BadRow | None] | None = None,
    command: str = "data check --fix",
    parameters: Mapping[str, Any] | None = None,
) -> Fixed:
    """Copy the rows that can be used, each byte for byte as it was, and put every other row into `left_out`.

    Nothing is lost: a row stands in one of the two files. Rows of CSV and Parquet become one JSON object a line. A row
    that is left out is a line `{"line", "kind", "field", "reason", "text"}`; where it is no text, or too long for a
    line, `base64` stands in the place of `text`. `out` gets a manifest that counts what was left out. `left_out` is
    written also when it stays empty.

    Args:
        reader: `pair_of` for preference pairs, `example_of` for SFT examples.
        also: says of what the reader made of a row whether to leave it out all the same, and why: findings such as
            duplicates.
        command, parameters: for the manifest.

    Raises:
        UserError: the file cannot be read to its end, an output is the input, or cannot be written; then nothing was.
    """
    refuse_overwriting([out, left_out], [path])
    errors: Counter[str] = Counter()
    rows = 0
    with (
        tempfile.TemporaryFile() as overflow,
        _aside(left_out) as aside,
        writing(out, command=command, parameters=dict(parameters or {}), parents=[path]) as writer,
    ):
        for line in read_lines(path, overflow):
            rows += 1
            row = row_in(line)
            found = row if isinstance(row, BadRow) else reader(row)
            if also is not None and not isinstance(found, BadRow):
                found = also(found) or found
            if isinstance(found, BadRow):
                errors[found.kind] += 1
                _leave_out(aside, line, found, overflow)
            else:
                writer.line(line.raw)
        writer.counts.update({"rows read": rows, "left out": errors.total()})
        writer.counts.update({f"left out: {kind}": count for kind, count in errors.items()})
    return Fixed(rows, rows - errors.total(), dict(sorted(errors.items())))


@contextmanager
def _aside(path: Path) -> Iterator[BinaryIO]:
    """A private file that stands there whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        private_folder(path.parent)
        handle = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UserError(f"{printable(str(path))} cannot be written ({error.strerror}): name another file") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(handle)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _leave_out(aside: BinaryIO, line: Line, bad: BadRow, overflow: BinaryIO) -> None:
    told = {"line": bad.line, "kind": bad.kind, "field": bad.field, "reason": bad.reason}
    size = overflow.tell()
    if size:
        # A line too long to be held: it is copied piece by piece.
        aside.write(json.dumps(told, ensure_ascii=False).encode()[:-1] + b', "base64": "')
        overflow.seek(0)
        while piece := overflow.read(_PIECE):
            # Its last byte is the end of the line, which is no part of it.
            end = overflow.tell() == size
            aside.write(base64.b64encode(piece.rstrip(b"\r\n") if end else piece))
        aside.write(b'"}\n')
        overflow.seek(0)
        overflow.truncate()
        return
    raw = line.raw
    try:
        text = {"text": raw.decode()}
    except UnicodeDecodeError:
        text = {"base64": base64.b64encode(raw).decode("ascii")}
    aside.write(json.dumps({**told, **text}, ensure_ascii=False).encode() + b"\n")
