"""What kind of rows a data file holds, told from its first rows."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any, Literal

from core.data.jsonl import Row, read_rows

Kind = Literal["pairs", "candidates", "prompts", "SFT examples", "benchmark", "table", "rows"]

SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
# Rows that cannot be read are passed over, but not for ever.
_LOOKED_AT = 20


def is_data(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def packed(path: Path) -> bool:
    """Whether its rows cannot be read from the middle of the file."""
    return not path.name.lower().endswith((".jsonl", ".ndjson"))


def kind_of_fields(fields: dict[str, Any]) -> Kind:
    names = fields.keys()
    if {"chosen", "rejected"} & names:
        return "pairs"
    if "responses" in names:
        return "candidates"
    if {"messages", "response", "completion"} & names:
        return "SFT examples"
    return "prompts" if "prompt" in names else "rows"


def kind_of_file(path: Path) -> Kind:
    """
    Raises:
        UserError: it cannot be read at all, or is empty.
    """
    if path.name.lower().endswith(".parquet"):
        return "table"  # its reader is heavy: only who opens it pays for it
    for row in islice(read_rows(path), _LOOKED_AT):
        if isinstance(row, Row):
            return kind_of_fields(row.fields)
    return "rows"
