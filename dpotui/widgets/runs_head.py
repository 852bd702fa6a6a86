"""The line above the list of runs: how many, found by what, in which order, how many are marked."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from core.text import one_line
from dpotui import runs_columns
from dpotui.roles import Span
from dpotui.runs_desk import Seen
from dpotui.widgets.lines import Lines

_HINT = "/ kind=dpo kl<=0.1"


class RunsHead(Lines):
    DEFAULT_CSS = "RunsHead { height: 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._seen: Seen | None = None
        self._marked = 0
        self._expression = ""

    def fill(self, seen: Seen, marked: int, expression: str) -> None:
        self._seen, self._marked, self._expression = seen, marked, expression
        self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        seen = self._seen
        if seen is None:
            return [(" looking …", "dim")]
        query, hidden = seen.query, seen.archived
        shown = seen.total if query.archived else seen.total - hidden
        count = f"{seen.found.count:,}" if seen.found.count == shown else f"{seen.found.count:,} of {shown:,}"
        spans: list[Span] = [(f" {count} run{'s' if shown != 1 else ''}", "title")]
        if self._marked:
            spans.append((f"  {self._marked} marked: v compares", "key"))
        spans.append((f"  {runs_columns.sort_words(query)}", "dim"))
        if query.group is not None:
            spans.append((f"  by {query.group}", "dim"))
        if hidden:
            spans.append((f"  {hidden:,} archived {'too' if query.archived else 'hidden'}", "dim"))
        if self._expression:
            left = width - sum(cell_len(text) for text, _ in spans) - 3
            spans.append((f"  {one_line(self._expression, max(8, left))}", "accent"))
        left = width - sum(cell_len(text) for text, _ in spans) - len(_HINT) - 1
        if left > 2 and not self._expression:
            spans += [(" " * left, ""), ("/", "key"), (_HINT[1:], "faint")]
        return spans
