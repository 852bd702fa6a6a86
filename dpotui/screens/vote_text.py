"""The prompt and both responses of a comparison: one response at a time, or side by side where there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from rich.cells import cell_len
from textual.geometry import Size

from core.data.votes_session import Ballot
from core.text import one_line
from dpotui import diff
from dpotui.diff import marked_share
from dpotui.passage import Passage
from dpotui.roles import Span
from dpotui.widgets.noted import NotedLines

# From this width on both responses are shown.
WIDE = 120
# Longer lines are hard to follow.
_LONGEST_LINE = 120
# Texts of which more than this differs are not marked unless somebody asks: all of it would be.
_MOSTLY = 0.7


class VoteText(NotedLines):
    """Scrolls the responses, or the prompt while that is shown whole."""

    def __init__(self, noted: Callable[[str, bool | None], None]) -> None:
        super().__init__(noted)
        self.side: Literal["A", "B"] = "A"
        self.whole_prompt = False
        self._seen_both = False
        self._told: Sequence[Span] = ()  # shown instead of a comparison: a row each
        self._ballot: Ballot | None = None
        self._prompt = self._folded = self._a = self._b = Passage("")
        self._earlier = 0  # turns before the last one
        self._at = 0
        self._marks: tuple[Sequence[diff.Range], Sequence[diff.Range]] = ((), ())
        self._marked = False
        self._wide = False
        self._prompt_rows = 0
        self._more_prompt = False
        self._answer_rows = 0  # how many rows of responses are seen at once

    def tell(self, rows: Sequence[Span]) -> None:
        """Show these rows."""
        self._told, self._ballot = rows, None
        self.show()

    def ask(self, ballot: Ballot) -> None:
        """Show a comparison from its beginning."""
        if ballot == self._ballot:
            return
        self._told, self._ballot = (), ballot
        self.side, self.whole_prompt, self._at, self._seen_both = "A", False, 0, False
        prompt = ballot.comparison.prompt
        self._prompt = Passage(prompt, "user")
        self._folded, self._earlier = self._prompt, 0
        if not isinstance(prompt, str) and len(prompt) > 1:
            # Of a chat the last turn is what is answered.
            self._folded, self._earlier = Passage(prompt[-1:], prompt[-1]["role"]), len(prompt) - 1
        self._a, self._b = Passage(ballot.a, "assistant"), Passage(ballot.b, "assistant")
        self._marks = diff.words(self._a.text, self._b.text)
        share = max(marked_share(p.text, m) for p, m in zip((self._a, self._b), self._marks, strict=True))
        self._mark(share <= _MOSTLY)
        self.show()

    # What the keys do

    def flip(self) -> None:
        self.side = "B" if self.side == "A" else "A"
        self.whole_prompt, self._seen_both = False, True
        self.show()

    def toggle_prompt(self) -> None:
        if self.whole_prompt or self._more_prompt:
            self.whole_prompt = not self.whole_prompt
            self._at = 0
            self.show()

    def toggle_marks(self) -> None:
        self._mark(not self._marked)
        self.show()

    def next_difference(self, by: int) -> None:
        """Let the responses begin at the next words that differ, or at the last ones before what is seen.

        Words that only the other response has are in that one: it is turned to where this one has none of its own.
        """
        if self._ballot is None or self.whole_prompt:
            return
        found = [row for p in self._shown if (row := p.row_of_mark(self._at, by)) is not None]
        if found:
            self.move((min if by > 0 else max)(found) - self._at)
        elif not self._wide and not self._shown[0].marks and (self._a.marks or self._b.marks):
            self.flip()
            self._lay_out(0)
            first = self._shown[0].row_of_mark(0, 1) or 0
            self.move(first - self._at)

    def move(self, rows: int) -> None:
        """Scroll by rows, as far as there are any."""
        at = max(0, self._at + rows)
        self._lay_out(at)
        self._at = min(at, self._last())
        self.show()

    def page_by(self, pages: int) -> None:
        self.move(pages * max(1, self._answer_rows - 1))

    def _mark(self, marked: bool) -> None:
        self._marked = marked
        self._a.marks, self._b.marks = self._marks if marked else ((), ())

    # How it is laid out

    @property
    def _shown(self) -> tuple[Passage, ...]:
        if self.whole_prompt:
            return (self._prompt,)
        return (self._a, self._b) if self._wide else (self._a if self.side == "A" else self._b,)

    def _width_of_text(self) -> int:
        width = self._made_for.width
        if self._wide and not self.whole_prompt:
            width = (width - 3) // 2
        return max(8, min(_LONGEST_LINE, width) - 2)

    def _lay_out(self, at: int) -> None:
        for passage in self._shown:
            passage.lay_out(self._width_of_text(), at + self._answer_rows)

    def _last(self) -> int:
        """The row that may stand first at most: all rows are seen, and one of what is not made yet."""
        longest = max(p.lay_out(self._width_of_text(), 0) + (not p.whole) for p in self._shown)
        return max(0, longest - self._answer_rows)

    def prepare(self, size: Size) -> None:
        if self._ballot is None:
            return
        self._wide = size.width >= WIDE
        room = 4 if size.height < 30 else 10
        if self.whole_prompt:
            self._prompt_rows = 0
        else:
            width = max(8, min(_LONGEST_LINE, size.width) - 2)
            found = self._folded.lay_out(width, room + 1)
            self._prompt_rows = min(found, room)
            self._more_prompt = found > room or self._earlier > 0
        self._answer_rows = max(1, size.height - self._prompt_rows - (1 if self.whole_prompt else 2))
        self._lay_out(self._at)
        self._at = min(self._at, self._last())
        self._lay_out(self._at)

    def row(self, y: int, width: int) -> Sequence[Span]:
        if self._ballot is None:
            return [self._told[y]] if y < len(self._told) else []
        if y == 0:
            return self._prompt_head(width)
        if self.whole_prompt:
            return self._prompt.row(self._at + y - 1)
        if y <= self._prompt_rows:
            return self._folded.row(y - 1)
        y -= self._prompt_rows + 1
        if y == 0:
            return self._answer_heads(width)
        index = self._at + y - 1
        if not self._wide:
            return self._shown[0].row(index)
        half = (width - 3) // 2
        left = self._a.row(index)
        pad = half - sum(cell_len(text) for text, _ in left)
        return [*left, (" " * max(0, pad) + " ", ""), ("│", "faint"), (" ", ""), *self._b.row(index)]

    def _prompt_head(self, width: int) -> Sequence[Span]:
        right = ""
        if self.whole_prompt:
            right = f"{self._where(self._prompt)}  p folds it"
        elif self._more_prompt:
            turns = f"{self._earlier} earlier turn{'s' if self._earlier > 1 else ''}, " if self._earlier else ""
            right = f"{turns}p shows all of it"
        return _ruled([(" Prompt ", "title")], right, width)

    def _answer_heads(self, width: int) -> Sequence[Span]:
        note = "differences underlined" if self._marked else "mostly different: d underlines"
        if self._marked and not any(self._marks):
            note = "the same words"
        if not self._wide:
            tabs: list[Span] = [(" ", "")]
            for side in ("A", "B"):
                here = side == self.side
                tabs.append((f"▌{side}▐" if here else f" {side} ", "mark" if here else "dim"))
            passage = self._shown[0]
            if not self._seen_both:
                tabs.append(("space shows B ", "accent"))
            return _ruled([*tabs, (f"  {_size(passage)}, {note} ", "dim")], self._where(passage), width)
        half = (width - 3) // 2
        left = _ruled([(" ", ""), ("▌A▐", "mark"), (f"  {_size(self._a)}, {note} ", "dim")], "", half)
        right = _ruled([("▌B▐", "mark"), (f"  {_size(self._b)} ", "dim")], self._where(self._a, self._b), half)
        return [*left, ("─┬─", "faint"), *right]

    def _where(self, *passages: Passage) -> str:
        """What part is seen, where that is not all."""
        rows = max(p.lay_out(self._width_of_text(), 0) for p in passages)
        if rows <= self._answer_rows and all(p.whole for p in passages):
            return ""
        longest = max(passages, key=lambda p: len(p.text))
        read = longest.read_to(self._at + self._answer_rows - 1)
        return f"to {100 * read:.0f} %" if read < 1 else "end"


def _size(passage: Passage) -> str:
    return f"{len(passage.text):,} characters"


def _ruled(left: list[Span], right: str, width: int) -> list[Span]:
    """Words at both ends of a rule."""
    room = width - sum(cell_len(text) for text, _ in left)
    right = f" {one_line(right, max(0, room - 2))} " if right and room > 8 else ""
    return [*left, ("─" * max(0, room - cell_len(right)), "faint"), (right, "dim")]
