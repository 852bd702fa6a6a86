"""Values of blanks: what a person may write there, how a fact reads there, and in which unit both are compared.

Percent: a fact with unit "%" or "points" holds points (96.5), a fact with unit "" holds a share (0.965). Where an
item speaks in `%` shares are shown and judged as points, where it does not points of a fact become a share. A person
who fills a `%` blank with a number between 0 and 1 and no `%` is asked which of the two is meant.

Numbers are written with a point. A comma is refused, because `0,08` and `1,000` cannot both be meant.
All comparisons are exact (decimal): 0.7 is 70 %, and 0.1004 is more than 0.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Context, Decimal

from core.checklist.line import NUMBER, literals, matcher, underscores
from core.checklist.tree import Blank, Item, Target
from core.errors import UserError
from core.store.facts import Fact
from core.text import one_line, printable

LONGEST = 200
_PERCENT = ("%", "points")
_EMPTY = re.compile(r"_*")
_SIGNED = re.compile(rf"[+-]?{NUMBER}")


def numeric(item: Item, index: int) -> bool:
    """Whether a blank takes numbers only."""
    return bool(item.blanks[index].unit) or (index == 0 and item.target is not None)


def written(item: Item, index: int, text: str, *, beside: bool = False) -> str | None:
    """What a person wrote for a blank, as it is kept; None for an empty one.

    Args:
        beside: the text stood on a page that says the blank's unit beside it.

    Raises:
        UserError: what was expected instead.
    """
    text = " ".join(printable(text).split())
    if _EMPTY.fullmatch(text):
        return None
    if not numeric(item, index):
        return _words(item, index, text)
    blank = item.blanks[index]
    number, unit = _split(item, blank, text)
    if unit == "%" and blank.unit == "":
        number = format_number(Decimal(number) / 100, None)
    elif unit and unit != blank.unit:
        raise UserError(f"'{text}' for {item.id}: its unit is {blank.unit or 'none'}, not {unit}")
    elif blank.unit == "%" and not unit and not (beside and blank.bare) and 0 < abs(Decimal(number)) <= 1:
        points = format_number(Decimal(number) * 100, None)
        raise UserError(f"'{text}' for {item.id} could be {points}% or {number}%: write one of them with its %")
    if (scale := _scale(blank.unit)) and not 0 <= Decimal(number) <= scale:
        raise UserError(f"'{text}' for {item.id}: the scale ends at {scale}")
    return with_unit(number, blank)


def _split(item: Item, blank: Blank, text: str) -> tuple[str, str]:
    found = _SIGNED.match(text)
    rest = text[found.end() :].strip() if found else ""
    if found is None or (rest and not re.fullmatch(r"[%/°A-Za-z][%/°A-Za-z0-9]*", rest)):
        what = f"a number in {blank.unit}" if blank.unit else "a number"
        comma = re.fullmatch(r"[+-]?[0-9]+,[0-9]+", text)
        mend = f"write {text.replace(',', '.')} with a point" if comma else "write it as 0.08 or 1e-3"
        raise UserError(f"'{text}' for {item.id} is not {what}: {mend}; words belong in a note")
    return found[0].removeprefix("+"), rest


def _words(item: Item, index: int, text: str) -> str:
    if len(text) > LONGEST:
        raise UserError(f"{len(text)} characters for {item.id}: a blank takes {LONGEST}, the rest belongs in a note")
    if "<!--" in text or "-->" in text:
        raise UserError(f"'{one_line(text, 40)}' for {item.id}: '<!--' and '-->' would hide the item's own comment")
    # What is filled in has to be found again when the page is read back.
    filled = ["x"] * len(item.blanks)
    filled[index] = text
    found = matcher(item.text).fullmatch(fill_text(item, filled))
    if found is None or list(found.groups()) != filled:
        raise UserError(f"'{one_line(text, 40)}' for {item.id} could not be told from the words around the blank")
    return text


def fill_text(item: Item, values: list[str]) -> str:
    """The visible text of an item with all its blanks filled."""
    pieces = literals(item.text)
    return "".join(piece + value for piece, value in zip(pieces, [*values, ""], strict=True))


def filled(item: Item, values: Sequence[str | None]) -> str:
    """The visible text of an item as a page shows it: values where there are some, underscores elsewhere."""
    blanks = zip(values, underscores(item.text), strict=True)
    return fill_text(item, [value if value is not None else blank for value, blank in blanks])


def _scale(unit: str) -> Decimal | None:
    return Decimal(unit[1:]) if unit.startswith("/") else None


def with_unit(number: str, blank: Blank) -> str:
    """A number as it fills the blank: the unit follows where the page does not say it."""
    if blank.bare or not blank.unit:
        return number
    return f"{number} {blank.unit}" if blank.unit[:1].isalpha() else number + blank.unit


def read_number(text: str | None) -> Decimal | None:
    """The number of a kept value, in the blank's unit."""
    found = _SIGNED.match(text) if text is not None else None
    return Decimal(found[0]) if found else None


def fact_number(fact: Fact, unit: str) -> Decimal | None:
    """A fact's value in an item's unit; None when it has none."""
    if fact.value is None:
        return None
    value = Decimal(repr(float(fact.value)))
    if unit == "%":
        return value * 100 if fact.unit not in _PERCENT else value
    return value / 100 if fact.unit in _PERCENT else value


def fact_text(fact: Fact, item: Item, index: int) -> str | None:
    """How a fact reads in a blank; None when it was not measured."""
    blank = item.blanks[index]
    if numeric(item, index):
        number = fact_number(fact, blank.unit)
        return None if number is None else with_unit(format_number(number, item.target if index == 0 else None), blank)
    return plain_text(fact)


def plain_text(fact: Fact, unit: str = "", target: Target | None = None) -> str | None:
    """How a fact reads where nothing asks for a number: its own words, or its number with its percent sign."""
    if fact.value is None:
        return None
    if fact.text is not None and (words := one_line(fact.text, LONGEST)):
        return words.replace("<!--", "<! --").replace("-->", "-- >")
    percent = unit == "%" or (fact.unit in _PERCENT and target is None)
    number = fact_number(fact, "%" if percent else "")
    assert number is not None
    return format_number(number, target) + ("%" if percent else "")


def format_number(number: Decimal, target: Target | None) -> str:
    """Four significant digits or all before the point, and as many as it takes to look on its side of the target."""
    if not number.is_finite():
        return str(float(number))
    if abs(number) < 10**15 and number == number.to_integral_value():
        return str(int(number))
    for digits in range(max(4, min(number.adjusted() + 1, 15)), 34):
        rounded = Context(prec=digits).create_decimal(number)
        if target is None or target.met(rounded) == target.met(number):
            break
    if Decimal("1e-4") <= abs(rounded) < 10**15:
        plain = f"{rounded:f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    mantissa, _, exponent = f"{rounded:e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"
