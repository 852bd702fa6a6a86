"""How what a model wrote is held against the right answers: the same words, in it, by a pattern, or the last number."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation

# A number as people write it: a sign, thousands set apart by commas, a fraction, an exponent.
_NUMBER = re.compile(r"[-+\u2212]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)
# Numbers are the same that differ by less than this, relative to the larger.
_RELATIVE = Decimal("1e-6")
_DIGITS = 60  # of a number that is read; one with more is none
_AROUND = " .,;:!?\"'`*\u201c\u201d\u2018\u2019\u00ab\u00bb"


def folded(text: str) -> str:
    """Without what does not matter: case, forms of one letter, runs of blanks, marks and quotes around it."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(text.split()).strip(_AROUND)


def exact(said: str, answer: str) -> bool:
    """The same words, whatever their case and the marks around them."""
    return folded(said) == (folded(answer) or answer.strip())


def contains(said: str, answer: str) -> bool:
    """The answer stands in it, not as a part of a longer word."""
    text, wanted = folded(said), folded(answer)
    if not wanted:  # an answer of marks alone
        return answer.strip() in said
    place = text.find(wanted)
    while place >= 0:
        before, after = text[place - 1 : place], text[place + len(wanted) : place + len(wanted) + 1]
        if not (before.isalnum() and wanted[0].isalnum()) and not (after.isalnum() and wanted[-1].isalnum()):
            return True
        place = text.find(wanted, place + 1)
    return False


def last_number(text: str) -> Decimal | None:
    """The last number of a text; None where there is none."""
    found = None
    for match in _NUMBER.finditer(text):
        if (number := _decimal(match, text)) is not None:
            found = number
    return found


def same_number(said: str, answer: str) -> bool:
    """The last number of what was said is that of the answer."""
    ours, wanted = last_number(said), last_number(answer)
    if ours is None or wanted is None:
        return False
    return abs(ours - wanted) <= _RELATIVE * max(abs(ours), abs(wanted))


def _decimal(match: re.Match[str], text: str) -> Decimal | None:
    digits = match[0].replace(",", "").replace("\u2212", "-")
    # "7-3" is not minus three: the sign stands behind a number or a word.
    if digits[0] in "+-" and match.start() and text[match.start() - 1].isalnum():
        digits = digits[1:]
    if len(digits) > _DIGITS:
        return None
    try:
        return Decimal(digits)
    except InvalidOperation:
        return None
