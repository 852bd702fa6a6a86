"""Rounds of iterations as rows of a table: for the command line and the terminal alike."""

from __future__ import annotations

from core.store import Database, facts, iterations
from core.store.facts import Fact
from core.store.iterations import Iteration
from core.store.runs import Run
from core.text import one_line

COLUMNS = ("iteration", "score", "interval", "n", "KL", "KL from start", "retention", "decision")

_NOTHING = "-"


def cells(db: Database, run: Run, one: Iteration) -> tuple[str, ...]:
    """What stands under COLUMNS of a round. Text is safe to show."""
    found: dict[str, Fact] = {}
    for part in (one.dpo, one.evaluation):
        found |= facts.of_run(db, part) if part is not None else {}
    decided = iterations.decision(db, run.id, one.number)
    return (
        str(one.number) if one.number else "start",
        _score(one),
        _NOTHING if one.low is None or one.high is None or one.low == one.high else f"{one.low:.3g} to {one.high:.3g}",
        _NOTHING if one.n is None else str(one.n),
        _value(found, "dpo.kl_divergence"),
        _value(found, "eval.kl_divergence"),
        _value(found, "eval.retention"),
        _decision(one, decided),
    )


def _score(one: Iteration) -> str:
    if one.score is None:
        return "unknown" if one.why else _NOTHING
    return f"{one.score:.4g}{f' {one.unit}' if one.unit else ''}"


def _value(found: dict[str, Fact], name: str) -> str:
    fact = found.get(name)
    if fact is None or fact.value is None:
        return _NOTHING
    return f"{fact.value:.3g}{' %' if fact.unit == '%' else ''}"


def _decision(one: Iteration, decided: iterations.Decided | None) -> str:
    if decided is not None:
        to = f" to {decided.target or 'the start'}" if decided.choice == "rollback" else ""
        return one_line(f"{decided.choice}{to} ({decided.who})", 40)
    return "beyond a limit" if one.broken else _NOTHING
