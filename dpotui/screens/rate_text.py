"""The prompt and the answer that is rated: nothing on it tells which model wrote it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from textual.geometry import Size

from core.data.messages import Text
from core.text import one_line
from dpotui.passage import Passage
from dpotui.roles import Span
from dpotui.widgets.noted import NotedLines

# Longer lines are hard to follow.
_LONGEST_LINE = 120
_EMPTY = "(the answer is empty)"


class RateText(NotedLines):
    """Scrolls the answer, or the prompt while that is shown whole."""

    def __init__(self, noted: Callable[[str, bool | None], None]) -> None:
        super().__init__(noted)
        self.whole_prompt = False
        self._told: Sequence[Span] = ()  # shown instead of an answer: a row each
        self._key: str | None = None
        self._prompt = self._folded = self._answer = Passage("")
        self._earlier = 0  # turns before the last one
        self._at = 0
        self._prompt_rows = 0
        self._more_prompt = False
        self._seen_rows = 0  # how many rows of what is scrolled are seen at once

    def tell(self, rows: Sequence[Span]) -> None:
        """Show these rows."""
        self._told, self._key = rows, None
        self.show()

    def ask(self, key: str, prompt: Text, answer: str) -> None:
        """Show an answer from its beginning."""
        if key == self._key:
            return
        self._told, self._key = (), key
        self.whole_prompt, self._at = False, 0
        self._prompt = Passage(prompt, "user")
        self._folded, self._earlier = self._prompt, 0
        if not isinstance(prompt, str) and len(prompt) > 1:
            # Of a chat the last turn is what is answered.
            self._folded, self._earlier = Passage(prompt[-1:], prompt[-1]["role"]), len(prompt) - 1
        self._answer = Passage(answer or _EMPTY, "assistant")
        self.show()

    def toggle_prompt(self) -> None:
        if self.whole_prompt or self._more_prompt:
            self.whole_prompt = not self.whole_prompt
            self._at = 0
            self.show()

    def move(self, rows: int) -> None:
        """Scroll by rows, as far as there are any."""
        at = max(0, self._at + rows)
        self._shown.lay_out(self._width_of_text(), at + self._seen_rows)
        self._at = min(at, self._last())
        self.show()

    def page_by(self, pages: int) -> None:
        self.move(pages * max(1, self._seen_rows - 1))

    # How it is laid out

    @property
    def _shown(self) -> Passage:
        return self._prompt if self.whole_prompt else self._answer

    def _width_of_text(self) -> int:
        return max(8, min(_LONGEST_LINE, self._made_for.width) - 2)

    def _last(self) -> int:
        """The row that may stand first at most: all rows are seen, and one of what is not made yet."""
        shown = self._shown
        return max(0, shown.lay_out(self._width_of_text(), 0) + (not shown.whole) - self._seen_rows)

    def prepare(self, size: Size) -> None:
        if self._key is None:
            return
        room = 4 if size.height < 30 else 16
        if self.whole_prompt:
            self._prompt_rows = 0
        else:
            found = self._folded.lay_out(self._width_of_text(), room + 1)
            self._prompt_rows = min(found, room)
            self._more_prompt = found > room or self._earlier > 0
        self._seen_rows = max(1, size.height - self._prompt_rows - (1 if self.whole_prompt else 2))
        shown = self._shown
        shown.lay_out(self._width_of_text(), self._at + self._seen_rows)
        self._at = min(self._at, self._last())
        shown.lay_out(self._width_of_text(), self._at + self._seen_rows)

    def row(self, y: int, width: int) -> Sequence[Span]:
        if self._key is None:
            return [self._told[y]] if y < len(self._told) else []
        if y == 0:
            return _ruled(" Prompt ", self._of_prompt(), width)
        if self.whole_prompt:
            return self._prompt.row(self._at + y - 1)
        if y <= self._prompt_rows:
            return self._folded.row(y - 1)
        y -= self._prompt_rows + 1
        if y == 0:
            return _ruled(" Answer ", self._where(), width)
        return self._answer.row(self._at + y - 1)

    def _of_prompt(self) -> str:
        if self.whole_prompt:
            return f"{self._where()}  p folds it".strip()
        if not self._more_prompt:
            return ""
        turns = f"{self._earlier} earlier turn{'s' if self._earlier > 1 else ''}, " if self._earlier else ""
        return f"{turns}p shows all of it"

    def _where(self) -> str:
        """What part is seen, where that is not all."""
        shown = self._shown
        if shown.whole and shown.lay_out(self._width_of_text(), 0) <= self._seen_rows:
            return ""
        read = shown.read_to(self._at + self._seen_rows - 1)
        return f"to {100 * read:.0f} %" if read < 1 else "end"


def _ruled(left: str, right: str, width: int) -> list[Span]:
    """Words at both ends of a rule."""
    room = width - cell_len(left)
    right = f" {one_line(right, max(0, room - 2))} " if right and room > 8 else ""
    return [(left, "title"), ("─" * max(0, room - cell_len(right)), "faint"), (right, "dim")]
