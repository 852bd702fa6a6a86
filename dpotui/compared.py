"""How a comparison of runs is said: rows of cells, the same on the screen and on the command line."""

from __future__ import annotations

import json
from typing import Any

from core.runs.compare import LACKING, Comparison, Measured
from dpotui import say
from dpotui.roles import STATES, Span

Rows = list[tuple[str, tuple[Span, ...]]]


def head_rows(found: Comparison) -> Rows:
    """Name, state, steps and time of each run."""
    rows: Rows = []
    if any(run.name != run.id for run in found.runs):
        rows.append(("name", tuple((run.name if run.name != run.id else "", "") for run in found.runs)))
    rows.append(("state", tuple((run.state, STATES[run.state]) for run in found.runs)))
    if any(run.steps for run in found.runs):
        rows.append(("step", tuple((f"{run.step}/{run.steps}" if run.steps else "—", "") for run in found.runs)))
    spans = [run.ended - run.started if run.started and run.ended else None for run in found.runs]
    rows.append(("took", tuple((say.span(took) if took is not None else "—", "dim") for took in spans)))
    return rows


def config_rows(found: Comparison) -> Rows:
    return [(row.key, tuple(_setting(value) for value in row.values)) for row in found.config]


def fact_rows(found: Comparison) -> Rows:
    return [(f"{row.name}{_direction(row)}", tuple(_measured(row, place) for place in range(len(row.facts))))
            for row in found.facts]  # fmt: skip


def _setting(value: Any) -> Span:
    if value is LACKING:
        return "—", "dim"
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)), ""


def _direction(row: Measured) -> str:
    unit = f" ({row.unit})" if row.unit and row.unit != "%" else ""
    return unit + {"higher": " ↑", "lower": " ↓", None: ""}[row.better]


def _measured(row: Measured, place: int) -> Span:
    """A value with its interval, and whether it is the best."""
    fact = row.facts[place]
    if fact is None:
        return "—", "dim"
    if fact.value is None:
        return "unknown", "dim"
    if not fact.unit and fact.n is None and fact.low is None and fact.value in (0.0, 1.0):
        return ("yes" if fact.value else "no"), ""
    said = say.value(fact.value, fact.unit if fact.unit == "%" else "")
    # What is cut on a narrow screen is the interval, never the word.
    word = " best" if place in row.best else " close" if place in row.close else ""
    interval = ""
    if fact.low is not None and fact.high is not None:
        interval = f" [{say.number(fact.low)}, {say.number(fact.high)}]"
    return f"{said}{word}{interval}", "good" if place in row.best else ""
