"""Sections on what people said: the decision with its criteria, and the checklist with who ticked what when."""

from __future__ import annotations

from collections.abc import Iterator

from core.checklist import Item
from core.checklist.state import Evidence
from core.report.clean import moment
from core.report.document import Block, Bullets, Cell, Paragraph, Section, cell, row, table
from core.report.records import SELF
from core.report.sources import Sources
from core.report.success import filled, label
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
    # What is not met first.
    found = sorted(sources.criteria, key=lambda each: each.met)
    rows = []
    for each in found:
        now, then = sources.criterion(each.name), sources.criterion(each.name, "then")
        rows.append(row(each.named, now, *((then,) if made is not None else ()), each.verdict, each.cell))
    met = sources.tally("criteria")
    blocks.append(
        Paragraph(cell("Success criteria met: ", met, " (the gates and the checklist of stage 7)."), met.mood)
    )
    if rows:
        head = ("criterion", "now", *(("when decided",) if made is not None else ()), "verdict", "why")
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
        blocks.append(Paragraph(cell(sources.clean(root.text, 80), ": ", sources.progress(root.id), " done")))
        if _untouched(sources, root):
            blocks.append(Bullets(tuple(_open_items(sources, root))))
            continue
        for item in root.walk():
            if item is root or item.id == SELF:
                continue
            rows.append(_item(sources, root, item))
        if rows:
            blocks.append(table(("item", "state", "verdict", "by", "when", "why and evidence"), rows))
    words = (
        "The item on the evaluation report itself is left out: it is ticked, with this file's hash, once it is written."
    )
    return Section("checklist", "Checklist", (Paragraph((words,)), *blocks))


def _untouched(sources: Sources, root: Item) -> bool:
    """Whether nobody and nothing said anything of any of its items."""
    found = [sources.states[item.id] for item in sources.leaves([root])]
    return bool(found) and not any(
        state.state == "done" or state.by or state.value or state.note or state.evidence for state in found
    )


def _open_items(sources: Sources, root: Item) -> Iterator[Cell]:
    """A line for each heading with what is open below it."""
    bare = [each for each in root.children if each.leaf and each.id != SELF]
    groups = [("open", bare)] if bare else []
    groups += [(label(sources, each), list(sources.leaves([each]))) for each in root.children if not each.leaf]
    for name, items in groups:
        if items:
            words = "; ".join(label(sources, item) for item in items)
            yield cell(f"{name.rstrip(':')}: {words}")


def _item(sources: Sources, root: Item, item: Item) -> tuple[Cell, ...]:
    depth = _depth(root, item)
    indent = "· " * (depth - 1)
    if not item.leaf:
        return row(indent + label(sources, item), "", "", "", "", "")
    text = cell(indent, *filled(sources, item))
    state = sources.states[item.id]
    parts = [sources.item(item.id, part) for part in ("state", "verdict", "by", "time")]
    shown = [part if part.raw != "None" else None for part in parts]
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
