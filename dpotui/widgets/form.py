"""A form in rows: a key and its value on each, edited in place; what is wrong stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rich.cells import cell_len
from rich.style import Style
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.suggester import SuggestFromList
from textual.widgets import Input

from core.text import one_line
from dpotui.roles import Span
from dpotui.widgets.lines import Lines
from dpotui.widgets.typed import Typed

_LEAST_LABEL, _MOST_LABEL = 16, 34
# Cells before a label: the mark and a blank on either side.
_MARK = 3
# From this width on an error stands beside its value; else it is told with the help.
_ROOM = 60


@dataclass(frozen=True, slots=True)
class FormRow:
    """`heading`: a section. `state` says where the value is from; `note` is what else there is to say of it."""

    key: str
    label: str
    value: str = ""
    heading: bool = False
    depth: int = 0
    state: Literal["set", "default", "changed"] = "set"
    error: str = ""
    note: str = ""


class _Cell(Typed):
    """The field over a row: up and down keep what was typed and go on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "go(-1)", "Key above", show=False, id="config.above"),
        Binding("down", "go(1)", "Key below", show=False, id="config.below"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.select_on_focus = False  # a value is mended more often than it is replaced

    def action_go(self, by: int) -> None:
        if isinstance(self.parent, Form):
            self.parent.action_move(by)


class Form(Lines, can_focus=True):
    DEFAULT_CSS = """
    Form {
        overflow: hidden;
        & > Input {
            display: none; border: none; height: 1; padding: 0; background: $panel-lighten-1;
            &.-open { display: block; }
            &:focus { border: none; background: $panel-lighten-1; background-tint: $foreground 0%; }
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "edit", "Edit", tooltip="Change the value, or add to names", id="config.edit"),
        Binding("space", "cycle", "Next value", tooltip="The next of its choices; true or false", id="config.cycle"),
        Binding("x,delete", "unset", "Default", tooltip="Leave it out: its default takes its place", id="config.unset"),
        Binding("up,k", "move(-1)", "Up", show=False, id="list.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="list.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="list.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="list.page-down"),
        Binding("home", "move(-1000000000)", "First", show=False, id="list.first"),
        Binding("end", "move(1000000000)", "Last", show=False, id="list.last"),
        Binding("escape", "cancel", "Cancel", tooltip="Forget what is being typed", id="config.cancel"),
    ]

    class Moved(Message):
        """The cursor stands on another key."""

    class Edit(Message):
        """The value of a key is to be changed; `how`: by a field, the next choice, or its default."""

        def __init__(self, key: str, how: Literal["edit", "cycle", "unset"]) -> None:
            super().__init__()
            self.key, self.how = key, how

    class Typing(Message):
        """A value is being typed."""

        def __init__(self, key: str, text: str) -> None:
            super().__init__()
            self.key, self.text = key, text

    class Entered(Message):
        """A value was typed."""

        def __init__(self, key: str, text: str) -> None:
            super().__init__()
            self.key, self.text = key, text

    class Cancelled(Message):
        """What was typed is not wanted."""

    def __init__(self, empty: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._empty = empty
        self._rows: tuple[FormRow, ...] = ()
        self._cursor = 0
        self._brief: tuple[Span, ...] = ()
        self._editing = ""  # the key whose value is in the field
        self._before = ""  # its value before
        self._longest = 0  # label
        self._label = _LEAST_LABEL  # cells for labels

    def compose(self) -> ComposeResult:
        yield _Cell()

    @property
    def key(self) -> str:
        return self._rows[self._cursor].key if self._rows else ""

    @property
    def editing(self) -> bool:
        return bool(self._editing)

    def fill(self, rows: Sequence[FormRow], empty: str, brief: Sequence[Span] = ()) -> None:
        """Show these; the cursor stays on its key. `brief`: lines below the rows, where there is no other help."""
        key = self.key
        self._rows, self._empty, self._brief = tuple(rows), empty, tuple(brief)
        found = next((i for i, row in enumerate(rows) if row.key == key), None)
        if found is None:
            # A heading that was kept for what stands below it is not what one looks for.
            found = next((i for i, row in enumerate(rows) if not row.heading), 0)
        self._cursor = found
        self._longest = max((2 * row.depth + cell_len(row.label) for row in rows if not row.heading), default=0)
        self._see_cursor()
        self.show(len(self._rows))
        if self.key != key:
            self.post_message(self.Moved())

    def tell(self, brief: Sequence[Span]) -> None:
        """Say something else below the rows."""
        self._brief = tuple(brief)
        self.show(len(self._rows))

    def select(self, key: str) -> None:
        for index, row in enumerate(self._rows):
            if row.key == key:
                self._go(index)

    # Rows

    def prepare(self, size: Size) -> None:
        self._label = max(_LEAST_LABEL, min(_MOST_LABEL, self._longest, size.width // 2 - _MARK))

    @property
    def page(self) -> int:
        return max(1, self.size.height - len(self._brief))

    def _bar(self) -> list[Strip]:
        blank = self.palette.strip([(" ", "")], 1, self.palette.base)
        return super()._bar() + [blank] * len(self._brief)

    def base(self, y: int) -> Style:
        if y != self._cursor or not self._rows or y >= self.top + self.page:
            return self.palette.base
        return self.palette.base + self.palette.style("cursor" if self.has_focus else "cursor-idle")

    def row(self, y: int, width: int) -> Sequence[Span]:
        below = y - self.top - self.page
        if below >= 0:
            return [self._brief[below]] if below < len(self._brief) else []
        if not self._rows:
            return self.message(self._empty, y, width)
        return self._spans(self._rows[y], width) if y < len(self._rows) else []

    def _spans(self, row: FormRow, width: int) -> list[Span]:
        mark, role = ("!", "bad") if row.error else ("*", "accent") if row.state == "changed" else (" ", "")
        indent = "  " * row.depth
        spans: list[Span] = [(f" {mark} ", role)]
        if row.heading:
            title = one_line(indent + row.label, width - _MARK)
            spans.append((title if not indent else indent + title.strip(), "title"))
            rest = width - _MARK - cell_len(indent + row.label) - 2
            if row.error or row.note:
                spans.append(("  " + one_line(row.error or row.note, rest), "bad" if row.error else "dim"))
            return spans
        label = indent + one_line(row.label, self._label - len(indent))
        spans.append((label + " " * (self._label - cell_len(label)) + " ", ""))
        left = width - _MARK - self._label - 1
        room = min(left, max(18, left // 2)) if row.error and width >= _ROOM else left
        value = one_line(row.value, room)
        spans.append((value, {"default": "dim", "changed": "accent", "set": ""}[row.state]))
        rest = left - cell_len(value) - 2
        if row.error and width >= _ROOM:
            spans.append(("  " + one_line(row.error, rest), "bad"))
        elif row.note and rest > 8:
            spans.append(("  " + one_line(row.note, rest), "faint"))
        return spans

    # The cursor

    def _go(self, index: int) -> None:
        key = self.key
        self._cursor = min(max(0, index), max(0, len(self._rows) - 1))
        self._see_cursor()
        self.show(len(self._rows))
        if self.key != key:
            self.post_message(self.Moved())

    def _see_cursor(self) -> None:
        if not self.size:
            return  # a pane that is not shown has no window
        first = self._cursor
        while first > 0 and self._rows[first - 1].heading:
            first -= 1
        if first < self.top:
            self.top = first
        elif self._cursor >= self.top + self.page:
            self.top = self._cursor - self.page + 1

    def action_move(self, by: int) -> None:
        if self._editing:
            self._enter()
        self._go(self._cursor + by)

    def action_page(self, direction: int) -> None:
        self.action_move(direction * max(1, self.page - 1))

    def on_click(self, event: events.Click) -> None:
        index = event.y + self.top
        if event.y < self.page and index < len(self._rows):
            again = index == self._cursor
            self._go(index)
            if again:
                self.action_edit()

    # Changes

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "cancel":
            return self.editing
        if action in ("edit", "cycle", "unset"):
            return bool(self._rows) and not self.editing
        return super().check_action(action, parameters)

    def action_edit(self) -> None:
        self.post_message(self.Edit(self.key, "edit"))

    def action_cycle(self) -> None:
        self.post_message(self.Edit(self.key, "cycle"))

    def action_unset(self) -> None:
        self.post_message(self.Edit(self.key, "unset"))

    def open(self, value: str, hint: str, proposals: Sequence[str] = ()) -> None:
        """Let the value under the cursor be typed, over its row."""
        field = self.query_one(Input)
        self._editing, self._before = self.key, value
        field.suggester = SuggestFromList(proposals) if proposals else None
        with self.prevent(Input.Changed):
            field.value = value
        field.placeholder = hint
        left = _MARK + self._label + 1
        field.styles.offset = (left, self._cursor - self.top)
        field.styles.width = max(4, self.size.width - left - 1)
        field.add_class("-open")
        field.focus()
        field.cursor_position = len(value)

    def close(self) -> None:
        field = self.query_one(Input)
        self._editing = ""
        had_focus = field.has_focus
        field.remove_class("-open")
        if had_focus:
            self.focus()

    def _enter(self) -> None:
        key, text = self._editing, self.query_one(Input).value
        self.close()
        if text == self._before:
            self.post_message(self.Cancelled())
        else:
            self.post_message(self.Entered(key, text))

    def action_cancel(self) -> None:
        self.close()
        self.post_message(self.Cancelled())

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._editing:
            self.post_message(self.Typing(self._editing, event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._editing:
            self._enter()

    @on(events.DescendantBlur)
    def _left(self) -> None:
        # Going elsewhere keeps what was typed.
        if self._editing:
            self._enter()

    def on_resize(self) -> None:
        self._see_cursor()
        super().on_resize()
        if self._editing:
            self.query_one(Input).styles.offset = (_MARK + self._label + 1, self._cursor - self.top)
