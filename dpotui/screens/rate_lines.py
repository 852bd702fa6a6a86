"""What stands around an answer that is rated: who rates and how far, the criteria and their marks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from core.evaluation.ratings.session import Session
from core.text import one_line
from dpotui import say
from dpotui.roles import Span
from dpotui.widgets.lines import Lines
from dpotui.widgets.noted import NoteFoot
from dpotui.wrap import wrap


def digits(bounds: tuple[int, int]) -> str:
    """Which keys give which mark."""
    low, high = bounds
    if high < 10:
        return f"{low}-{high}"
    return f"{low}-9, 0 = 10" if low else "0-9, t = 10"


def mark_of(key: str, bounds: tuple[int, int]) -> int | None:
    """The mark that a key gives; None where the scale has none for it. 0 is ten on a scale that begins above it."""
    low, high = bounds
    mark = 10 if key == "t" or (key == "0" and low > 0 and high == 10) else int(key)
    return mark if low <= mark <= high else None


class RateHead(Lines):
    """Who rates, and how far that person has come. The name of the file could tell whose answers these are."""

    DEFAULT_CSS = "RateHead { height: 1; background: $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None

    def fill(self, session: Session) -> None:
        self._session = session
        self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        session = self._session
        left: list[Span] = [(" Rate", "title"), ("  blind", "dim")]
        if session is None:
            return left
        left.append((f"  {one_line(session.who, 20)}", "key"))
        right: list[Span] = []
        if width >= 120:
            done, rest = say.bar(session.done, session.total, 24)
            right += [(done, "bar"), (rest, "faint"), ("  ", "")]
        right.append((f"{session.done:,} of {session.total:,} answers", "title"))
        if session.rate and session.done < session.total:
            right.append((f"  {session.rate:.0f} marks a minute, {say.minutes(session.minutes_left or 0)} left", "dim"))
        pad = width - sum(cell_len(text) for text, _ in [*left, *right]) - 1
        return [*left, (" " * max(1, pad), ""), *right]


class RateFoot(NoteFoot[Session]):
    """The criteria with the marks of the answer in hand; its note, and what was done last."""

    DEFAULT_CSS = "RateFoot { height: 2; background: $panel; }"

    def row(self, y: int, width: int) -> Sequence[Span]:
        session = self._session
        if session is None or session.key is None:
            return [(f" {one_line(self._words, width - 2)}", "dim")] if y == 0 else []
        return self._criteria(session, width) if y == 0 else self._note(session, width)

    def _criteria(self, session: Session, width: int) -> Sequence[Span]:
        hint = f"{digits(session.source.bounds)} "
        room = (width - cell_len(hint) - 2) // len(session.criteria) - 7
        spans: list[Span] = [(" ", "")]
        for number, criterion in enumerate(session.criteria):
            here = number == session.criterion
            name = one_line(criterion, max(3, room))
            spans.append((f"▌{name}▐" if here else f" {name} ", "mark" if here else "dim"))
            spans += [(" ", ""), _mark(session, criterion), (" ", "")]
        pad = width - sum(cell_len(text) for text, _ in spans) - cell_len(hint)
        return [*spans, (" " * max(1, pad), ""), (hint, "key")]

    def _note(self, session: Session, width: int) -> Sequence[Span]:
        if self._typed is not None:
            return self.typed(self._typed, width)
        note = one_line(session.note, max(8, width // 2)) if session.note else "–"
        spans: list[Span] = [(" n", "key"), (" note ", "dim"), (note, "" if session.note else "dim")]
        room = width - sum(cell_len(text) for text, _ in spans) - 3
        words = one_line(self._words or session.said or "every mark is saved at once", max(0, room))
        return [*spans, (" " * max(2, room + 2 - cell_len(words)), ""), (words, "dim")]


class RateSide(Lines):
    """On a wide screen the marks in full, beside the answer."""

    DEFAULT_CSS = """
    RateSide { width: 62; height: 1fr; background: $panel; display: none; }
    RateSide.-shown { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None

    def fill(self, session: Session) -> None:
        self._session = session
        self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        rows = self._rows(width)
        return rows[y] if y < len(rows) else []

    def _rows(self, width: int) -> list[Sequence[Span]]:
        session = self._session
        if session is None or session.key is None:
            return []
        high = session.source.bounds[1]
        rows: list[Sequence[Span]] = [[], [(" Marks", "title"), (f"  {digits(session.source.bounds)}", "dim")], []]
        for number, criterion in enumerate(session.criteria):
            here = number == session.criterion
            mark = session.marks.get(criterion)
            bar = ("●" * mark + "○" * (high - mark)) if mark is not None else "○" * high
            name = one_line(criterion, 24)
            rows.append(
                [
                    (" › " if here else "   ", "key"),
                    (f"{name}{' ' * (26 - cell_len(name))}", "title" if here else ""),
                    (f"{bar} ", "" if mark is not None else "faint"),
                    _mark(session, criterion),
                ]
            )
        rows += [[], [(" Note", "title"), ("  n writes one", "dim")], []]
        rows += [[(f"   {line}", "")] for line in wrap(session.note or "–", width - 5)[:12]]
        rows += [[], [(" So far", "title")], []]
        for label, count in (("marks", session.given), ("passed over", session.passed), ("notes", session.noted)):
            rows.append([(f"   {label:14}", "dim"), (f"{count:,}", "")])
        return rows


def _mark(session: Session, criterion: str) -> Span:
    if criterion not in session.marks:
        return ("–", "dim")
    mark = session.marks[criterion]
    return ("n/a", "dim") if mark is None else (str(mark), "title")
