"""The text of a report: its lines as far as they are in view, its sections, and words that are looked for in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from core.report import Report
from dpotui.report_lines import Laid, lay_out
from dpotui.roles import Span
from dpotui.widgets.lines import Lines

_HIT = "hit"


class ReportText(Lines, can_focus=True):
    """The lines of a report, as far as they are in view."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="card.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="card.down"),
        Binding("pageup", "move_page(-1)", "Page up", show=False, id="card.page-up"),
        Binding("pagedown,space", "move_page(1)", "Page down", show=False, id="card.page-down"),
        Binding("home", "move(-1000000)", "First line", show=False, id="card.first"),
        Binding("end", "move(1000000)", "Last line", show=False, id="card.last"),
    ]

    class Scrolled(Message):
        """Another part is in view."""

    def __init__(self) -> None:
        super().__init__()
        self._report: Report | None = None
        self._laid = Laid()
        self._laid_for = 0
        self._words = ""
        self._hit = -1
        self._gone_to: int | None = None  # a section, until the window is moved otherwise

    @property
    def laid(self) -> Laid:
        return self._laid

    def fill(self, report: Report) -> None:
        """Show this one; the window stays where it was, by its section."""
        section, below = self.section, self.top
        starts = [row for _, row in self._laid.sections]
        below -= starts[section] if section >= 0 else 0
        self._report, self._laid_for = report, 0
        self._lay_out()
        starts = [row for _, row in self._laid.sections]
        self.top = max(0, (starts[section] if 0 <= section < len(starts) else 0) + below)
        self.show(len(self._laid.rows))

    def on_resize(self) -> None:
        self._lay_out()
        self.show(len(self._laid.rows))

    def _lay_out(self) -> None:
        # One cell is left for the scroll bar, one on each side for the eye.
        width = self.size.width - 3
        if self._report is not None and width > 0 and self._laid_for != width:
            self._laid_for = width
            self._laid = lay_out(self._report, width)
            self._hit = -1

    @property
    def section(self) -> int:
        """The one that was gone to until the window moves on; else that in which it begins, -1 above the first.

        The last ones may be too short for the window to begin in them.
        """
        if self._gone_to is not None:
            return self._gone_to
        return sum(row <= self.top for _, row in self._laid.sections) - 1

    def scroll_rows(self, top: int) -> None:
        self._gone_to = None
        super().scroll_rows(top)

    def open_section(self, index: int) -> None:
        sections = self._laid.sections
        if sections:
            index = max(0, min(index, len(sections) - 1))
            self.scroll_rows(sections[index][1])
            self._gone_to = index
            self.post_message(self.Scrolled())

    def find(self, words: str) -> None:
        """Mark words and go to the first line from here on that has them."""
        self._words = words.casefold()
        self._hit = -1
        if words:
            self.next_hit(1, self.top - 1)
        self.show()

    @property
    def hits(self) -> int:
        return sum(self._words in self._laid.text(row).casefold() for row in range(self.rows)) if self._words else 0

    def next_hit(self, by: int, start: int | None = None) -> bool:
        """Go to the next line with the words, around the end; False where there is none."""
        count = len(self._laid.rows)
        at = start if start is not None else self._hit if self._hit >= 0 else self.top - 1
        for step in range(1, count + 1):
            row = (at + by * step) % count
            if self._words and self._words in self._laid.text(row).casefold():
                self._hit = row
                if not self.top <= row < self.top + self.page - 1:
                    self._to(max(0, row - self.page // 3))
                self.show()
                return True
        return False

    def row(self, y: int, width: int) -> Sequence[Span]:
        if self._report is None:
            return [("  reading …", "dim")] if y == 1 else []
        if y >= len(self._laid.rows):
            return []
        spans: list[Span] = [(" ", ""), *self._laid.rows[y]]
        if self._words and self._words in self._laid.text(y).casefold():
            return _marked(spans, self._words, "here" if y == self._hit else _HIT)
        return spans

    def _to(self, row: int) -> None:
        self.scroll_rows(row)
        self.post_message(self.Scrolled())

    def action_move(self, by: int) -> None:
        self._to(self.top + by)

    def action_move_page(self, by: int) -> None:
        self._to(self.top + by * max(1, self.page - 2))


def _marked(spans: list[Span], words: str, role: str) -> list[Span]:
    found: list[Span] = []
    for text, own in spans:
        rest = text
        while (at := rest.casefold().find(words)) >= 0 and len(rest.casefold()) == len(rest):
            found += [(rest[:at], own), (rest[at : at + len(words)], role)]
            rest = rest[at + len(words) :]
        found.append((rest, own))
    return found
