"""What voting and rating share: an opinion at a time, saved with its key, with notes and guidelines."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar, cast

from textual.binding import Binding, BindingType

from core.data.votes import GUIDELINES
from core.errors import UserError
from dpotui.screens.dialogs import CardScreen
from dpotui.screens.keys import keys_screen
from dpotui.screens.modal import Modal
from dpotui.widgets.card import BLANK, Entry
from dpotui.widgets.noted import NotedLines, NoteFoot
from dpotui.wrap import wrap

if TYPE_CHECKING:
    from dpotui.app import Workbench


class _Noted(Protocol):
    """As far as a session of either kind is shared."""

    @property
    def note(self) -> str: ...

    def take_note(self, text: str) -> None: ...


S = TypeVar("S", bound=_Noted)


class Guidelines(CardScreen):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,g", "dismiss", "Close", key_display="esc", id="card.close"),
    ]


class OpinionScreen(Modal[None], Generic[S]):
    """Over the workbench, all of the screen. `leaves_program`: the person came for nothing else."""

    # What guidelines are for, said where there are none.
    GUIDED: ClassVar[str]

    def __init__(self, leaves_program: bool, clock: Callable[[], float] | None) -> None:
        super().__init__()
        self._leaves_program, self._clock = leaves_program, clock
        self.session: S | None = None

    @property
    def _bench(self) -> Workbench:
        return cast("Workbench", self.app)

    @property
    def _text(self) -> NotedLines:
        return self.query_one(NotedLines)

    def _tell(self, words: str) -> None:
        lines = wrap(words, max(20, self.size.width - 4))
        self._text.tell([("", ""), *((f"  {line}", "empty") for line in lines)])

    def _show(self, words: str = "") -> None:
        """Draw the session anew; `words` say what was just done."""
        raise NotImplementedError

    def _act(self, act: Callable[[S], str | None]) -> None:
        """What changes the session; what a person can mend is said."""
        if self.session is None:
            return
        try:
            words = act(self.session)
        except (UserError, sqlite3.Error) as error:
            self._bench.say(f"not saved: {error}" if isinstance(error, sqlite3.Error) else str(error), "error")
            words = None
        self._show(words or "")

    def action_prompt(self) -> None:
        self._text.toggle_prompt()

    def action_move(self, by: int) -> None:
        self._text.move(by)

    def action_page(self, by: int) -> None:
        self._text.page_by(by)

    # Notes, guidelines, keys

    def action_note(self) -> None:
        self._text.note = self.session.note if self.session else ""
        self._show_note(self._text.note)

    def _show_note(self, typed: str | None) -> None:
        self.query_one(NoteFoot).type_note(typed)

    def _noted(self, text: str, kept: bool | None) -> None:
        self._show_note(text if kept is None else None)
        if kept:
            self._act(lambda session: session.take_note(text))

    def action_guidelines(self) -> None:
        path = self._bench.workspace.path(GUIDELINES)
        try:
            entries = card_of(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            entries = [Entry("", f"{GUIDELINES} cannot be read: write there {self.GUIDED}.")]
        self.app.push_screen(Guidelines("Guidelines", entries))

    def action_keys(self) -> None:
        self.app.push_screen(keys_screen(self.active_bindings.values()))


def card_of(markdown: str) -> list[Entry]:
    """Markdown as a card: headings stand out, a paragraph is one entry, an item of a list another."""
    entries: list[Entry] = []
    open_paragraph = False
    for line in markdown.splitlines():
        words = line.strip()
        if words.startswith("<!--") and words.endswith("-->"):
            continue
        if not words:
            if entries and entries[-1] is not BLANK:
                entries.append(BLANK)
            open_paragraph = False
        elif words.startswith("#"):
            entries.append(Entry("", words.lstrip("#").strip(), "title"))
            open_paragraph = False
        elif open_paragraph and not words.startswith(("- ", "* ", "|")):
            entries[-1] = Entry("", f"{entries[-1].text} {words}")
        else:
            bullet = words.startswith(("- ", "* "))
            entries.append(Entry("", f"• {words[2:]}" if bullet else words))
            open_paragraph = True
    return entries
