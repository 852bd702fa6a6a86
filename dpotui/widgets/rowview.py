"""One row of a data file in full: prompt and responses with word differences, side by side where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.message import Message

from core.text import one_line
from dpotui.browse.shown import Detail, Part
from dpotui.diff import marked_share
from dpotui.flow import flow, found, marked, of_spans
from dpotui.roles import Span
from dpotui.widgets.lines import Lines

# From this width on two responses stand side by side.
SIDE_BY_SIDE = 84
# Rows of a prompt that are shown before the responses, on a narrow and on a wide view.
_PROMPT_ROWS = (5, 14)
# Where more of both texts is marked than this, they are different texts and marks only make them hard to read.
_TOO_MUCH = 0.7
_SEPARATOR = " │ "


class RowView(Lines, can_focus=True):
    FIXED = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="pair.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="pair.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="pair.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="pair.page-down"),
        Binding("home", "move(-1000000)", "First line", show=False, id="pair.first"),
        Binding("end", "move(1000000)", "Last line", show=False, id="pair.last"),
        Binding("space", "flip", "Flip", tooltip="Show the other response", id="pair.flip"),
        Binding("right,right_square_bracket", "step(1)", "Next", tooltip="Next pair", id="pair.next"),
        Binding("left,left_square_bracket", "step(-1)", "Last", tooltip="Last pair", id="pair.previous"),
        Binding("d", "differences", "Differences", tooltip="Mark word differences, or not", id="pair.differences"),
        Binding("u", "unfold", "Unfold", tooltip="The whole prompt, or its beginning", id="pair.unfold"),
    ]

    class Step(Message):
        """The next row is wanted, or the one before."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._detail: Detail | None = None
        self._empty = ""
        self._sought = ""
        self._side = 0
        self._marking: bool | None = None  # None: where it helps
        self._unfolded = False
        self._rows: list[list[Span]] = []

    @property
    def detail(self) -> Detail | None:
        return self._detail

    def fill(self, detail: Detail | None, *, sought: str = "", empty: str = "") -> None:
        """Show a row; `sought`: words to mark in it."""
        if detail is not None and self._detail is not None and detail.offset != self._detail.offset:
            self.top = 0
            self._unfolded = False
        if (detail, sought, empty) == (self._detail, self._sought, self._empty):
            return
        self._detail, self._sought, self._empty = detail, sought, empty
        self._side = min(self._side, max(0, len(detail.responses) - 1)) if detail else 0
        if detail is not None and sought:
            self._turn_to_hit(detail)
        self._lay_out()
        if sought:
            self._scroll_to_hit()

    def _turn_to_hit(self, detail: Detail) -> None:
        """Where one response is shown at a time, show one that has what was sought."""
        with_it = [side for side, part in enumerate(detail.responses) if found(part.text, self._sought)]
        if with_it and self._side not in with_it:
            self._side = with_it[0]
        # In the folded part of a prompt it would not be seen.
        self._unfolded = self._unfolded or (not with_it and any(found(p.text, self._sought) for p in detail.parts))

    def _scroll_to_hit(self) -> None:
        first = next((y for y, row in enumerate(self._rows) if any(role == "hit" for _, role in row)), None)
        if first is not None and not self.top <= first < self.top + self.page:
            self.scroll_rows(first - self.page // 3)

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.size.width - 1
        self._rows = self._rows_of(self._detail, width) if self._detail is not None and width > 0 else []
        self.show(len(self._rows))

    @property
    def _beside(self) -> bool:
        detail = self._detail
        return detail is not None and len(detail.responses) == 2 and self.size.width - 1 >= SIDE_BY_SIDE

    @property
    def _one_by_one(self) -> bool:
        """Whether one response is shown at a time."""
        detail = self._detail
        return detail is not None and len(detail.responses) > 1 and self.size.width - 1 < SIDE_BY_SIDE

    def _marks_shown(self, detail: Detail) -> bool:
        if self._marking is not None:
            return self._marking
        shares = [marked_share(part.text, part.differs) for part in detail.responses]
        return bool(shares) and min(shares) <= _TOO_MUCH

    def _rows_of(self, detail: Detail, width: int) -> list[list[Span]]:
        rows: list[list[Span]] = []
        for spans in detail.head:
            rows += [[(" ", ""), *row] for row in of_spans(spans, width - 2)]
        for part in detail.parts:
            rows += [[], self._title(part, width)] if rows else [self._title(part, width)]
            rows += self._folded(self._text(part, width - 2, False), width)
        marking = self._marks_shown(detail)
        if self._beside:
            return rows + self._columns(detail.responses[0], detail.responses[1], width, marking)
        shown = (detail.responses[self._side],) if self._one_by_one else detail.responses
        for part in shown:
            rows += [[], self._title(part, width)]
            rows += [[(" ", ""), *row] for row in self._text(part, width - 2, marking)]
        return rows

    def _title(self, part: Part, width: int) -> list[Span]:
        note = one_line(part.note, max(0, width - cell_len(part.title) - 4))
        return [(f" {part.title}", "title"), (f"  {note}", "dim")]

    def _text(self, part: Part, width: int, marking: bool) -> list[list[Span]]:
        differs = part.differs if marking else ()
        rows = list(flow(part.text, marked(differs, found(part.text, self._sought)), width))
        if part.left_out:
            rows.append([(f"… {part.left_out:,} more are in the file", "warn")])
        return rows

    def _folded(self, rows: list[list[Span]], width: int) -> list[list[Span]]:
        most = _PROMPT_ROWS[width >= SIDE_BY_SIDE]
        detail = self._detail
        shown = rows
        if detail is not None and detail.responses and len(rows) > most + 1 and not self._unfolded:
            shown = [
                *rows[:most],
                [(f"… {len(rows) - most:,} more lines, ", "faint"), ("u", "key"), (" unfolds", "faint")],
            ]
        return [[(" ", ""), *row] for row in shown]

    def _columns(self, first: Part, second: Part, width: int, marking: bool) -> list[list[Span]]:
        half = (width - 2 - len(_SEPARATOR)) // 2
        left = [self._title(first, half)[0:2], *self._text(first, half, marking)]
        right = [self._title(second, half)[0:2], *self._text(second, half, marking)]
        rows: list[list[Span]] = [[]]
        for y in range(max(len(left), len(right))):
            one = left[y] if y < len(left) else []
            two = right[y] if y < len(right) else []
            # Titles begin with a blank of their own.
            row: list[Span] = [] if y == 0 else [(" ", "")]
            used = sum(cell_len(text) for text, _ in one) + len(row)
            rows.append([*row, *one, (" " * (half + 1 - used), ""), (_SEPARATOR, "faint"), *_shifted(two, y == 0)])
        return rows

    def fixed(self, y: int, width: int) -> Sequence[Span]:
        detail = self._detail
        if detail is None:
            return []
        spans: list[Span] = [(f" {detail.title}", "title"), (f"  line {detail.line:,}", "dim")]
        right: list[Span] = []
        if self._one_by_one:
            right.append(("space ", "key"))
            for index, part in enumerate(detail.responses):
                if len(detail.responses) <= 3 or index == self._side:
                    here = index == self._side
                    right.append((f" {'▸' if here else ''}{part.title} ", "here" if here else "dim"))
        pad = width - sum(cell_len(text) for text, _ in [*spans, *right])
        return [*spans, (" " * pad, ""), *right] if pad > 0 else spans

    def row(self, y: int, width: int) -> Sequence[Span]:
        if self._detail is None:
            return self.message(self._empty, y, width)
        return self._rows[y] if y < len(self._rows) else []

    def action_move(self, by: int) -> None:
        self.scroll_rows(self.top + by)

    def action_page(self, direction: int) -> None:
        self.scroll_rows(self.top + direction * max(1, self.page - 2))

    def action_flip(self) -> None:
        detail = self._detail
        if detail is not None and self._one_by_one:
            self._side = (self._side + 1) % len(detail.responses)
            self._lay_out()

    def action_step(self, by: int) -> None:
        self.post_message(self.Step(by))

    def action_differences(self) -> None:
        if self._detail is not None and self._detail.responses:
            self._marking = not self._marks_shown(self._detail)
            self._lay_out()
            self.notify("differences are marked" if self._marking else "differences are not marked", timeout=2)

    def action_unfold(self) -> None:
        self._unfolded = not self._unfolded
        self._lay_out()


def _shifted(spans: list[Span], title: bool) -> list[Span]:
    """A title without the blank it begins with."""
    return [(spans[0][0][1:], spans[0][1]), *spans[1:]] if title and spans else spans
