"""Marks out of runs.db and back: a sheet for a rater without the terminal, and all marks for other tools."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.jsonl import BadRow, Row, kind_of, read_rows
from core.data.manifest import writing
from core.data.messages import Refused, text_of
from core.errors import UserError
from core.evaluation.ratings.sample import Catalogue, answer_key, texts
from core.evaluation.ratings.session import sheet_of
from core.evaluation.ratings.source import COLUMNS, Source
from core.store import Database, ratings, transaction
from core.store.ratings import NOTE, Rating
from core.store.votes import voter
from core.text import one_line, printable
from core.workspace import private_folder

# What stands for a mark where a criterion was passed over.
PASSED = "-"

_NOT_ON_A_SHEET = ("time", "model", "line")

# Bad rows that are told one by one.
_TOLD = 20


def _row(said: Mapping[str, Rating], source: Source, key: str, who: str, told: tuple[Any, str]) -> dict[str, Any]:
    marks = {c: None if c not in said else (PASSED if said[c].mark is None else said[c].mark) for c in source.criteria}
    note = said[NOTE].note if NOTE in said else ""
    moments = [one.time for one in said.values()]
    return {
        "key": key, "who": who, **marks, "note": note, "time": max(moments) if moments else None,
        "model": None, "line": None, "prompt": told[0], "answer": told[1],
    }  # fmt: skip


def _said(given: Iterable[Rating]) -> dict[tuple[str, str], dict[str, Rating]]:
    """By rater and answer what was said."""
    found: dict[tuple[str, str], dict[str, Rating]] = {}
    for one in given:
        found.setdefault((one.who, one.key), {})[one.criterion] = one
    return found


def export_sheet(
    db: Database, source: Source, who: str, out: Path, *, size: int | None = None, seed: int | None = None
) -> int:
    """Write what one person rates, in that person's order, to be filled in elsewhere: no model, no line, no file name.

    Marks that stand are in it, without their times: what is changed there is newer. CSV where the name ends so, else
    JSONL.

    Raises:
        UserError: a file cannot be read or written.
    """
    sheet = sheet_of(source, who, size=size, seed=seed)
    said = _said(ratings.of_file(db, source.file, who))
    rows = [_row(said.get((who, key), {}), source, key, who, sheet.texts[key]) for key in sheet.keys]
    for row in rows:
        for column in _NOT_ON_A_SHEET:
            del row[column]
    return _write(source, out, rows, {"format": "sheet", "who": who})


def export_ratings(db: Database, source: Source, out: Path) -> int:
    """Write everybody's marks, a row for each answer and rater, with the model. CSV where the name ends so, else JSONL.

    Raises:
        UserError: a file cannot be read or written.
    """
    entries = source.catalogue().entries
    said = {names: found for names, found in _said(ratings.of_file(db, source.file)).items() if names[1] in entries}
    told = texts(source.path, {key for _, key in said})
    rows = [_row(said[who, key], source, key, who, told[key]) for who, key in sorted(said)]
    for row in rows:
        entry = entries[row["key"]]
        row.update(model=" and ".join(entry.roles), line=entry.line)
    return _write(source, out, rows, {"format": "ratings"})


def _write(source: Source, out: Path, rows: list[dict[str, Any]], parameters: dict[str, Any]) -> int:
    if out.suffix.lower() == ".csv":
        columns = ["key", "who", *source.criteria, *COLUMNS[2:]]
        if parameters["format"] == "sheet":
            columns = [column for column in columns if column not in _NOT_ON_A_SHEET]
        _write_csv(out, source.path, columns, rows)
        return len(rows)
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    parameters["ratings_sha256"] = digest
    with writing(out, command="annotate export", parameters=parameters, parents=[source.path]) as writer:
        for row in rows:
            writer.row(row)
    return len(rows)


def _write_csv(out: Path, path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """For a spreadsheet, whole or not at all, readable by its owner only."""
    name = printable(str(out))
    if out.exists() and (not out.is_file() or out.samefile(path)):
        raise UserError(f"{name} is not a file that may be replaced: name another one")
    part = out.with_name(out.name + ".part")
    try:
        private_folder(out.parent)
        handle = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_cell(row[column]) for column in columns] for row in rows)
        part.replace(out)
    except OSError as error:
        raise UserError(f"{name} cannot be written ({error.strerror}): name another file") from error
    finally:
        part.unlink(missing_ok=True)


def _cell(value: object) -> str:
    if isinstance(value, str):
        # A spreadsheet runs a cell that begins so as a formula; models write such texts.
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) and value != PASSED else value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the rows of a file of marks; `new`, `changed`, `known` and `older` count marks and notes.

    Attributes:
        rows: rows that could be read.
        empty: of them those in which nothing is filled in.
        bad: rows that hold no marks, the first of them; `bad_rows` how many.
    """

    rows: int
    empty: int
    new: int
    changed: int
    known: int
    older: int
    bad: tuple[BadRow, ...]
    bad_rows: int


