"""The qualitative assessment: a person's words as the value of the checklist's item, raters' notes as its evidence."""

from __future__ import annotations

import time

from core import checklist
from core.checklist import Item, load_tree
from core.errors import UserError
from core.evaluation.ratings.scores import summary
from core.evaluation.ratings.source import Source
from core.store import Database, facts, ticks
from core.store.facts import Fact
from core.workspace import Workspace

ITEM = "eval.qualitative"
NOTES = "eval.human_notes"


def item(workspace: Workspace) -> Item | None:
    """The item of the checklists that asks for it; None where a person has taken it out."""
    return next((one for root in load_tree(workspace) for one in root.walk() if one.id == ITEM), None)


def standing(db: Database, workspace: Workspace) -> str | None:
    """What is written there now."""
    found = item(workspace)
    values = ticks.get(db, ITEM).values if found is not None else ()
    return values[0] if values else None


def assess(db: Database, workspace: Workspace, source: Source, words: str, who: str) -> None:
    """Write the assessment; where there are notes, how many of whom is recorded as a fact and put beside it.

    Raises:
        UserError: no checklist asks for it, or the answers cannot be read.
    """
    found = item(workspace)
    if found is None:
        raise UserError(f"no checklist has the item {ITEM}: 'dpotui checklist show' lists what there is")
    checklist.set_value(db, found, words, who)
    if words.strip():
        fact = notes_fact(db, workspace, source)
        if fact.value:
            facts.record(db, fact)
            checklist.add_evidence(db, workspace, found, who, fact=NOTES)


def notes_fact(db: Database, workspace: Workspace, source: Source) -> Fact:
    """How many notes there are on the answers, and of whom."""
    notes = summary(db, source).notes
    people = sorted({one.who for one in notes})
    count = f"{len(notes)} note{'' if len(notes) == 1 else 's'} by {', '.join(people)}"
    return Fact(
        NOTES, float(len(notes)), "notes", run=source.run.id if source.run else None, time=time.time(), n=len(notes),
        source=f"{source.file}: {count}", text=count, inputs=source.inputs(db, workspace),
    )  # fmt: skip
