"""How checklists read on the command line: a tree for people, one item in full, and JSON for programs."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import click
from rich.cells import cell_len

from core.checklist import Item, ItemState
from core.checklist.values import filled
from core.store.facts import Fact
from core.store.ticks import Change, Tick
from core.text import one_line, printable
from dpotui.offers import offer_of

MARKS = {"done": "[x]", "partial": "[-]", "open": "[ ]"}
COLOURS = {"PASS": "green", "FAIL": "red", "STALE": "yellow", "OVERRIDE": "magenta"}
# Wide enough for any line where nothing says how wide the reader is.
UNBOUNDED = 100_000
# What is left of the words of an item on a narrow screen.
SHORTEST = 20


def clean(text: str) -> str:
    return one_line(text, UNBOUNDED)


def when(moment: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment)) if moment else ""


def text_of(item: Item, state: ItemState) -> str:
    """The words of an item with its blanks filled."""
    return clean(filled(item, state.values))


def _coloured(part: str) -> str:
    """Verdicts in colour; they are words first."""
    word = part.split(" ")[-1]
    return click.style(part, fg=COLOURS[word], bold=True) if word in COLOURS else part


def line(item: Item, state: ItemState, *, width: int = UNBOUNDED, depth: int = 0, ids: bool = False) -> str:
    """One line of the tree: mark, words with values, verdict, who or what decided it."""
    tail = [clean(state.value)] if state.value is not None and not item.blanks else []
    tail += [word for word in (state.verdict, "OVERRIDE" if state.override else None) if word]
    if not item.leaf:
        tail.append(f"{state.done}/{state.total}")
        tail += [f"{count} {word}" for count, word in ((state.failing, "FAIL"), (state.stale, "STALE")) if count]
    elif state.by and (state.state == "done" or state.verdict or state.override):
        tail.append(clean(f"by {state.by}"))
    if ids:
        tail.append(clean(f"<{item.id}>"))
    head = f"{'  ' * depth}{MARKS[state.state]} "
    room = max(width - len(head) - sum(cell_len(part) + 2 for part in tail), SHORTEST)
    text = one_line(text_of(item, state), room)
    if item.kind != "item":
        text = click.style(text, bold=True)
    return head + "  ".join([text, *(_coloured(part) for part in tail)])


def tree(
    roots: Sequence[Item],
    found: Mapping[str, ItemState],
    *,
    width: int,
    ids: bool = False,
    left: Collection[str] | None = None,
) -> Iterator[str]:
    """The lines of several checklists; under a line that needs a word of explanation, that word.

    Args:
        left: ids of what is shown, where not all of it is.
    """
    for root in roots:
        yield from _branch(root, found, width, ids, left, 0)


def _branch(
    item: Item, found: Mapping[str, ItemState], width: int, ids: bool, left: Collection[str] | None, depth: int
) -> Iterator[str]:
    state = found[item.id]
    if left is not None and item.id not in left:
        return
    yield line(item, state, width=width, depth=depth, ids=ids)
    pad = "  " * depth + "    "
    # What a fact decided speaks for itself, unless it failed, went stale, was overruled or could not be had.
    sought = state.state == "open" and state.fact is None
    told = state.why if state.override or state.verdict in ("FAIL", "STALE") or sought else ""
    for remark in dict.fromkeys(remark for remark in (told, state.note) if remark):
        yield click.style(pad + one_line(remark, max(width - len(pad), SHORTEST)), dim=True)
    for child in item.children:
        yield from _branch(child, found, width, ids, left, depth + 1)


def card(item: Item, state: ItemState, changes: Sequence[Change]) -> Iterator[str]:
    """All that is known of one item."""
    yield line(item, state)
    rows = [("id", item.id), ("in", f"{item.file}:{item.line}")]
    rows += [("target", str(item.target))] if item.target else []
    rows += [("fact", name) for name in item.facts]
    if state.fact is not None:
        rows.append(("measured", _measured(state.fact)))
    if state.by:
        rows.append(("by", f"{state.by} {when(state.time)}"))
    rows += [("why", state.why)] if state.why and state.why != state.note else []
    rows += [("note", state.note)] if state.note else []
    if (offer := offer_of(item)) is not None:
        rows.append(("terminal", f"g {offer.words}" + (f"; {offer.hint}" if offer.hint else "")))
    for evidence in state.evidence:
        stale = f" ({evidence.stale})" if evidence.stale else ""
        rows.append(("evidence", f"{evidence.kind} {evidence.text}{stale}, {evidence.who} {when(evidence.time)}"))
    for name, text in rows:
        yield f"    {name:9} {clean(text)}"
    if item.code:
        yield ""
        yield from (f"    {printable(row)}" for row in item.code.split("\n"))
    for change in changes:
        yield f"    {'changed':9} {described(change)}"


def _measured(fact: Fact) -> str:
    interval = f" [{fact.low:.6g}, {fact.high:.6g}]" if fact.low is not None and fact.high is not None else ""
    count = f" n={fact.n}" if fact.n is not None else ""
    run = f" by {fact.run}" if fact.run else ""
    source = f": {fact.source}" if fact.source else ""
    return f"{fact.name} = {fact.value!r} {fact.unit}".rstrip() + f"{interval}{count}{run} {when(fact.time)}{source}"


def described(change: Change) -> str:
    """One row of the history."""
    undone = " (undone)" if change.undone else ""
    return clean(f"{when(change.time)}  {change.who}  {change.action} {change.item}  {told(change)}{undone}")


def told(change: Change) -> str:
    """What a change did."""
    before, after = change.before or Tick(change.item), change.after or Tick(change.item)
    parts = []
    if before.ticked is not after.ticked:
        words = {None: "unsaid", True: "[x]", False: "[ ]"}
        parts.append(f"{words[before.ticked]} -> {words[after.ticked]}")
    for index in range(max(len(before.values), len(after.values))):
        old, new = (tick.values[index] if index < len(tick.values) else None for tick in (before, after))
        if old != new:
            parts.append(f"{old or 'empty'} -> {new or 'empty'}")
    if before.note != after.note:
        parts.append(f"note: {after.note or 'none'}")
    had, has = ([entry for entry in tick.evidence if not entry.get("seen")] for tick in (before, after))
    parts += [f"+ {entry['kind']} {_named(entry)}" for entry in has if entry not in had]
    parts += [f"- {entry['kind']} {_named(entry)}" for entry in had if entry not in has]
    return clean("; ".join(parts))


def _named(evidence: Mapping[str, Any]) -> str:
    return str(evidence.get("path") or evidence.get("name") or evidence.get("run") or evidence.get("text"))


def as_json(item: Item, found: Mapping[str, ItemState]) -> dict[str, Any]:
    """A node with all below it. `value` is a number in `unit` where there is one, else the words in the blank."""
    state = found[item.id]
    return {
        "id": item.id,
        "text": item.text,
        "kind": item.kind,
        "stage": item.stage,
        "state": state.state,
        "value": state.number if state.number is not None else state.value,
        "values": list(state.values),
        "unit": item.unit,
        "target": str(item.target) if item.target else None,
        "verdict": state.verdict,
        "facts": list(item.facts),
        "by": state.by,
        "time": state.time,
        "why": state.why,
        "note": state.note,
        "override": state.override,
        "evidence": [
            {"kind": e.kind, "text": e.text, "who": e.who, "time": e.time, "stale": e.stale} for e in state.evidence
        ],
        "done": state.done,
        "total": state.total,
        "items": [as_json(child, found) for child in item.children],
    }


def all_as_json(roots: Sequence[Item], found: Mapping[str, ItemState]) -> dict[str, Any]:
    """All checklists under one node of the same shape."""
    items = [as_json(root, found) for root in roots]
    states = {item["state"] for item in items}
    return {
        "id": "checklists",
        "text": "Checklists",
        "state": "done" if states == {"done"} else "open" if states == {"open"} else "partial",
        "value": None,
        "target": None,
        "verdict": None,
        "done": sum(item["done"] for item in items),
        "total": sum(item["total"] for item in items),
        "items": items,
    }
