"""Rows of a Parquet file, through pyarrow where it is installed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.data import lines
from core.data.lines import Line
from core.errors import UserError
from core.text import one_line, printable

# What a batch may take when it is unpacked, by what the file says of itself.
_BATCH_BYTES = 32 * 1024 * 1024
_BATCH_ROWS = 1024
# A column is read in pieces: whole, those of a file with one large row group would all be in memory.
_READ_BYTES = 1 << 20


def parquet_lines(path: Path) -> Iterator[Line]:
    """The rows, counted from 1, as JSON values: NaN as null, dates and decimals as text.

    Raises:
        UserError: pyarrow is not installed, the file is broken, or holds no rows.
    """
    name = printable(str(path))
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{name} is a Parquet file, which pyarrow reads: pip install 'dpotui[parquet]', or write it out as JSONL"
        ) from None
    number = 0
    try:
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_READ_BYTES) as file:
            for batch in file.iter_batches(batch_size=_batch_rows(file.metadata)):
                columns = [(column, _values(batch.column(at), arrow)) for at, column in enumerate(batch.schema.names)]
                for index in range(batch.num_rows):
                    number += 1
                    yield _line(number, {column: _json(values[index]) for column, values in columns})
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of the names of columns
        why = one_line(str(error), 80)
        after = f" after row {number}" if number else ""
        raise UserError(f"{name} is a Parquet file that cannot be read{after} ({why}): fetch it again") from error
    if not number:
        raise UserError(f"{name} is empty: rows with prompt, chosen and rejected are wanted")


def _line(number: int, fields: dict[str, Any]) -> Line:
    size = sum(len(value) for value in fields.values() if isinstance(value, str))
    if size > lines.MAX_LINE:
        why = ("too_long", f"more than {lines.MAX_LINE} characters in one row")
        return Line(number, None, -1, size, fields, bad=why)
    return Line(number, None, -1, size, fields)


def _batch_rows(metadata: Any) -> int:
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    widest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
    return int(min(_BATCH_ROWS, max(1, _BATCH_BYTES // max(1, widest))))


def _values(column: Any, arrow: Any) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return list(column.cast(arrow.binary()).to_pylist())
    except (ValueError, ImportError):  # times in nanoseconds have no Python value
        return list(column.cast(arrow.string()).to_pylist())


def _json(value: Any) -> Any:
    """A value of a column as JSON has it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isnan(value):  # pandas writes what is missing so
            return None
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        # Some writers keep text as binary. What is no text holds half characters now, which text may not.
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return str(value)
