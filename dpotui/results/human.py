"""Marks by people in the pane of stage 7: each model by criterion with intervals, agreement, the newest notes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from core.evaluation.ratings.scores import ALL, Summary, mean_words, people, summary
from core.evaluation.ratings.source import has_answers, newest, source_of
from core.store import Database, ratings
from core.store.runs import Run
from core.text import one_line
from core.workspace import Workspace
from dpotui import say
from dpotui.results import Block
from dpotui.roles import Span

# Notes that are shown; 'dpotui annotate rate --count --json' has all.
_NOTES = 8
_LABEL = 16
_CELL = 19
# Reading the answers takes a second from here on, and the pane is read anew with every mark.
_LARGEST = 32 * 1024 * 1024


def read(db: Database, workspace: Workspace, run: Run | None) -> Block | None:
    """
    Raises:
        UserError: the answers or the configuration cannot be read.
    """
    if run is None or not has_answers(db, workspace, run):
        run = newest(db, workspace)
    if run is None:
        return None
    source = source_of(db, workspace, run=run)
    if not ratings.of_file(db, source.file):
        return Block("Human evaluation", lambda width: [_nothing(width)])
    if source.path.stat().st_size > _LARGEST:
        words = f"{source.file} is large: 'dpotui annotate rate --count' counts its marks"
        return Block("Human evaluation", lambda width: [[(one_line(words, width), "dim")]])
    found = summary(db, source)
    return Block("Human evaluation", lambda width: _lines(found, width))


def _nothing(width: int) -> Sequence[Span]:
    return [(" nobody has rated these answers yet: ", "dim"), ("h", "key"), (" begins", "dim")]


def _lines(found: Summary, width: int) -> list[Sequence[Span]]:
    rows: list[Sequence[Span]] = [*table(found, width)]
    rows.append([(f" {one_line(agreement_words(found), width - 2)}", "")])
    rows.append([(f" {one_line(people(found.raters), width - 2)}", "dim")])
    if found.lost:
        rows.append(
            [(f" {found.lost:,} marks are of answers that are gone from {one_line(found.source.file, 40)}", "warn")]
        )
    for note in found.notes[:_NOTES]:
        # Not of whose answer: somebody may still be rating, and would know one model by the style of it.
        head = f" {say.date(note.time)[5:]} {one_line(note.who, 10)}: "
        rows.append([(head, "dim"), (one_line(note.note, max(8, width - cell_len(head) - 1)), "")])
    if found.notes:
        more = f"{len(found.notes) - _NOTES:,} more, and " if len(found.notes) > _NOTES else ""
        rows.append([(one_line(f" {more}of whose answers: dpotui annotate rate --count", width), "dim")])
    return rows


def table(found: Summary, width: int) -> list[Sequence[Span]]:
    """A row for each criterion, a column for each model, and the difference where there are both."""
    columns = max(1, (width - _LABEL - 1) // _CELL)
    apart = bool(found.difference) and columns > 2
    models = found.models[: columns - apart]
    head = [*(one_line(model.role or "(no name)", _CELL - 2) for model in models), *(["difference"] if apart else [])]
    rows: list[Sequence[Span]] = [[(_cells(f"of {found.source.bounds[1]}", head), "dim")]]
    for name in (*found.source.criteria, ALL):
        cells = [mean_words(model.of[name]) for model in models]
        if apart:
            one = found.difference.get(name)
            cells.append("–" if one is None else _signed(mean_words(one.estimate)))
        label = "mean" if name == ALL else name
        rows.append([(_cells(label, cells), "title" if name == ALL else "")])
    counts = [
        f"{model.rated} of {model.planned}" if model.rated <= model.planned else str(model.rated) for model in models
    ]
    if apart:
        one = found.difference.get(ALL)
        kind = "pairs" if one is not None and one.paired else "not paired"
        counts.append("" if one is None else (f"{one.estimate.n} {kind}" if one.paired else kind))
    rows.append([(_cells("answers rated", counts), "dim")])
    if found.difference and not apart and (all_ := found.difference.get(ALL)) is not None:
        words = f"difference {_signed(mean_words(all_.estimate))}, {'paired' if all_.paired else 'not paired'}"
        rows.append([(f" {one_line(words, width - 2)}", "")])
    return rows


def _signed(words: str) -> str:
    return words if words.startswith("-") else f"+{words}"


def _cells(label: str, cells: Sequence[str]) -> str:
    shown = one_line(label, _LABEL - 1)
    line = f" {shown}{' ' * (_LABEL - cell_len(shown))}"
    return line + "".join(f"{cell}{' ' * max(1, _CELL - cell_len(cell))}" for cell in cells)


def agreement_words(found: Summary) -> str:
    """Alpha with its interval, or why there is none."""
    alpha = found.agreement[ALL]
    if alpha.value is None:
        return f"agreement unknown: {alpha.reason}"
    interval = f" ({alpha.low:.2f} to {alpha.high:.2f})" if alpha.low is not None and alpha.high is not None else ""
    same = f", {100 * alpha.exact:.0f} % the same mark" if alpha.exact is not None else ""
    return f"agreement: Krippendorff's alpha {alpha.value:.2f}{interval} on {alpha.answers} answers{same}"
