"""Dialogs: a few fields with a check of what was written in them, a yes or no, and a card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from core.errors import UserError
from core.text import printable
from dpotui.screens.modal import Modal
from dpotui.widgets.card import Card, Entry
from dpotui.widgets.typed import Typed

DIALOG_CSS = """
{name} {{
    align: center middle;
    & > .box {{
        width: {width}; max-width: 95%; height: auto; max-height: 95%; background: $surface;
        border: round $primary; border-title-color: $primary; border-title-style: bold; padding: 0 1;
        border-subtitle-color: $dim;
        & Static {{ width: 1fr; height: auto; }}
        & .label {{ color: $dim; margin-top: 1; }}
        & .error {{ color: $error; text-style: bold; display: none; margin-top: 1; }}
        & .error.-shown {{ display: block; }}
        & .told {{ color: $success; display: none; margin-top: 1; }}
        & .told.-shown {{ display: block; }}
        & Input {{ border: none; height: 1; padding: 0 1; background: $panel; width: 1fr; }}
        & Input:focus {{ border: none; background: $panel-lighten-1; background-tint: $foreground 0%; }}
    }}
}}
"""


def text(words: str, classes: str = "") -> Static:
    """Foreign or own words, as they are."""
    return Static(printable(words), markup=False, classes=classes)


@dataclass(frozen=True, slots=True)
class Field:
    label: str
    value: str = ""
    hint: str = ""
    goes_on: bool = False  # what is typed goes on with what stands there, and does not take its place


class Fields(Modal[bool]):
    """A dialog with fields. Keys that were typed before one of them has the focus are theirs all the same."""

    async def on_key(self, event: events.Key) -> None:
        field = self.focused if self.focused is not None else next(iter(self.query(Typed)), None)
        if not isinstance(field, Typed):
            return
        if event.is_printable and event.character:
            event.stop()
            event.prevent_default()
            if field.select_on_focus:
                # It takes the place of what stands there, and is not to be replaced when the focus comes.
                field.value, field.select_on_focus = "", False
            field.insert_text_at_cursor(event.character)
        else:
            await field._on_key(event)


class Ask(Fields):
    """Asks for some words. `submit` gets them and raises UserError when they cannot be taken: it is shown, and the
    person mends it in place. `check` gets them with every letter, says what they come to and raises the same: it has to
    be quick. What was typed stays in either case."""

    DEFAULT_CSS = DIALOG_CSS.format(name="Ask", width=76)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(False)", "Cancel", id="ask.cancel"),
    ]

    def __init__(
        self,
        title: str,
        words: str,
        fields: Sequence[Field],
        submit: Callable[[list[str]], None],
        *,
        check: Callable[[list[str]], str] | None = None,
    ) -> None:
        super().__init__()
        self._title, self._words, self._fields, self._submit, self._check = title, words, fields, submit, check

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(printable(self._title))
            clear = "^u clear · " if any(field.goes_on for field in self._fields) else ""
            box.border_subtitle = f"enter save · {clear}escape cancel"
            if self._words:
                yield text(self._words)
            for field in self._fields:
                yield text(field.label, "label")
                typed = Typed(field.value, field.hint)
                typed.select_on_focus = not field.goes_on
                yield typed
            yield text("", "told")
            yield text("", "error")

    @property
    def _typed(self) -> list[str]:
        return [field.value.strip() for field in self.query(Input)]

    def _show(self, told: str, error: str) -> None:
        for name, words in (("told", told), ("error", error)):
            shown = self.query_one(f".{name}", Static)
            shown.update(printable(words))
            shown.set_class(bool(words), "-shown")

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._check is None:
            return
        try:
            self._show(self._check(self._typed), "")
        except UserError as error:
            self._show("", str(error))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            self._submit(self._typed)
        except UserError as error:
            self._show("", str(error))
        else:
            self.dismiss(True)


class Confirm(Modal[bool]):
    """A question that is answered with one key; anything but yes is no."""

    DEFAULT_CSS = DIALOG_CSS.format(name="Confirm", width=66)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes", id="confirm.yes"),
        Binding("n,escape,enter,q", "dismiss(False)", "No", key_display="n", id="confirm.no"),
    ]

    def __init__(self, title: str, words: str) -> None:
        super().__init__()
        self._title, self._words = title, words

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(printable(self._title))
            box.border_subtitle = "y yes · n no"
            yield text(self._words)


class CardScreen(Modal[bool]):
    """A card over the screen, where there is no pane for it; gives back nothing."""

    DEFAULT_CSS = """
    CardScreen {
        align: center middle;
        & > Card {
            width: 100; max-width: 95%; height: 80%; background: $surface; border: round $primary;
            border-title-color: $primary; border-title-style: bold; border-subtitle-color: $dim;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "dismiss", "Close", key_display="esc", id="card.close"),
    ]

    def __init__(self, title: str, entries: Sequence[Entry]) -> None:
        super().__init__()
        self._title, self._entries = title, entries

    def compose(self) -> ComposeResult:
        card = Card()
        card.border_title = Content(printable(self._title))
        card.border_subtitle = "escape close"
        yield card

    def on_mount(self) -> None:
        card = self.query_one(Card)
        card.fill(self._entries)
        card.focus()
