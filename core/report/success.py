"""The success criteria: the gates and items of stage 7, each met or not, and by what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.report.document import Cell, cell

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
    cell: Cell = ()  # the same with figures


def label(sources: Sources, item: Item) -> str:
    """The text of an item, its blanks as dots: what fills them stands beside it."""
    return sources.clean(_BLANK.sub("…", item.text), 120)


def criteria(sources: Sources) -> list[Criterion]:
    """All criteria, gates first, in the order of their files."""
    clean = sources.clean
    found = []
    for (stage, name), result in sources.gates.items():
        if stage != STAGE:
            continue
        value = sources.gate(stage, name, "value")
        by = cell(value, f" (target {result.gate.target})")
        why = clean(result.reason, 200)
        by = by if result.verdict == "PASS" else cell(value, f" (target {result.gate.target}); ", why)
        words = "".join(part if isinstance(part, str) else part.shown for part in by)
        met = result.verdict == "PASS"
        found.append(Criterion(f"gate.{name}", clean(result.gate.title, 60), met, result.verdict, words, by))
    optional = {
        item.id for root in sources.roots for parent in root.walk() if parent.optional for item in parent.walk()
    }
    for item in sources.items.values():
        if item.stage != STAGE or item.id in _FOLLOWING or item.id in optional:
            continue
        state = sources.states[item.id]
        met = state.state == "done"
        who = {"fact": "its fact", "file": "a tick in the file"}.get(state.by or "", clean(state.by or "nobody", 40))
        words = (f"by {who}" if met else "not done") + (f": {clean(state.why, 160)}" if state.why else "")
        if met and state.override:
            words += " (against what was measured)"
        verdict = state.verdict or ("done" if met else "open")
        found.append(Criterion(f"item.{item.id}", label(sources, item), met, verdict, words, cell(words)))
    return found
