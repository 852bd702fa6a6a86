"""To which rows a list is narrowed, and that in words."""

from __future__ import annotations

from dataclasses import dataclass

from core.data.findings import FINDINGS
from core.errors import UserError

Range = tuple[float | None, float | None]
ANY = "any"


@dataclass(frozen=True, slots=True)
class Narrowing:
    """`finding`: a kind, or "any". `bad`: rows that are no pairs, of a kind, or "any". `length`: of both responses."""

    finding: str | None = None
    bad: str | None = None
    gap: Range = (None, None)
    length: Range = (None, None)
    unit: str = "characters"

    @property
    def words(self) -> str:
        """The same for people; empty where all rows are shown."""
        if self.bad is not None:
            return "rows that are no pairs" + (f": {self.bad}" if self.bad != ANY else "")
        said = []
        if self.finding == ANY:
            said.append("any finding")
        elif self.finding is not None:
            said.append(FINDINGS[self.finding].title if self.finding in FINDINGS else self.finding)
        if span := _span(self.gap):
            said.append(f"gap {span}")
        if span := _span(self.length):
            said.append(f"both responses {span} {self.unit}")
        return ", ".join(said)


EVERYTHING = Narrowing()


def _span(range_: Range) -> str:
    low, high = range_
    if low is None and high is None:
        return ""
    if high is None:
        return f"≥ {low:g}"
    if low is None:
        return f"≤ {high:g}"
    return f"{low:g} to {high:g}"


def bound(text: str, what: str) -> float | None:
    """A number that was typed, or None where nothing was.

    Raises:
        UserError: it is no number.
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value or value in (float("inf"), float("-inf")):
        raise UserError(f"{what}: a number is wanted, or nothing for no bound")
    return value


def spanned(low: str, high: str, what: str) -> Range:
    """
    Raises:
        UserError: a bound is no number, or the lower one is above the upper one.
    """
    range_ = bound(low, f"{what} from"), bound(high, f"{what} to")
    if range_[0] is not None and range_[1] is not None and range_[0] > range_[1]:
        raise UserError(f"{what}: {range_[0]:g} to {range_[1]:g} holds nothing: the lower bound comes first")
    return range_
