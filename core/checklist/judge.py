"""What facts say of an item, and whether what a person said of it still stands beside them.

A person's word answers the facts as they were then. A newer measurement with another value takes it back: whoever
accepted a KL of 0.12 has not accepted 0.3, and a tick from before the first measurement is no override of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from core.checklist.tree import Item
from core.checklist.values import fact_number, fact_text, numeric, plain_text, read_number
from core.store.facts import Fact
from core.store.ticks import Tick

Facts = Mapping[str, Fact]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the newest facts say of an item, fresh or not."""

    facts: tuple[Fact, ...]  # those that were measured
    missing: tuple[str, ...]  # those that were not
    verdict: Literal["PASS", "FAIL"] | None  # None: nothing to compare with
    ticks: bool  # they tick the item by themselves


def measured(facts: Facts, name: str | None) -> Fact | None:
    """The newest fact of a name, if it has a value."""
    fact = facts.get(name) if name is not None else None
    return fact if fact is not None and fact.value is not None else None


def standing(tick: Tick, item: Item, facts: Facts) -> Tick:
    """What of a person's word answers the facts as they are now; the rest reads as not said."""
    seen = {entry["name"]: (entry["value"], entry["unit"]) for entry in tick.evidence if entry.get("seen")}

    def answers(name: str | None) -> bool:
        fact = measured(facts, name)
        return fact is None or seen.get(fact.name) == (fact.value, fact.unit)

    given = (*tick.values, *[None] * len(item.blanks))
    values = tuple(value if answers(blank.fact) else None for blank, value in zip(item.blanks, given, strict=False))
    return replace(tick, ticked=tick.ticked if all(map(answers, item.facts)) else None, values=values)


def read(item: Item, facts: Facts, values: tuple[str | None, ...] = ()) -> Reading:
    """What the facts say of an item.

    Args:
        values: what a person wrote in its blanks; a blank that is filled so does not wait for its fact.
    """
    found = tuple(fact for name in item.facts if (fact := measured(facts, name)))
    by_hand = {blank.fact for blank, value in zip(item.blanks, values, strict=False) if value is not None}
    missing = tuple(name for name in item.facts if measured(facts, name) is None and name not in by_hand)
    judged = [fact for fact in found if not item.blanks or fact.name == item.fact]
    verdict = _verdict(item, judged)
    enough = verdict == "PASS" or (verdict is None and item.target is None and (item.measured or item.blank))
    return Reading(found, missing, verdict, bool(found) and not missing and not item.signed and enough)


def _verdict(item: Item, judged: list[Fact]) -> Literal["PASS", "FAIL"] | None:
    if not judged:
        return None
    if item.target is not None:
        numbers = [fact_number(fact, item.unit) for fact in judged]
        return "PASS" if all(n is not None and item.target.met(n) for n in numbers) else "FAIL"
    if item.measured or item.signed or item.blank:
        return None
    # A yes/no item. Any other number is no answer to it.
    said = {fact.value for fact in judged}
    if 0.0 in said:
        return "FAIL"
    return "PASS" if said == {1.0} else None


def value_verdict(item: Item, values: tuple[str | None, ...]) -> Literal["PASS", "FAIL"] | None:
    """Whether what a person wrote in the first blank meets the target."""
    number = read_number(values[0]) if values else None
    if number is None or item.target is None:
        return None
    return "PASS" if item.target.met(number) else "FAIL"


def contradiction(item: Item, ticked: bool, values: tuple[str | None, ...], facts: Facts) -> str | None:
    """What a tick (or the taking back of one) would contradict, in words; None when nothing."""
    reading, own = read(item, facts, values), value_verdict(item, values)
    if ticked and own == "FAIL":
        return f"its value {values[0]} does not meet {item.target}"
    if ticked and own is None and reading.verdict == "FAIL":
        return _says(item, reading, "does not meet", "says no")
    if not ticked and reading.ticks and own != "FAIL":
        return _says(item, reading, "meets", "says yes" if reading.verdict else "was measured")
    return None


def _says(item: Item, reading: Reading, compared: str, plain: str) -> str:
    fact = next((f for f in reading.facts if f.name == item.fact), reading.facts[0])
    if item.target is None:
        return f"{fact.name} {plain}"
    return f"{fact.name} {plain_text(replace(fact, text=None), item.unit, item.target)} {compared} {item.target}"


def differs(item: Item, index: int, text: str, facts: Facts) -> bool:
    """Whether a value for a blank is another one than its fact's."""
    fact = measured(facts, item.blanks[index].fact)
    if fact is None or text == fact_text(fact, item, index):
        return False
    return not numeric(item, index) or read_number(text) != fact_number(fact, item.blanks[index].unit)
