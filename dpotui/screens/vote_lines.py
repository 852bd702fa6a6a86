"""The lines above and below a comparison: who votes on what and how far, and what is said of the pair in hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len

from core.data.votes_session import Session
from core.text import one_line
from dpotui import say
from dpotui.roles import Span
from dpotui.widgets.lines import Lines
from dpotui.widgets.noted import NoteFoot

_SAID = {"A": "A better", "B": "B better", "tie": "tie", "reject": "both rejected", "skip": "skipped"}


class VoteHead(Lines):
    """The file, who votes, and how far that person has come."""

    DEFAULT_CSS = "VoteHead { height: 1; background: $panel; }"

    def __init__(self, file: str) -> None:
        super().__init__()
        self._file = file
        self._session: Session | None = None

    def fill(self, session: Session) -> None:
        self._session = session
        self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        session = self._session
        name = Path(self._file).name
        if session is None:
            return [(" Vote", "title"), (f"  {one_line(name, max(10, width - 8))}", "dim")]
        who = one_line(session.who, 20)
        right: list[Span] = []
        if width >= 120:
            done, rest = say.bar(session.done, session.total, 24)
            right += [(done, "bar"), (rest, "faint"), ("  ", "")]
        right.append((f"{session.done:,} of {session.total:,}", "title"))
        if session.rate and session.done < session.total:
            right.append((f"  {session.rate:.1f} a minute, {say.minutes(session.minutes_left or 0)} left", "dim"))
        taken = sum(cell_len(text) for text, _ in right) + cell_len(who)
        left: list[Span] = [(" Vote", "title"), (f"  {one_line(name, max(10, width - taken - 12))}", "dim")]
        left.append((f"  {who}", "key"))
        pad = width - sum(cell_len(text) for text, _ in [*left, *right]) - 1
        return [*left, (" " * max(1, pad), ""), *right]


class VoteFoot(NoteFoot[Session]):
    """What is said of the comparison in hand, and what was said last."""

    DEFAULT_CSS = "VoteFoot { height: 1; background: $panel; }"

    def row(self, y: int, width: int) -> Sequence[Span]:
        session = self._session
        if session is None or session.ballot is None:
            return [(f" {self._words}", "dim")]
        if self._typed is not None:
            return self.typed(self._typed, width)
        sure = session.confidence
        spans: list[Span] = [(" 1-5", "key"), (" how sure ", "dim")]
        spans.append((f"{'●' * sure}{'○' * (5 - sure)} {sure}" if sure else "○○○○○ –", "" if sure else "dim"))
        note = one_line(session.note, max(8, width // 3)) if session.note else "–"
        spans += [("   n", "key"), (" note ", "dim"), (note, "" if session.note else "dim")]
        right = self._words or _last(session)
        room = width - sum(cell_len(text) for text, _ in spans) - 3
        right = one_line(right, max(0, room))
        return [*spans, (" " * max(2, room + 2 - cell_len(right)), ""), (right, "dim")]


def _last(session: Session) -> str:
    if session.last is None:
        return "every answer is saved at once"
    sure = f", sure {session.last.confidence}" if session.last.confidence else ""
    return f"saved: {_SAID[session.last.letter]}{sure}"
