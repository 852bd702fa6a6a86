"""Sheets and marks out and back: nothing is lost, nothing counted twice, bad rows are named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.evaluation.ratings.exchange import export_ratings, export_sheet, import_ratings
from core.evaluation.ratings.session import Session, sheet_of
from core.evaluation.ratings.source import Source
from core.store import Database, ratings
from tests.core.evaluation.ratings.conftest import BASELINE_NAME, FINAL_NAME


def _standing(db: Database, source: Source) -> set[tuple[str, str, str, int | None, str]]:
    return {(one.key, one.criterion, one.who, one.mark, one.note) for one in ratings.of_file(db, source.file)}


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_sheet_is_blind_and_comes_back_filled_in(db: Database, source: Source, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"sheet.{ending}"
    assert export_sheet(db, source, "ana", out, size=3) == 6
    assert out.stat().st_mode & 0o777 == 0o600
    text = out.read_text()
    assert not [word for word in (FINAL_NAME, BASELINE_NAME, "model", source.file) if word in text]
    if ending == "csv":
        rows = list(csv.DictReader(text.splitlines()))
    else:
        rows = [json.loads(line) for line in text.splitlines()]
    assert [row["key"] for row in rows] == list(sheet_of(source, "ana", size=3).keys)
    assert set(rows[0]) == {"key", "who", *source.criteria, "note", "prompt", "answer"}
    for number, row in enumerate(rows[:4]):
        row.update(helpfulness=number + 1, harmlessness="10", honesty="-", note="fine" if number == 2 else "")
    filled = tmp_path / f"filled.{ending}"
    if ending == "csv":
        with filled.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        filled.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = import_ratings(db, source, filled)
    assert (done.rows, done.empty, done.new, done.bad_rows) == (6, 2, 13, 0)
    said = {one.criterion: one.mark for one in ratings.of_file(db, source.file) if one.key == rows[2]["key"]}
    assert said == {"helpfulness": 3, "harmlessness": 10, "honesty": None, "": None}
    done = import_ratings(db, source, filled)
    assert (done.new, done.changed, done.known) == (0, 0, 13)
    # Changed in a sheet that was filled in later: the newer mark counts.
    rows[0]["helpfulness"] = 9
    sheet = tmp_path / "again.jsonl"
    sheet.write_text("".join(json.dumps(row) + "\n" for row in rows[:1]))
    done = import_ratings(db, source, sheet)
    assert (done.changed, done.known) == (1, 2)


def test_everything_comes_back_on_another_machine(
    db: Database, source: Source, tmp_path: Path, clock: Callable[[], float]
) -> None:
    for who in ("ana", "ben"):
        session = Session(db, source, sheet_of(source, who), who, clock)
        for mark in range(1, 8):
            session.give(mark)
        session.take_note(f"=1+1 {who}")
        session.pass_over()
    before = _standing(db, source)
    out = tmp_path / "ratings.jsonl"
    assert export_ratings(db, source, out) == 6
    db.execute("DELETE FROM ratings")
    db.conn.commit()
    done = import_ratings(db, source, out)
    assert (done.new, done.bad_rows) == (len(before), 0)
    assert _standing(db, source) == before
    table = tmp_path / "ratings.csv"
    export_ratings(db, source, table)
    assert "'=1+1 ana" in table.read_text()  # a spreadsheet would run it


def test_older_marks_do_not_replace_newer_ones(
    db: Database, source: Source, tmp_path: Path, clock: Callable[[], float]
) -> None:
    session = Session(db, source, sheet_of(source, "ana"), "ana", clock)
    key = session.key
    session.give(7)
    path = tmp_path / "old.jsonl"
    path.write_text(json.dumps({"key": key, "who": "ana", "helpfulness": 2, "time": 1000}) + "\n")
    assert import_ratings(db, source, path).older == 1
    assert [one.mark for one in ratings.of_file(db, source.file)] == [7]


def test_rows_that_hold_no_marks_are_named(db: Database, source: Source, tmp_path: Path) -> None:
    key = next(iter(source.catalogue().entries))
    rows = [
        {"key": key, "who": "ana", "helpfulness": 11},
        {"key": key, "who": "ana", "helpfulness": "7.5"},
        {"key": key, "helpfulness": 7},
        {"key": "0" * 32, "who": "ana", "helpfulness": 7},
        {"key": "x", "who": "ana", "helpfulness": 7},
        {"who": "ana", "helpfulness": 7},
        {"key": key, "who": "\x1b[31m", "helpfulness": 7},
        {"key": key, "who": "ana", "helpfulnes": 7},
        {"key": key, "who": "ana", "helpfulness": 7, "time": "noon"},
        {"prompt": "Question 3?", "answer": "final says 3", "who": "ana", "helpfulness": 7.0},
    ]
    path = tmp_path / "marks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    done = import_ratings(db, source, path)
    assert (done.rows, done.new, done.bad_rows) == (1, 1, 10)
    reasons = [(row.line, row.reason) for row in done.bad]
    assert reasons[0] == (
        1,
        "helpfulness must be a whole number from 1 to 10, or - where it was passed over, not '11'",
    )
    assert reasons[2] == (3, "who is missing: the rater's name is wanted (or --as NAME for all rows)")
    assert reasons[3] == (4, f"key belongs to no answer of {source.file}")
    assert reasons[5] == (6, "key is missing, and so is prompt: one of them says what was rated")
    assert reasons[7] == (8, "helpfulnes is no criterion: helpfulness, harmlessness, honesty")
    assert all(reason.isprintable() for _, reason in reasons)
    (mark,) = ratings.of_file(db, source.file)
    assert (mark.line, mark.mark) == (4, 7)
