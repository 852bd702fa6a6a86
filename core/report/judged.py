"""Sections on what people said: the decision with its criteria, and the checklist with who ticked what when."""

from __future__ import annotations

from core.checklist import Item
from core.checklist.state import Evidence
from core.report.clean import moment
from core.report.document import Block, Bullets, Cell, Paragraph, Section, cell, row, table
from core.report.sources import SELF, Sources
from core.report.success import label
from core.store import decisions

_EVIDENCE = 4
_HISTORY = 10


def decision(sources: Sources) -> Section:
    """What a person decided, on which criteria, and what they decided against."""
    made = sources.decision
    blocks: list[Block] = []
    if made is None:
        blocks.append(
            Paragraph(cell(sources.decided("choice"), ": nobody has decided what becomes of this model."), "warn")
        )
    else:
        rows = [row(name, sources.decided(part)) for name, part in _SIGNED]
        blocks.append(table(("the decision", "as it was signed"), rows))
        if made.choice == "deploy" and made.unmet:
            words = cell("OVERRIDE: deployed against criteria that were not met: ", sources.decided("against"))
            blocks.append(Paragraph(words, "bad"))
    found = sources.criteria
    rows = []
    for each in found:
        rows.append(
            row(each.title, sources.criterion(each.name), each.verdict, each.cell, sources.criterion(each.name, "then"))
        )
    met = sources.tally("criteria")
    blocks.append(Paragraph(cell("Success criteria met: ", met), met.mood))
    if rows:
        head = ("criterion of stage 7", "now", "verdict", "by what", "when decided")
        blocks.append(table(head, rows))
    older = decisions.history(sources.db)[1:]
    if older:
        blocks.append(Paragraph(("Earlier decisions:",)))
        blocks.append(Bullets(tuple(
            cell(f"{each.choice}, {sources.clean(each.who, 60)}, {moment(each.time)}: ", sources.clean(each.note, 300))
            for each in older[:_HISTORY]
        )))  # fmt: skip
    return Section("decision", "Decision and success criteria", tuple(blocks))


_SIGNED = (
    ("decision", "choice"),
    ("signed by", "who"),
    ("on", "time"),
    ("because", "note"),
    ("against", "against"),
    ("evaluation", "run"),
)


def checklists(sources: Sources) -> Section:
    """Every item: how it stands, its value, who or what ticked it and when, and what backs it."""
    blocks: list[Block] = []
    for root in sources.roots:
        rows: list[tuple[Cell, ...]] = []
        for item in root.walk():
            if item is root or item.id == SELF:
                continue
            rows.append(_item(sources, root, item))
        blocks.append(Paragraph(cell(sources.clean(root.text, 80), ": ", sources.progress(root.id), " done")))
        if rows:
            blocks.append(table(("item", "state", "value", "verdict", "by", "when", "why and evidence"), rows))
    words = (
        "The item on the evaluation report itself is left out: it is ticked, with this file's hash, once it is written."
    )
    return Section("checklist", "Checklist", (Paragraph((words,)), *blocks))


def _item(sources: Sources, root: Item, item: Item) -> tuple[Cell, ...]:
    depth = _depth(root, item)
    text = "· " * (depth - 1) + label(sources, item)
    if not item.leaf:
        return row(text, "", "", "", "", "", "")
    state = sources.states[item.id]
    parts = [sources.item(item.id, part) for part in ("state", "value", "verdict", "by", "time")]
    shown = [part if part.raw not in ("None", "((), None)") else None for part in parts]
    why = [sources.clean(state.why, 200)] if state.why else []
    if state.override:
        why.insert(0, "OVERRIDE of what was measured")
    own = [each for each in state.evidence if not _own(sources, each)]
    why += [_evidence(sources, each) for each in own[:_EVIDENCE]]
    if len(own) > _EVIDENCE:
        why.append(f"and {len(own) - _EVIDENCE} more")
    return row(text, *shown, "; ".join(why))


def _depth(root: Item, item: Item) -> int:
    if root is item:
        return 0
    return next(1 + _depth(child, item) for child in root.children if item in child.walk())


def _own(sources: Sources, evidence: Evidence) -> bool:
    """Whether it is a file that a report was written to."""
    return evidence.kind == "file" and evidence.text.rpartition(" sha256 ")[0] in sources.reports


def _evidence(sources: Sources, evidence: Evidence) -> str:
    stale = f" (STALE: {evidence.stale})" if evidence.stale else ""
    return sources.clean(f"{evidence.kind}: {evidence.text}{stale}, {evidence.who}", 200)
