"""What is voted on, and under which name: the files of data/ to choose from, and how many of their pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from rich.cells import cell_len
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.geometry import Size
from textual.widgets import Input, Static

from core.data.votes import votes_words
from core.errors import UserError
from core.store import votes
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui.roles import Span
from dpotui.screens.dialogs import DIALOG_CSS, text
from dpotui.screens.modal import Modal
from dpotui.screens.vote import SEED, Voting
from dpotui.widgets.lines import Lines
from dpotui.widgets.typed import Typed

if TYPE_CHECKING:
    from dpotui.app import Workbench

# What one votes on most often stands first.
_FIRST = ("preference_pairs.jsonl", "candidates.jsonl")
_ENDINGS = (".jsonl", ".jsonl.gz", ".csv", ".parquet")
_MOST = 200


def files_to_vote_on(workspace: Workspace) -> list[Path]:
    """The data files directly in data/, those that the program writes first."""
    found = [path for path in workspace.data.glob("*") if path.name.endswith(_ENDINGS) and path.is_file()]
    rank = {name: place for place, name in enumerate(_FIRST)}
    return sorted(found, key=lambda path: (rank.get(path.name, len(rank)), path.name))[:_MOST]


class Files(Lines):
    """Lines of which one is chosen."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__()
        self._lines = lines
        self.cursor = 0

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines)

    def on_mount(self) -> None:
        self.show(len(self._lines))

    def choose(self, by: int) -> None:
        self.cursor = min(max(0, self.cursor + by), len(self._lines) - 1)
        self.scroll_rows(min(max(self.top, self.cursor - self.page + 1), self.cursor))

    def row(self, y: int, width: int) -> Sequence[Span]:
        if y >= len(self._lines):
            return []
        return [("› " if y == self.cursor else "  ", "key"), (self._lines[y], "title" if y == self.cursor else "")]

    def on_click(self, event: events.Click) -> None:
        self.choose(self.top + event.y - self.cursor)


class VoteStart(Modal[Voting | None]):
    """Gives back what is to be voted on."""

    DEFAULT_CSS = (
        DIALOG_CSS.format(name="VoteStart", width=72)
        + """
        VoteStart Files { height: auto; max-height: 8; background: $surface; }
        """
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", id="votestart.cancel"),
        Binding("down", "choose(1)", "Next file", priority=True, id="votestart.down"),
        Binding("up", "choose(-1)", "Last file", priority=True, id="votestart.up"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._paths: list[Path] = []

    @property
    def _bench(self) -> Workbench:
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        self._paths = files_to_vote_on(self._bench.workspace)
        with Vertical(classes="box") as box:
            box.border_title = "Vote, blind"
            box.border_subtitle = "↑↓ file · tab field · enter vote · escape cancel"
            yield text("Pairs or candidates in data/" if self._paths else "", "label")
            if self._paths:
                yield Files([self._words(path) for path in self._paths])
            else:
                yield text("data/ has no JSONL file: put pairs or candidates there, or generate some.")
            yield text("Name, under which your votes are kept", "label")
            yield self._field(self._bench.who, "who")
            yield text("How many (empty: all of them), and the seed that draws which", "label")
            yield self._field("", "sample", "such as 200")
            yield self._field(str(SEED), "seed")
            yield text("", "error")

    @staticmethod
    def _field(value: str, id_: str, hint: str = "") -> Input:
        return Typed(value, hint, id=id_)

    def _words(self, path: Path) -> str:
        relative = self._bench.workspace.relative(path)
        cast_on = len(votes.of_file(self._bench.db, relative))
        size = path.stat().st_size
        told = f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
        name = one_line(path.name, 38)
        name += " " * (38 - cell_len(name))
        return f"{name} {told:>10}{f'  {votes_words(cast_on)}' if cast_on else ''}"

    def on_mount(self) -> None:
        self.query_one("#who").focus()

    def action_choose(self, by: int) -> None:
        if self._paths:
            self.query_one(Files).choose(by)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            self.dismiss(self._voting())
        except UserError as error:
            shown = self.query_one(".error", Static)
            shown.update(printable(str(error)))
            shown.add_class("-shown")

    def _voting(self) -> Voting:
        if not self._paths:
            raise UserError("data/ has no file to vote on")
        path = self._paths[self.query_one(Files).cursor]
        sample = self._number("sample", "how many", 1)
        seed = self._number("seed", "the seed", 0)
        who = votes.voter(self.query_one("#who", Input).value)
        return Voting(path, who, SEED if seed is None else seed, sample)

    def _number(self, field: str, name: str, least: int) -> int | None:
        words = self.query_one(f"#{field}", Input).value.strip().replace(",", "")
        if not words:
            return None
        if not words.isascii() or not words.isdigit() or not least <= int(words) <= 10**12:
            raise UserError(f"{name} must be a whole number from {least}, not '{one_line(words, 20)}'")
        return int(words)