def import_ratings(db: Database, source: Source, path: Path, *, who: str | None = None) -> Imported:
    """Take in marks that `export_sheet`, `export_ratings` or another tool wrote; all or, where reading fails, none.

    A row has `who`, `key` (or the texts `prompt` and `answer`) and a column for each criterion: a whole number on the
    scale, `-` where it was passed over, nothing where it was not asked. The same mark is not taken twice; of two marks
    of a person the newer one counts.

    Args:
        who: the rater of rows that name none.

    Raises:
        UserError: the file cannot be read at all.
    """
    catalogue = source.catalogue()
    counts: Counter[str] = Counter()
    bad: list[BadRow] = []
    # A row without a time of its own was filled in by now.
    written = path.stat().st_mtime if path.exists() else 0.0
    with transaction(db):
        for row in read_rows(path):
            found = row if isinstance(row, BadRow) else _ratings(row, source, catalogue, who, written)
            if isinstance(found, BadRow):
                counts["bad"] += 1
                bad += [found] if len(bad) < _TOLD else []
                continue
            counts["rows"] += 1
            counts["empty"] += not found
            for one in found:
                counts[_take(db, one)] += 1
    return Imported(
        counts["rows"], counts["empty"], counts["new"], counts["changed"], counts["known"], counts["older"],
        tuple(bad), counts["bad"],
    )  # fmt: skip


def _take(db: Database, given: Rating) -> str:
    there = ratings.standing_of(db, given)
    if there is not None and (there.mark, there.note) == (given.mark, given.note):
        return "known"
    if ratings.was_given(db, given):
        return "known"
    if there is not None and there.time >= given.time:
        return "older"
    ratings.rate(db, given)
    return "changed" if there is not None else "new"


def _ratings(row: Row, source: Source, catalogue: Catalogue, who: str | None, written: float) -> list[Rating] | BadRow:
    fields = {name: value for name, value in row.fields.items() if value not in (None, "")}
    try:
        key = _key(fields)
        if key not in catalogue.entries:
            raise Refused("key", "key", f"belongs to no answer of {printable(source.file)}")
        name = _who(fields.get("who", who))
        line, run = catalogue.entries[key].line, source.run.id if source.run is not None else None
        moment = _time(fields.get("time"), written)
        found = [
            Rating(key, criterion, name, _mark(fields[criterion], criterion, source.bounds), "", source.file, line,
                   run, moment)
            for criterion in source.criteria
            if criterion in fields
        ]  # fmt: skip
        note = fields.get("note", "")
        if not isinstance(note, str):
            raise Refused("type", "note", f"must be text, not {kind_of(note)}")
        if note.strip():
            found.append(Rating(key, NOTE, name, None, note.strip(), source.file, line, run, moment))
        unknown = set(fields) - set(source.criteria) - set(COLUMNS)
        if not found and unknown:
            known = ", ".join(source.criteria)
            raise Refused("criterion", one_line(min(unknown), 24), f"is no criterion: {known}")
        return found
    except Refused as refused:
        return refused.row(row)


def _key(fields: Mapping[str, Any]) -> str:
    key = fields.get("key")
    if key is not None:
        if not isinstance(key, str) or len(key) != 32 or set(key) - set("0123456789abcdef"):
            raise Refused("key", "key", "must be 32 hex digits, or prompt and answer must be there")
        return key
    if "prompt" not in fields:
        raise Refused("missing", "key", "is missing, and so is prompt: one of them says what was rated")
    answer = fields.get("answer", "")
    if not isinstance(answer, str):
        raise Refused("type", "answer", f"must be text, not {kind_of(answer)}")
    return answer_key(text_of(fields["prompt"], "prompt"), answer)


def _who(name: object) -> str:
    if not isinstance(name, str):
        raise Refused("missing", "who", "is missing: the rater's name is wanted (or --as NAME for all rows)")
    try:
        return voter(name)
    except UserError as error:
        raise Refused("who", "who", f"is no name: {error}") from None


def _mark(value: object, criterion: str, bounds: tuple[int, int]) -> int | None:
    if value == PASSED:
        return None
    shown = one_line(str(value), 24)
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        value = int(value.strip()[:6])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    low, high = bounds
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        words = f"must be a whole number from {low} to {high}, or {PASSED} where it was passed over, not '{shown}'"
        raise Refused("mark", criterion, words)
    return value


def _time(value: object, written: float) -> float:
    if value is None:
        return written
    try:
        moment = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        moment = math.nan
    if not math.isfinite(moment) or moment < 0:
        raise Refused("time", "time", f"must be in seconds since 1970, not '{one_line(str(value), 24)}'")
    return moment
