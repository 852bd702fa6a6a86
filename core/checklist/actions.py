"""What a person does to an item: tick it, fill its blanks, say why, back it, and take it back.

Where a person says otherwise than a fact or a target, a note has to say why. Every action records the facts as they
stood, so that a later measurement can answer it (`core.checklist.judge`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.checklist import judge
from core.checklist.tree import Item
from core.checklist.values import LONGEST, written
from core.errors import UserError
from core.store import Database, files, runs, ticks
from core.store import facts as fact_store
from core.store.database import transaction
from core.store.facts import Fact
from core.store.ticks import Change, Tick
from core.text import one_line, printable
from core.workspace import Workspace

Facts = dict[str, Fact]


def needs_note(db: Database, item: Item, ticked: bool) -> str | None:
    """What ticking an item (or taking the tick back) would contradict; then a note is needed. None when nothing."""
    facts = fact_store.latest(db)
    said = judge.standing(ticks.get(db, item.id), item, facts)
    return judge.contradiction(item, ticked, said.values, facts)


def tick(db: Database, item: Item, who: str, note: str | None = None, *, when: float | None = None) -> bool:
    """Sign an item. False when that person had said so already.

    Raises:
        UserError: it has sub-items, or a fact or target says otherwise and no note says why.
    """
    return _sign(db, item, who, True, note, when)


def untick(db: Database, item: Item, who: str, note: str | None = None, *, when: float | None = None) -> bool:
    """Take a tick back, a person's or a fact's. False when it was taken back already."""
    return _sign(db, item, who, False, note, when)


def _sign(db: Database, item: Item, who: str, ticked: bool, note: str | None, when: float | None) -> bool:
    if not item.leaf:
        raise UserError(f"{item.id} has sub-items: it is done when they are")
    note = _text(note)

    def change(said: Tick, facts: Facts) -> Tick | None:
        against = judge.contradiction(item, ticked, said.values, facts)
        if against and not note and (said.ticked is not ticked or not said.note):
            raise UserError(f"{item.id}: {against}: say why in a note")
        if said.ticked is ticked and note in (None, said.note):
            return None
        if not ticked and said.ticked is None and not against and not item.box and note is None:
            return None
        # A note on why it was taken back does not say why it is ticked now.
        kept = None if said.ticked is not None and said.ticked is not ticked else said.note
        return replace(said, ticked=ticked, note=note or kept)

    return _change(db, item, "tick" if ticked else "untick", who, when, change)


def set_value(
    db: Database,
    item: Item,
    text: str,
    who: str,
    note: str | None = None,
    *,
    blank: int = 0,
    beside: bool = False,
    when: float | None = None,
) -> bool:
    """Fill a blank of an item; empty text empties it. False when it says that already.

    Args:
        beside: the text comes from a page that says the unit beside the blank.

    Raises:
        UserError: no such blank, no number where one is asked for, or a fact or target says otherwise without a note.
    """
    if not 0 <= blank < len(item.blanks):
        has = f"has {len(item.blanks)} blank(s)" if item.blanks else "has no blank to fill: tick it or give it a note"
        raise UserError(f"{item.id} {has}")
    value, note = written(item, blank, text, beside=beside), _text(note)

    def change(said: Tick, facts: Facts) -> Tick | None:
        if value == said.values[blank] and note in (None, said.note):
            return None
        other = value is not None and judge.differs(item, blank, value, facts)
        by_fact = said.values[blank] is None and judge.measured(facts, item.blanks[blank].fact) is not None
        if value is not None and by_fact and not other:
            return None
        values = (*said.values[:blank], value, *said.values[blank + 1 :])
        against = judge.contradiction(item, True, values, facts) if said.ticked else None
        if other and not note:
            fact = item.blanks[blank].fact
            raise UserError(f"{item.id}: {value} is not what {fact} was measured as: say why in a note")
        if against and not (note or said.note):
            raise UserError(f"{item.id} is ticked, and {against}: say why in a note")
        return replace(said, values=values, note=note or said.note)

    return _change(db, item, "value", who, when, change)


def set_note(db: Database, item: Item, text: str, who: str) -> bool:
    """Give any node a note; empty text takes it away."""
    note = _text(text)

    def change(said: Tick, facts: Facts) -> Tick | None:
        if note == said.note:
            return None
        now = judge.standing(said, item, facts)
        if note is None and now.ticked is not None and judge.contradiction(item, now.ticked, now.values, facts):
            raise UserError(f"{item.id}: its note says why it is otherwise than measured: write another one")
        return replace(said, note=note)

    return _change(db, item, "note", who, None, change, answer=False)


def add_evidence(
    db: Database,
    workspace: Workspace,
    item: Item,
    who: str,
    *,
    file: str | Path | None = None,
    run: str | None = None,
    fact: str | None = None,
    note: str | None = None,
) -> bool:
    """Back an item with a file (its hash is kept), a run, a fact as it stands, a remark, or several of them."""
    added: list[dict[str, Any]] = []
    if file is not None:
        path = workspace.relative(Path(file))
        try:
            path.encode()
            digest = files.sha256(db, workspace, path)
        except (OSError, UnicodeEncodeError) as error:
            raise UserError(f"evidence for {item.id}: {printable(path)} cannot be read ({error})") from None
        if digest is None:
            raise UserError(f"evidence for {item.id}: {path} is no file and no model folder")
        added.append({"kind": "file", "path": path, "sha256": digest})
    if run is not None:
        added.append({"kind": "run", "run": runs.get(db, run).id})
    if fact is not None:
        newest = fact_store.latest(db).get(fact)
        if newest is None:
            raise UserError(f"evidence for {item.id}: fact '{fact}' was never measured")
        added.append(_as_evidence(newest))
    if remark := _text(note):
        added.append({"kind": "note", "text": remark})
    if not added:
        raise UserError(f"evidence for {item.id}: name a file, a run, a fact or a remark")
    now = time.time()
    stamped = tuple({**entry, "who": who, "time": now} for entry in added)

    def change(said: Tick, facts: Facts) -> Tick | None:
        return replace(said, evidence=(*said.evidence, *stamped))

    return _change(db, item, "evidence", who, now, change, answer=False)


def undo(db: Database, who: str, item: Item | None = None) -> list[Change]:
    """Take back the newest change that stands, of an item or of all; an import as a whole. What was taken back."""
    return ticks.undo(db, who, item.id if item else None)


def redo(db: Database, who: str, item: Item | None = None) -> list[Change]:
    """Undo the newest undo, as long as nothing was changed after it."""
    return ticks.redo(db, who, item.id if item else None)


def _text(note: str | None) -> str | None:
    """A note as it is kept: shown in many places, so it is made safe where it comes in."""
    return (printable(note).strip() or None) if note is not None else None


def _as_evidence(fact: Fact) -> dict[str, Any]:
    return {
        "kind": "fact",
        "name": fact.name,
        "id": fact.id,
        "value": fact.value,
        "unit": fact.unit,
        "text": None if fact.text is None else one_line(fact.text, LONGEST),
        "run": fact.run,
    }


def _change(
    db: Database,
    item: Item,
    action: str,
    who: str,
    when: float | None,
    change: Callable[[Tick, Facts], Tick | None],
    *,
    answer: bool = True,
) -> bool:
    """Read, change and write in one transaction; nothing is written where `change` returns None.

    Args:
        answer: the action speaks of the facts as they are now. What was said before them is dropped.
    """
    with transaction(db):
        facts = fact_store.latest(db)
        before = ticks.get(db, item.id)
        after = change(judge.standing(before, item, facts) if answer else before, facts)
        if after is None:
            return False
        now = when if when is not None else time.time()
        if answer:
            kept = [entry for entry in after.evidence if not entry.get("seen")]
            found = [fact for name in item.facts if (fact := judge.measured(facts, name))]
            seen = [{**_as_evidence(fact), "who": who, "time": now, "seen": True} for fact in found]
            after = replace(after, evidence=(*kept, *seen))
        unsigned = before.time == 0 or (action == "value" and after.ticked is None)
        if unsigned or action in ("tick", "untick"):
            after = replace(after, who=who, time=now)
        ticks.put(db, action, after, who, now)
        return True
