"""A person's decision on the model: kept with its criteria, ticked in the checklist, backed by the report's file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from core import checklist
from core.checklist import Item
from core.errors import UserError
from core.report.sources import Sources
from core.report.success import DEPLOYMENT, REPORT, SUCCESS, Criterion
from core.store import Database, decisions, facts, files, ticks
from core.store.decisions import Choice, Decision
from core.store.facts import Fact
from core.text import printable
from core.workspace import Workspace

# Stands for all open items together: a checklist has many, and they are listed in the report.
OPEN_ITEMS = "items"


def unmet(criteria: Iterable[Criterion]) -> list[str]:
    """What a person who deploys all the same has to name: each gate, and the open items of the checklist together."""
    names = [each.name.removeprefix("gate.") for each in criteria if not each.met and each.name.startswith("gate.")]
    items = any(not each.met and each.name.startswith("item.") for each in criteria)
    return [*names, *([OPEN_ITEMS] if items else [])]


def decide(
    db: Database, workspace: Workspace, choice: Choice, note: str, who: str, against: Sequence[str] = ()
) -> tuple[Decision, list[str]]:
    """Keep a decision and tick what follows from it.

    Args:
        against: what is deployed against, by name as `unmet` has it.

    Returns:
        The decision, and in words what was not ticked.

    Raises:
        UserError: nobody says why; or it deploys against criteria that were not named, or names one that is met.
    """
    sources = Sources(db, workspace)
    found = sources.criteria
    named = unmet(found)
    if strange := [name for name in against if name not in named]:
        known = f"unmet are {', '.join(named)}" if named else "all criteria are met"
        raise UserError(f"--against {printable(strange[0])}: {known}")
    if against and choice != "deploy":
        raise UserError(f"--against is for deploy: to {choice} needs no override")
    if choice == "deploy" and (left := [name for name in named if name not in against]):
        flags = " ".join(f"--against {name}" for name in left)
        raise UserError(f"not met: {', '.join(left)}: to deploy all the same say so by name: {flags}")
    criteria = {
        "items": [
            {"name": each.name, "title": each.title, "met": each.met, "verdict": each.verdict, "by": each.by}
            for each in found
        ],
        "against": [name for name in named if name in against],
    }
    final = sources.chain.final
    notes = {_note(each) for each in decisions.history(db)}
    made = decisions.record(db, Decision(choice, who, note.strip(), criteria, final.id if final else None))
    said = [_tick(sources, DEPLOYMENT, who, _note(made), notes)]
    if all(each.met for each in found):
        said.append(_tick(sources, SUCCESS, who, f"all {len(found)} criteria met", set()))
    elif ticks.get(db, SUCCESS).ticked:
        signed = ticks.get(db, SUCCESS).who
        said.append(
            f"'All success criteria met' is ticked by {printable(signed)}, although some are not met: left as it is"
        )
    return made, [sentence for sentence in said if sentence]


def written(db: Database, workspace: Workspace, paths: Sequence[Path], who: str) -> list[str]:
    """Say in the checklist that the report is written, with the files as evidence.

    Returns:
        In words what was not ticked.
    """
    names = [workspace.relative(path.absolute()) for path in paths]
    inputs = files.fingerprints(db, workspace, *names)
    last = facts.latest(db).get(REPORT)
    if last is None or last.inputs != inputs:
        facts.record(db, Fact(REPORT, 1.0, source="report written", inputs=inputs))
    sources = Sources(db, workspace)
    items = {item.id: item for root in sources.roots for item in root.walk()}
    said = []
    if REPORT in items and not items[REPORT].facts:
        said.append(_tick(sources, REPORT, who, None, set(), items[REPORT]))
    decided = sources.decision is not None
    for name in (REPORT, *((DEPLOYMENT, SUCCESS) if decided else ())):
        item = items.get(name)
        if item is None or (name != REPORT and not ticks.get(db, name).ticked):
            continue
        backed = {(entry.get("path"), entry.get("sha256")) for entry in ticks.get(db, name).evidence}
        for path, digest in inputs.items():
            if (path, digest) not in backed:
                checklist.add_evidence(db, workspace, item, who, file=path)
    return [sentence for sentence in said if sentence]


def _note(made: Decision) -> str:
    named = f" (against {', '.join(made.against)})" if made.against else ""
    return printable(f"{made.choice}{named}: {made.note}")


def _tick(sources: Sources, item_id: str, who: str, note: str | None, ours: set[str], item: Item | None = None) -> str:
    """Tick an item unless a person said something of it; returns why it was left alone."""
    item = item or sources.items.get(item_id)
    if item is None:
        return f"the checklist has no item '{item_id}': nothing to tick"
    said = ticks.get(sources.db, item.id)
    name = f"'{printable(item.text)}'"
    if said.ticked is False:
        return f"{name}: {printable(said.who)} took its tick back: left as it is"
    if said.ticked and said.note not in ours:
        same = note is None or said.note == note
        return "" if same else f"{name}: {printable(said.who)} ticked it with a note of their own: left as it is"
    try:
        checklist.tick(sources.db, item, who, note)
    except UserError as error:
        return str(error)
    return ""
