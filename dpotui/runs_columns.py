"""What the list of runs shows of each: the essentials on a narrow screen, a column for each measure on a wide one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from core.runs.query import NEWEST, Listed, Query
from core.store.runs import RESUMABLE
from dpotui import roles, say
from dpotui.roles import Span
from dpotui.runs_desk import KEYS, Seen
from dpotui.stages import STAGES
from dpotui.widgets.table import Column, Row

# From this width on each measure has a column.
APART = 100
_FACT, _KEY = 9, 8
# In the order in which the sorting key goes through them; facts and keys that are shown come between.
_SORTED_FIRST, _SORTED_LAST = (NEWEST, "id", "name", "state", "progress"), ("took",)
WORDS = ("id", "name", "state")
_TITLES = {
    NEWEST: "age",
    "id": "run",
    "training.beta": "β",
    "training.learning_rate": "lr",
    "win_rate": "win",
    "retention": "retained",
}


@dataclass(frozen=True, slots=True)
class RunColumn(Column):
    most: int = 0  # shown on lists narrower than this; 0: on all
    sort: str = ""


def columns(seen: Seen | None) -> tuple[RunColumn, ...]:
    facts, keys = (seen.facts, seen.keys) if seen is not None else ((), ())
    query = seen.query if seen is not None else Query()
    apart = APART
    measured = []
    for name in facts:
        apart += _FACT
        measured.append(RunColumn(_TITLES.get(name, name), _FACT - 1, "right", least=apart - 10, sort=name))
    for key in keys:
        apart += _KEY
        measured.append(RunColumn(KEYS[key], _KEY, "right", least=apart - 10, sort=key))
    every = (
        RunColumn("", 1),
        RunColumn("run", 16, most=APART, sort="id"),
        RunColumn("run", 15, least=APART, sort="id"),
        RunColumn("name", 0, least=APART, sort="name"),
        RunColumn("state", 11, sort="state"),
        RunColumn("", 12, least=150, sort=""),
        RunColumn("step", 11, "right", sort="progress"),
        RunColumn("measured", 0, most=APART),
        *measured,
        RunColumn("tags", 0, least=max(150, apart)),
        RunColumn("took", 8, "right", sort="took"),
        RunColumn("age", 5, "right", sort=NEWEST),
    )
    return tuple(_arrowed(column, query) for column in every)


def _arrowed(column: RunColumn, query: Query) -> RunColumn:
    if not column.sort or column.sort != query.sort:
        return column
    # The newest first is the least age first.
    down = query.descending != (column.sort == NEWEST)
    title = f"{column.title}{'↓' if down else '↑'}"
    return RunColumn(title, column.width, column.align, column.least, column.most, column.sort)


def sorts(seen: Seen | None) -> tuple[str, ...]:
    """What the list can be sorted by, in order."""
    there = (*seen.facts, *seen.keys) if seen is not None else ()
    return (*_SORTED_FIRST, *there, *_SORTED_LAST)


def sort_words(query: Query) -> str:
    title = _TITLES.get(query.sort, query.sort)
    if query.sort == NEWEST:
        return "newest first" if query.descending else "oldest first"
    first = ("z", "a") if query.sort in WORDS else ("the largest", "the smallest")
    return f"by {title}, {first[not query.descending]} first"


def row(run: Listed, seen: Seen, marked: Collection[str], now: float) -> Row:
    """A cell for each of the columns, shown or not."""
    named = run.name if run.name != run.id else ""
    state = f"{run.state}*" if run.archived else run.state
    words: Span = (named, "")
    if run.state in RESUMABLE and run.error:
        words = (f"{named}: {run.error}" if named else run.error, "warn")
    took = say.span((run.ended or now) - run.started) if run.started else ""
    return Row(
        run.id,
        (
            ("●" if run.id in marked else "", "key"),
            (f"{run.id} {named}".rstrip(), ""),
            (run.id, ""),
            words,
            (state, roles.STATES[run.state]),
            ("".join(say.bar(run.step, run.steps, 12)) if run.steps else "", "bar"),
            (_reached(run), ""),
            _together(run, words),
            *((_fact(run, name), "") for name in seen.facts),
            *((_value(run.keys.get(key)), "dim") for key in seen.keys),
            (" ".join(run.tags), "accent"),
            (took, "dim"),
            (say.age(now, run.created), "dim"),
        ),
    )


def _reached(run: Listed) -> str:
    if not run.steps:
        return ""
    return f"{100 * run.step // run.steps}%" if run.kind == "evaluate" else f"{run.step}/{run.steps}"


def _fact(run: Listed, name: str) -> str:
    if name not in run.facts:
        return ""
    value, unit = run.facts[name]
    return say.value(value, unit if unit == "%" else "")


def _together(run: Listed, words: Span) -> Span:
    """On a narrow list: why it ended as it should not, else what was measured, and the tags."""
    tags = f" {' '.join(run.tags)}" if run.tags else ""
    if words[1] == "warn":
        return words
    said = " ".join(f"{_TITLES.get(name, name)} {_short(run, name)}" for name in run.facts)
    return f"{said}{tags}".strip(), "dim"


def _short(run: Listed, name: str) -> str:
    """Three digits that count: two measures stand side by side at 80 columns, and none is cut within its number."""
    value, unit = run.facts[name]
    if value is None or not 1e-3 <= abs(value) < 1000:
        return _fact(run, name)
    return f"{value:.3g}%" if unit == "%" else f"{value:.3g}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def group_words(group: str, name: str) -> str:
    """A group as its heading says it."""
    if group == "stage":
        return f"stage {name} {STAGES[int(name)].title}"
    empty: Mapping[str, str] = {"tag": "no tag", "parent": "no parent"}
    return name.replace("_", " ") if name and group == "kind" else name or empty.get(group, "—")
