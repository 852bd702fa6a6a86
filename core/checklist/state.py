"""The state of every item: derived from what people said and what facts say, never stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from core.checklist import judge
from core.checklist.tree import Item
from core.checklist.values import fact_number, fact_text, plain_text, read_number
from core.store import Database, files, ticks
from core.store import facts as fact_store
from core.store.facts import Fact
from core.store.ticks import Tick
from core.workspace import Workspace

State = Literal["open", "partial", "done"]
Verdict = Literal["PASS", "FAIL", "STALE"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What backs a tick: a file with its hash, a run, a fact or a remark."""

    kind: Literal["file", "run", "fact", "note"]
    text: str
    who: str
    time: float
    stale: str | None = None  # why it no longer is what it was


@dataclass(frozen=True, slots=True)
class ItemState:
    """How an item stands.

    `by` is who decided it: a person's name, "fact", "file" (the box is ticked in the checklist itself) or nobody.
    `why` is one sentence on that: the person's note, the fact, what is missing or what went stale.
    `override`: a person says otherwise than the facts or the target; `note` says why.
    For a node with children `done`, `total`, `failing` and `stale` count the lines with a box that have none below.
    """

    state: State
    value: str | None = None  # of the first blank, or of the fact where there is no blank
    number: float | None = None  # the same as a number in the item's unit, for programs
    values: tuple[str | None, ...] = ()  # of all blanks
    verdict: Verdict | None = None
    by: str | None = None
    time: float | None = None
    note: str | None = None
    why: str = ""
    evidence: tuple[Evidence, ...] = ()
    fact: Fact | None = None
    override: bool = False
    done: int = 0
    total: int = 0
    failing: int = 0
    stale: int = 0


def states(
    db: Database, workspace: Workspace, roots: Iterable[Item], facts: Mapping[str, Fact] | None = None
) -> dict[str, ItemState]:
    """The state of every node below `roots`, by id.

    Reads ticks and the newest facts, and looks at the files that facts and evidence speak of (a stat each, while
    their hashes are remembered).
    """
    stale_reason = _remembered(lambda fact: files.stale_reason(db, workspace, fact))
    look = _Look(
        fact_store.latest(db) if facts is None else facts,
        ticks.everything(db),
        stale_reason,
        _evidence_reader(stale_reason),
    )
    found: dict[str, ItemState] = {}
    for root in roots:
        _node(root, look, found)
    return found


@dataclass(frozen=True, slots=True)
class _Look:
    facts: Mapping[str, Fact]
    ticks: Mapping[str, Tick]
    stale_reason: Callable[[Fact], str | None]
    evidence: Callable[[Tick], tuple[Evidence, ...]]


def _remembered(stale_reason: Callable[[Fact], str | None]) -> Callable[[Fact], str | None]:
    """Facts of one run share their inputs: each set is looked at once."""
    known: dict[tuple[tuple[str, str], ...], str | None] = {}

    def look(fact: Fact) -> str | None:
        key = tuple(fact.inputs.items())
        if key not in known:
            try:
                known[key] = stale_reason(fact)
            except OSError as error:
                known[key] = f"{error.filename} cannot be read: {error.strerror}"
        return known[key]

    return look


def _evidence_reader(stale_reason: Callable[[Fact], str | None]) -> Callable[[Tick], tuple[Evidence, ...]]:
    def one(item: str, entry: dict[str, Any]) -> Evidence:
        stale = None
        if entry["kind"] == "file":
            text, path, digest = f"{entry['path']} sha256 {entry['sha256'][:12]}", entry["path"], entry["sha256"]
            stale = stale_reason(Fact(item, None, inputs={path: digest}))
        elif entry["kind"] == "fact":
            text = plain_text(Fact(entry["name"], entry["value"], entry["unit"], text=entry["text"])) or "not measured"
            text = f"{entry['name']} {text}" + (f" by {entry['run']}" if entry["run"] else "")
        else:
            text = entry["run"] if entry["kind"] == "run" else entry["text"]
        return Evidence(entry["kind"], text, entry["who"], entry["time"], stale)

    return lambda tick: tuple(one(tick.item, entry) for entry in tick.evidence)


def _node(item: Item, look: _Look, found: dict[str, ItemState]) -> ItemState:
    state = _leaf(item, look) if item.leaf else _parent(item, [_node(c, look, found) for c in item.children], look)
    found[item.id] = state
    return state


def _parent(item: Item, below: list[ItemState], look: _Look) -> ItemState:
    said = judge.standing(look.ticks.get(item.id, Tick(item.id)), item, look.facts)
    done = sum(state.done for state in below)
    needed = [state for child, state in zip(item.children, below, strict=True) if not child.optional] or below
    whole = all(state.state == "done" for state in needed)
    begun = done > 0 or any(state.state == "partial" for state in below)
    value = said.values[0] if said.values else None
    number = read_number(value) if item.unit or item.target else None
    return ItemState(
        state="done" if whole else "partial" if begun else "open",
        value=value,
        number=None if number is None else float(number),
        values=said.values,
        verdict=judge.value_verdict(item, said.values),
        by=said.who if value is not None else None,
        time=said.time if value is not None else None,
        note=said.note,
        evidence=look.evidence(said),
        done=done,
        total=sum(state.total for state in below),
        failing=sum(state.failing for state in below),
        stale=sum(state.stale for state in below),
    )


