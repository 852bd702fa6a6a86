"""Iterations in the pane "Results": a row for each round, what is weak, whether more brings anything, decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from core.errors import UserError
from core.store import Database, iterations
from core.store.iterations import Decided, Iteration
from core.store.runs import Run
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui.iterations_table import COLUMNS, cells
from dpotui.results import Block
from dpotui.roles import Span
from dpotui.wrap import wrap

# Of a table that is wider than the pane these columns go first.
_GO = ("n", "retention", "KL from start", "interval", "KL")


class _Found(NamedTuple):
    rows: tuple[tuple[str, ...], ...]
    rounds: tuple[Iteration, ...]
    decided: tuple[Decided, ...]
    convergence: str
    advice: str  # what the rule would do, where nobody decided yet
    best: int | None
    stands: int | None  # whose model was decided for
    waits: bool


def read(db: Database, workspace: Workspace, run: Run | None) -> Block | None:
    """Of the run in hand."""
    if run is None or run.kind != "iterate":
        return None
    rounds = iterations.listing(db, run.id)
    if not rounds:
        return None
    # pydantic is not needed to open the terminal.
    from core.experiments.iterate_decide import standing
    from core.experiments.iterate_judgement import best, converged

    decided = tuple(iterations.decisions(db, run.id))
    convergence = advice = ""
    top, waits = None, False
    try:
        plan, done, advised = standing(db, run)
    except UserError:
        pass
    else:
        convergence = converged(done, plan.config)[1]
        best_one = best(done, plan.config)
        top = best_one.number if best_one is not None else None
        waits = run.state == "stopped" and iterations.decision(db, run.id, done[-1].number) is None
        to = f" to iteration {advised.target}" if advised.choice == "rollback" and advised.target else ""
        to = " to the start" if advised.choice == "rollback" and not advised.target else to
        advice = f"{advised.choice}{to}: {advised.reason}"
    rows = tuple(cells(db, run, one) for one in rounds)
    stands = next((each.target for each in reversed(decided) if each.done is not None), None)
    found = _Found(rows, tuple(rounds), decided, convergence, advice, top, stands, waits)
    fact = str(run.config.get("score", {}).get("fact", ""))
    return Block(f"Iterations of {run.id}, compared by {one_line(fact, 40)}", lambda width: _lines(found, width))


def _lines(found: _Found, width: int) -> list[Sequence[Span]]:
    lines: list[Sequence[Span]] = list(_table(found, width))
    if found.waits:
        lines.append([])
        lines += _wrapped("D decides what follows. The rule would ", found.advice, width, "warn")
    if found.convergence and not (found.waits and found.convergence in found.advice):
        lines += _wrapped("convergence: ", found.convergence, width, "")
    for one in found.rounds:
        for limit in one.broken:
            lines += _wrapped(f"iteration {one.number}: ", limit, width, "bad")
    last = next((one for one in reversed(found.rounds) if one.weaknesses), None)
    if last is not None:
        for weak in last.weaknesses:
            lines += _wrapped(f"weak after iteration {last.number}: ", str(weak.get("text", "")), width, "")
    for each in found.decided:
        settings = f" with {', '.join(each.settings)}" if each.settings else ""
        lines += _wrapped(f"{_after(each)}: ", f"{each.reason}{settings}", width, "dim")
    return lines


def _after(each: Decided) -> str:
    to = f" to {f'iteration {each.target}' if each.target else 'the start'}" if each.choice == "rollback" else ""
    return f"after iteration {each.number} {each.who} said {each.choice}{to}"


def _wrapped(label: str, words: str, width: int, role: str) -> list[Sequence[Span]]:
    return [[(line, role)] for line in wrap(printable(f"{label}{words}"), max(20, width))]


def _table(found: _Found, width: int) -> list[Sequence[Span]]:
    """The rounds; the best one is marked by a word, for whom colours say nothing."""
    columns = list(range(len(COLUMNS)))
    rows = [COLUMNS, *found.rows]
    for name in ("", *_GO):
        columns = [place for place in columns if not name or COLUMNS[place] != name]
        widths = {place: max(len(row[place]) for row in rows) for place in columns}
        if sum(widths.values()) + 2 * len(columns) + len("best, stands") <= width:
            break
    lines: list[Sequence[Span]] = []
    for number, row in enumerate(rows):
        of = found.rounds[number - 1] if number else None
        role = "dim" if of is None else "bad" if of.broken else "title" if of.number == found.best else ""
        text = "  ".join(_cell(row[place], widths[place], place) for place in columns)
        known = (("best", found.best), ("stands", found.stands))
        marks = ", ".join(word for word, at in known if of is not None and of.number == at)
        lines.append([(one_line(f"{text}  {marks}", width), role)])
    return lines


def _cell(text: str, width: int, place: int) -> str:
    """Words to the left, figures to the right."""
    return f"{text:{width}}" if place in (0, len(COLUMNS) - 1) else f"{text:>{width}}"
