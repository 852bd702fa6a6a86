"""What people said of answers and runs: their marks for each model apart, and their notes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.evaluation.ratings import scores, source
from core.evaluation.ratings.sample import BASELINE, FINAL
from core.evaluation.ratings.scores import ALL, Summary
from core.report.clean import moment
from core.report.document import Block, Bullets, Cell, Figure, Key, Paragraph, cell, row, table
from core.report.numbers import NOTHING, interval, number
from core.store import notes

if TYPE_CHECKING:
    from core.report.sources import Sources

_FILES = 4
_CRITERIA = 9
_NOTES = 60
# No model: marks on answers that nobody can tell apart any more.
UNTOLD = ""


def marks(sources: Sources) -> list[Block]:
    """Marks by file, model and criterion. Marks for two models are never one mean."""
    sql = "SELECT file FROM ratings WHERE undone = 0 AND mark IS NOT NULL GROUP BY file ORDER BY max(id) DESC LIMIT ?"
    rows = []
    for (file,) in sources.db.execute(sql, [_FILES]).fetchall():
        found = summary(sources, file)
        if found is None:
            told = "SELECT DISTINCT criterion FROM ratings WHERE undone = 0 AND file = ? ORDER BY criterion LIMIT ?"
            names = [(UNTOLD, name) for (name,) in sources.db.execute(told, [file, _CRITERIA])]
        else:
            names = [(each.role, name) for each in found.models for name in list(each.of)[: _CRITERIA + 1]]
        for role, name in names:
            figures = [mark(sources, file, role, name, part) for part in ("mean", "interval", "n")]
            # A key would tell where on this machine a file of somebody else lies.
            cells = [figure.shown for figure in figures] if Path(file).is_absolute() else figures
            model = _model(sources, found, role)
            criterion = "all criteria" if name == ALL else sources.clean(name, 40)
            rows.append(row(sources.clean.path(file), model, criterion, *cells))
    if not rows:
        return []
    head = ("answers", "model", "criterion", "mean mark", "95 % interval", "n")
    sql = "SELECT count(DISTINCT who) FROM ratings WHERE undone = 0 AND mark IS NOT NULL"
    raters = sources.db.execute(sql).fetchone()[0]
    words = f"Marks by people, {raters} rater{'' if raters == 1 else 's'}, blind to the model:"
    return [Paragraph((words,)), table(head, rows, (3, 5))]


def _model(sources: Sources, found: Summary | None, role: str) -> str:
    """Whose answers were marked, and whether that is the model of this report."""
    if found is None:
        return "not known: the answers cannot be read any more"
    names = [name for name, known in found.source.names.items() if known == role and name != role]
    name = names[-1] if names else role
    wanted = {FINAL: sources.chain.final_model, BASELINE: sources.chain.baseline_model}.get(role)
    other = wanted is not None and found.source.run is not None and wanted not in [*names, role]
    words = f"{name} ({role})" if name != role else role
    return sources.clean(f"ANOTHER MODEL: {words}" if other else words, 120)


def summary(sources: Sources, file: str) -> Summary | None:
    """The marks on the answers of a file; None where they cannot be read any more."""
    if file not in sources.summaries_of_marks:
        try:
            answers = source.source_of(sources.db, sources.workspace, sources.workspace.path(file))
            found: Summary | None = scores.summary(sources.db, answers)
        except (UserError, OSError, ValueError):
            found = None
        sources.summaries_of_marks[file] = found
    return sources.summaries_of_marks[file]


def mark(sources: Sources, file: str, role: str, criterion: str, part: str) -> Figure:
    key: Key = ("marks", file, role, criterion, part)
    if role == UNTOLD:
        sql = "SELECT count(mark), avg(mark) FROM ratings WHERE undone = 0 AND file = ? AND criterion = ?"
        n, value = sources.db.execute(sql, [file, criterion]).fetchone()
        low = high = None
    else:
        found = summary(sources, file)
        model = found.model(role) if found is not None else None
        estimate = model.of.get(criterion) if model is not None else None
        if estimate is None:
            return Figure(key, NOTHING, NOTHING)
        n, value, low, high = estimate.n, estimate.value, estimate.low, estimate.high
    shown = {"mean": number(value), "interval": interval(low, high), "n": str(n)}[part]
    return Figure(key, shown, repr({"mean": value, "interval": (low, high), "n": n}[part]))


def remarks(sources: Sources) -> list[Block]:
    """What people wrote beside their marks and on runs."""
    sql = (
        "SELECT who, time, note, file FROM ratings WHERE undone = 0 AND note != '' GROUP BY who, note, key, file"
        " ORDER BY min(id) LIMIT ?"
    )
    found: list[Cell] = [
        cell(f"{sources.clean(who, 40)} on {sources.clean.path(file)}, {moment(when)}: ", sources.clean(note, 500))
        for who, when, note, file in sources.db.execute(sql, [_NOTES])
    ]
    subjects = sources.db.execute("SELECT DISTINCT subject FROM notes ORDER BY subject LIMIT ?", [_NOTES])
    for (subject,) in subjects.fetchall():
        for note in notes.of(sources.db, subject)[: max(0, _NOTES - len(found))]:
            about = sources.clean(subject, 60)
            found.append(
                cell(f"{sources.clean(note.who, 40)} on {about}, {moment(note.time)}: ", sources.clean(note.text, 500))
            )
    if not found:
        return [Paragraph(("Notes by people: none.",))]
    return [Paragraph(("Notes by people:",)), Bullets(tuple(found))]
