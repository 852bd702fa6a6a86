"""What the cards say of an item, a gate and a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from core.checklist import Item, ItemState
from core.runs.order import said as said_of
from core.store.artifacts import Artifact
from core.store.facts import Fact
from core.store.notes import Note
from core.store.run_changes import Change as RunChange
from core.store.runs import Run
from core.store.ticks import Change
from dpotui import roles, say
from dpotui.commands.checklist_view import described, text_of
from dpotui.live import Watched
from dpotui.offers import offer_for, offer_of, reason_of
from dpotui.widgets.card import BLANK, Entry

if TYPE_CHECKING:
    from core.gates import GateResult


def of_item(
    item: Item, states: Mapping[str, ItemState], changes: Sequence[Change], gates: Sequence[GateResult], now: float
) -> list[Entry]:
    """
    Args:
        states: of this item and of those below it.
        changes: of this item, newest first.
        gates: all that there are.
    """
    state = states[item.id]
    entries = [Entry("", text_of(item, state), "title"), BLANK]
    if item.children:
        entries.append(Entry("done", f"{state.done} of {state.total}"))
        entries += [Entry("failing", str(state.failing), "bad")] if state.failing else []
        entries += [Entry("stale", str(state.stale), "warn")] if state.stale else []
    else:
        word = {"done": "done", "open": "open", "partial": "in part"}[state.state]
        by = f" by {state.by}" if state.by else ""
        when = f", {say.date(state.time)} ({say.ago(now, state.time)})" if state.by and state.time else ""
        entries.append(Entry("state", f"{word}{by}{when}", "good" if state.state == "done" else ""))
    if state.override:
        entries.append(Entry("override", "a person says otherwise than what was measured", "warn"))
    if state.verdict:
        entries.append(Entry("verdict", state.verdict, roles.VERDICTS[state.verdict]))
    if len(item.blanks) > 1:
        filled = zip(item.blanks, state.values, strict=False)
        entries += [Entry("value", f"{blank.label}: {value or 'empty'}") for blank, value in filled]
    elif state.value is not None:
        entries.append(Entry("value", state.value))
    if item.target is not None:
        entries.append(Entry("target", str(item.target)))
    entries += [Entry("why", state.why)] if state.why and state.why != state.note else []
    entries += [Entry("note", state.note)] if state.note else []
    entries += _starts(item)
    for result in gates:
        if result.gate.fact in item.facts:
            shown = "" if result.value is None else f" {result.shown}"
            role = roles.VERDICTS[result.verdict]
            entries.append(Entry("gate", f"{result.gate.title} {result.verdict}{shown} (3 Gates)", role))
    if state.fact is not None:
        entries += of_fact(state.fact, now)
    elif item.facts:
        entries.append(Entry("waits for", ", ".join(item.facts), "dim"))
    for evidence in state.evidence:
        stale = f"  STALE: {evidence.stale}" if evidence.stale else ""
        given = f"{evidence.who} {say.date(evidence.time)}"
        entries.append(
            Entry("evidence", f"{evidence.kind} {evidence.text}, {given}{stale}", "warn" if evidence.stale else "")
        )
    if item.code:
        entries += [BLANK, Entry("", item.code, "dim", code=True)]
    entries += _left(item, states)
    if changes:
        entries += [BLANK, Entry("", "History", "title")]
        entries += [Entry("", described(change), "dim") for change in changes]
    entries += [BLANK, Entry("in", f"{item.file}:{item.line}", "faint"), Entry("id", item.id, "faint")]
    return entries


# Items that are named in the card of what they lie in; the list has them all.
_NAMED = 12


def _left(item: Item, states: Mapping[str, ItemState]) -> list[Entry]:
    """What is left to do below an item, what failed first."""
    below = [(each, states[each.id]) for each in item.walk() if each.leaf and each is not item and each.id in states]
    left = [(each, state) for each, state in below if state.state != "done"]
    if not left:
        return []
    left.sort(key=lambda pair: pair[1].verdict is None)
    entries = [BLANK, Entry("", "Left to do", "title")]
    for each, state in left[:_NAMED]:
        role = roles.VERDICTS[state.verdict] if state.verdict else ""
        entries.append(Entry(state.verdict or "open", text_of(each, state), role))
    return [*entries, *([Entry("", f"and {len(left) - _NAMED} more", "dim")] if len(left) > _NAMED else [])]


def _starts(item: Item) -> list[Entry]:
    """What a person can do about it from here."""
    offer = offer_of(item)
    if offer is None:
        reason = reason_of(item)
        return [Entry("start", reason, "dim")] if reason else []
    return [Entry("start", f"g {offer.words}" + (f"; {offer.hint}" if offer.hint else ""), "accent")]


def of_fact(fact: Fact, now: float) -> list[Entry]:
    entries = [Entry("fact", fact.name)]
    if fact.value is not None:
        # As exact as the verdict: what reads 0.100 may fail 0.1.
        unit = fact.unit if fact.unit in ("", "%") else f" {fact.unit}"
        entries.append(Entry("measured", f"{fact.value:.6g}{unit}{_interval(fact.low, fact.high)}"))
    if fact.n is not None:
        entries.append(Entry("n", str(fact.n)))
    if fact.run:
        entries.append(Entry("run", fact.run))
    entries.append(Entry("when", f"{say.date(fact.time)} ({say.ago(now, fact.time)})"))
    entries += [Entry("source", fact.source)] if fact.source else []
    entries += [Entry("on", f"{path}  {digest[:12]}", "dim") for path, digest in fact.inputs.items()]
    return entries


def of_gate(result: GateResult, now: float, since: float = 0.0) -> list[Entry]:
    """`since`: when it came to the verdict that it has."""
    gate = result.gate
    entries = [
        Entry("", f"Stage {gate.stage}  {gate.title}", "title"),
        Entry("verdict", result.verdict, roles.VERDICTS[result.verdict]),
        Entry("value", ("—" if result.value is None else result.shown) + _interval(result.low, result.high)),
        Entry("target", gate.target if gate.unit == "%" else f"{gate.target}  {gate.unit}".rstrip()),
    ]
    entries += [Entry("n", str(result.n))] if result.n is not None else []
    entries += [Entry("run", result.run)] if result.run else []
    entries += [Entry("when", f"{say.date(result.time)} ({say.ago(now, result.time)})")] if result.time else []
    entries += [Entry("source", result.source)] if result.source else []
    entries += [Entry("why", result.reason)] if result.reason else []
    if since:
        entries.append(Entry("stands", f"since {say.date(since)} ({say.ago(now, since)})"))
    offer = offer_for(gate.fact)
    if offer is not None:
        by = offer.words if offer.action is None else offer.action.title
        entries.append(Entry("measured", f"by {by}: g starts it" if offer.action else f"by people: g {by}"))
        entries += [Entry("", offer.hint, "dim")] if offer.hint else []
    else:
        entries.append(Entry("measured", "by nothing that can be started here: a person or a program records it"))
    key = f", {gate.key}" if gate.key else ""
    entries.append(Entry("target in", f"configs/{gate.file}{key}"))
    return [*entries, Entry("fact", gate.fact, "faint"), Entry("gate", gate.name, "faint")]


def of_run(
    watched: Watched,
    artifacts: Sequence[Artifact],
    now: float,
    notes: Sequence[Note] = (),
    changes: Sequence[RunChange] = (),
) -> list[Entry]:
    run = watched.run
    name = "" if run.name == run.id else f"  {run.name}"
    entries = [Entry("", f"{run.id}{name}", "title"), Entry("state", state_words(run), roles.STATES[run.state])]
    entries += [Entry("why", run.error, "bad")] if run.error else []
    entries += [Entry("try", run.hint, "warn")] if run.hint else []
    if run.steps:
        whole = run.kind == "evaluate"
        entries.append(Entry("done", reached(run)) if whole else Entry("step", f"{run.step} of {run.steps}"))
    by = f", by {run.who}" if run.who else ""
    entries.append(Entry("created", f"{say.date(run.created)} ({say.ago(now, run.created)}){by}"))
    if run.started:
        entries.append(Entry("took", say.span((run.ended or now) - run.started)))
    entries += [Entry("tags", " ".join(run.tags), "accent")] if run.tags else []
    told = {"failed": "bad", "missing": "warn", "waiting": "warn"}
    entries += [Entry("tracker", one.words, told.get(one.state, "")) for one in watched.trackers]
    entries += [Entry("archived", f"{say.date(run.archived)}: a brings it back", "dim")] if run.archived else []
    if watched.facts:
        entries += [BLANK, Entry("", "Facts", "title")]
        for fact in watched.facts.values():
            entries.append(Entry("", f"{fact.name}  {_said(fact)}{_interval(fact.low, fact.high)}"))
    if notes:
        entries += [BLANK, Entry("", "Notes", "title")]
        entries += [Entry(note.who, f"{say.date(note.time)}  {note.text}") for note in notes]
    entries += [BLANK, Entry("", "Run", "title")]
    entries += [Entry("parent", run.parent)] if run.parent else []
    entries += [Entry("part of", f"{run.part_of}: {run.part}")] if run.part_of else []
    entries += [Entry("config", run.config_path)] if run.config_path else []
    entries += [Entry("output", run.output_dir)] if run.output_dir else []
    entries.append(Entry("seed", str(run.seed)))
    if watched.commands:
        entries += [BLANK, Entry("", "Commands", "title")]
        for command in watched.commands:
            answer = command.answer if command.obeyed else "waits for the next step"
            entries.append(Entry(command.verb, f"{say.clock(command.time)} {command.who}: {answer}"))
    if changes:
        entries += [BLANK, Entry("", "Changes", "title")]
        for change in changes:
            back = ", taken back" if change.undone else ""
            entries.append(Entry(change.who, f"{say.date(change.time)}  {said_of(change)}{back}", "dim"))
    if watched.log:
        entries += [BLANK, Entry("", "Log, last lines", "title")]
        entries += [Entry("", f"{say.clock(line.time)} {line.text}", code=True) for line in watched.log[-10:]]
    if artifacts:
        entries += [BLANK, Entry("", "Artifacts", "title")]
        for artifact in artifacts:
            size = f"{artifact.bytes / 1e6:.1f} MB" if artifact.bytes >= 1e5 else f"{artifact.bytes / 1e3:.1f} kB"
            entries.append(Entry("", f"{artifact.path}  {artifact.kind}  {size}  {artifact.sha256[:12]}"))
    if run.inputs:
        entries += [BLANK, Entry("", "Inputs", "title")]
        entries += [Entry("", f"{path}  {digest[:12]}") for path, digest in run.inputs.items()]
    entries += [BLANK, Entry("", "Configuration", "title"), Entry("", _yaml(run.config), code=True)]
    return entries


def reached(run: Run) -> str:
    """How far a run has come. The steps of an evaluation are shares of its parts, which are of unlike sizes."""
    if run.kind == "evaluate":
        return f"{100 * run.step // run.steps}%" if run.steps else ""
    return f"{run.step}/{run.steps}"


def state_words(run: Run) -> str:
    if run.state in ("running", "queued") and run.phase:
        return f"{run.state}, {run.phase}"
    return run.state


def _said(fact: Fact) -> str:
    if fact.value is None:
        return f"— {fact.source}"
    if not fact.text and not fact.unit and fact.n is None and fact.low is None and fact.value in (0.0, 1.0):
        return "yes" if fact.value else "no"
    return fact.text or say.value(fact.value, fact.unit)


def _interval(low: float | None, high: float | None) -> str:
    return f"  [{say.value(low)}, {say.value(high)}]" if low is not None and high is not None else ""


def _yaml(config: dict[str, object], indent: str = "") -> str:
    """A configuration as it reads in its file, without loading a YAML writer."""
    lines = []
    for key, value in config.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", _yaml(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines)