def _leaf(item: Item, look: _Look) -> ItemState:
    tick = look.ticks.get(item.id, Tick(item.id))
    said = judge.standing(tick, item, look.facts)
    reading = judge.read(item, look.facts, said.values)
    stale = next((reason for fact in reading.facts if (reason := look.stale_reason(fact))), None)
    own = judge.value_verdict(item, said.values)
    verdict: Verdict | None = own or ("STALE" if stale else reading.verdict)
    ticks_itself = reading.ticks and stale is None and verdict != "FAIL"

    by: str | None
    if said.ticked is not None:
        done, by = said.ticked, said.who
    elif reading.facts:
        done, by = ticks_itself, "fact"
    else:
        done = item.box and tick.ticked is None
        by = "file" if done else tick.who if any(v is not None for v in said.values) else None
    fact = next((f for f in reading.facts if f.name == item.fact), reading.facts[0] if reading.facts else None)
    against = said.ticked is not None and judge.contradiction(item, said.ticked, said.values, look.facts)
    rewritten = any(v is not None and judge.differs(item, i, v, look.facts) for i, v in enumerate(said.values))
    values = tuple(_filled(item, i, value, look) for i, value in enumerate(said.values))
    value = values[0] if values else _shown(item, reading)
    return ItemState(
        state="done" if done else "open",
        value=value,
        number=_number(item, said, fact),
        values=values,
        verdict=verdict,
        by=by or None,
        time=fact.time if by == "fact" and fact else tick.time or None if by else None,
        note=tick.note,
        why=_why(item, tick, said, reading, stale, look),
        evidence=look.evidence(tick),
        fact=fact,
        override=bool(against and (stale is None or said.ticked)) or rewritten,
        done=int(done),
        total=1,
        failing=int(verdict == "FAIL"),
        stale=int(verdict == "STALE"),
    )


def _filled(item: Item, index: int, value: str | None, look: _Look) -> str | None:
    fact = judge.measured(look.facts, item.blanks[index].fact)
    return fact_text(fact, item, index) if value is None and fact is not None else value


def _shown(item: Item, reading: judge.Reading) -> str | None:
    """The value of an item without a blank: what its one fact says, unless that is no more than yes or no."""
    if len(item.facts) != 1 or not reading.facts:
        return None
    fact = reading.facts[0]
    if _yes_or_no(item, fact):
        return None
    return plain_text(fact, item.unit, item.target)


def _number(item: Item, said: Tick, fact: Fact | None) -> float | None:
    number: Decimal | None = None
    if said.values and said.values[0] is not None:
        number = read_number(said.values[0]) if item.unit or item.target else None
    elif fact is not None and fact.name == item.fact and len(item.facts) == max(len(item.blanks), 1):
        number = fact_number(fact, item.unit)
    return None if number is None else float(number)


def _why(item: Item, tick: Tick, said: Tick, reading: judge.Reading, stale: str | None, look: _Look) -> str:
    if said.ticked is not None:
        return said.note or ""
    if stale:
        return stale
    if reading.facts:
        older = f"; measured after {tick.who} {'ticked it' if tick.ticked else 'took the tick back'}"
        lapsed = older if tick.ticked is not None and tick.ticked != reading.ticks else ""
        missing = f"; {', '.join(reading.missing)} not measured yet" if reading.missing else ""
        judgement = "; a person judges it" if item.signed else ""
        return ", ".join(_sentence(item, fact) for fact in reading.facts) + missing + judgement + lapsed
    sought = [fact for name in item.facts if (fact := look.facts.get(name))]
    if sought:
        return "; ".join(f"{fact.name} could not be measured: {fact.source}" for fact in sought)
    return f"ticked in {item.file}" if item.box and tick.ticked is None else ""


def _sentence(item: Item, fact: Fact) -> str:
    """A fact in words: `dpo.kl_divergence 0.1004 by dpo-003 (exact KL on 64 samples)`."""
    says = ("no", "yes")[int(fact.value)] if _yes_or_no(item, fact) and fact.value is not None else plain_text(fact)
    run = f" by {fact.run}" if fact.run else ""
    return f"{fact.name} {says}{run}" + (f" ({fact.source})" if fact.source else "")


def _yes_or_no(item: Item, fact: Fact) -> bool:
    """Whether the number of a fact says no more than yes or no."""
    asks = item.target is None and not item.measured and not item.signed and not item.blank
    return asks and fact.text is None and fact.value in (0.0, 1.0)
