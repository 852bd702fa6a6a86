"""The success criteria: the gates and items of stage 7, each met or not, and by what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.report.document import Cell, Figure, cell
from core.report.numbers import NOTHING
from core.report.rounds import stray

if TYPE_CHECKING:
    from core.checklist import Item
    from core.report.sources import Sources

STAGE = 7
# What a decision ticks itself: they follow from the criteria, and are none.
SUCCESS, REPORT, DEPLOYMENT = "eval.success", "eval.report", "eval.deployment"
_BLANK = re.compile(r"_{2,}")
_FOLLOWING = (SUCCESS, REPORT, DEPLOYMENT)


@dataclass(frozen=True, slots=True)
class Criterion:
    """`name` is "gate.NAME" or "item.ID"; `verdict` is that of the gate or item; `by` says what it was met by, or why
    it was not."""

    name: str
    title: str
    met: bool
    verdict: str
    by: str
    cell: Cell = ()  # that with figures, as briefly as a table wants it
    named: Cell = ()  # the title with figures


def label(sources: Sources, item: Item) -> str:
    """The text of an item, its blanks as dots."""
    return sources.clean(_BLANK.sub("…", item.text), 120)


def filled(sources: Sources, item: Item) -> Cell:
    """The text of an item, its blanks filled; what fills an item without blanks stands behind it."""
    texts, values = _BLANK.split(item.text), sources.states[item.id].values
    if len(texts) - 1 != len(values) or not values:
        value = sources.item(item.id, "value")
        return cell(label(sources, item), *((": ", value) if value.shown.strip("—, ") else ()))
    parts: list[str | Figure] = []
    for index, text in enumerate(texts):
        words = sources.clean(text, 120)
        lead, end = " " * text[:1].isspace(), " " * text[-1:].isspace()
        parts += [f"{lead}{words}{end}" if words else " "]
        parts += [sources.item(item.id, "blank", index)] if index < len(values) else []
    return cell(*parts)


def criteria(sources: Sources) -> list[Criterion]:
    """All criteria, gates first, in the order of their files."""
    clean = sources.clean
    found = []
    for (stage, name), result in sources.gates.items():
        if stage != STAGE:
            continue
        other = stray(sources, result.gate.fact, result.run)
        parts = [sources.gate(stage, name, part) for part in ("value", "target", "interval")]
        by = cell(parts[0], ", target ", parts[1], *((", 95 % ", parts[2]) if parts[2].shown != NOTHING else ()))
        if other:
            by = cell(*by, f"; measured on another model: {other}")
        elif result.verdict not in ("PASS", "FAIL"):
            by = cell(*by, "; ", clean(result.reason, 200))
        words = "".join(part if isinstance(part, str) else part.shown for part in by)
        met = result.verdict == "PASS" and not other
        title = clean(result.gate.title, 60)
        found.append(Criterion(f"gate.{name}", title, met, result.verdict, words, by, (f"gate: {title}",)))
    optional = {
        item.id for root in sources.roots for parent in root.walk() if parent.optional for item in parent.walk()
    }
    for item in sources.items.values():
        if item.stage != STAGE or item.id in _FOLLOWING or item.id in optional:
            continue
        state = sources.states[item.id]
        other = _elsewhere(sources, item) if state.by == "fact" else ""
        met = state.state == "done" and not other
        who = {"fact": "its fact", "file": "a tick in the file"}.get(state.by or "", clean(state.by or "nobody", 40))
        words = (f"by {who}" if met else "not done") + (f": {clean(state.why, 160)}" if state.why else "")
        if met and state.override:
            words += " (against what was measured)"
        words += f"; measured on another model: {other}" if other else ""
        verdict = state.verdict or ("done" if met else "open")
        shown = cell(f"measured on another model: {other}" if other else _briefly(sources, item, met, who))
        named = filled(sources, item)
        found.append(Criterion(f"item.{item.id}", label(sources, item), met, verdict, words, shown, named))
    return found


def _elsewhere(sources: Sources, item: Item) -> str:
    """Of which other model its facts are; "" where they are of the one that the report speaks of."""
    found = (stray(sources, name, sources.facts[name].run) for name in item.facts if name in sources.facts)
    return next((of for of in found if of), "")


def _briefly(sources: Sources, item: Item, met: bool, who: str) -> str:
    """Why an item is met or not, where its value stands beside it and the checklist tells the whole."""
    state = sources.states[item.id]
    if met and state.override:
        return f"ticked by {who}, against what was measured"
    if met:
        return f"by {who}"
    if state.verdict == "STALE":
        return sources.clean(state.why or "STALE", 160)
    if state.verdict == "FAIL" and item.target is not None:
        return f"measured, and not {item.target.op}{item.target.number}{item.target.unit}"
    return "measured, and left to a person to tick" if state.value else "not done"
