"""What backs an item: a file, a run or a fact, named or chosen from what there is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from core.checklist import Item
from core.errors import UserError
from core.store import open_store
from core.text import printable
from core.workspace import Workspace
from dpotui import say
from dpotui.screens.dialogs import DIALOG_CSS, Fields, text
from dpotui.widgets.table import Column, Row, Table
from dpotui.widgets.typed import Typed

# Files of a workspace that are listed; who has more names the one that is meant.
_MOST_FILES = 20_000
_MOST_SHOWN = 200
_MOST_RUNS = 1000
# What is made anew at any time, and what is large and never written by a person.
_NOT_LISTED = ("cache", "__pycache__")
_COLUMNS = (Column("", 5), Column("name"), Column("", 24, "right"))
_ELSEWHERE = ("/", "~", "./", "../")


class Candidate(NamedTuple):
    kind: str  # "fact", "run" or "file"
    name: str
    told: str


def candidates(workspace: Workspace, item: Item, now: float) -> list[Candidate]:
    """All that can be named, what this item is about first, then the newest first."""
    db = open_store(workspace.database)
    try:
        found = [
            Candidate("fact", name, say.age(now, when))
            for name, when in db.execute("SELECT name, max(time) FROM facts GROUP BY name ORDER BY max(id) DESC")
        ]
        sql = "SELECT id, state, created FROM runs ORDER BY created DESC LIMIT ?"
        runs = [
            Candidate("run", id_, f"{state} {say.age(now, at)}") for id_, state, at in db.execute(sql, [_MOST_RUNS])
        ]
    finally:
        db.close()
    facts = sorted(found, key=lambda fact: fact.name not in item.facts)
    files = sorted(_files(workspace.root), reverse=True)
    return [*facts, *runs, *(Candidate("file", name, say.age(now, at)) for at, name in files)]


def _files(root: Path) -> Iterator[tuple[float, str]]:
    """Files below a folder with the time of their last change, in no order."""
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _NOT_LISTED]
        for name in names:
            if name.startswith("."):
                continue
            path = Path(folder, name)
            try:
                at = path.stat().st_mtime
            except OSError:
                continue
            yield at, path.relative_to(root).as_posix()
            count += 1
            if count >= _MOST_FILES:
                return


def elsewhere(typed: str, workspace: Workspace) -> list[Candidate]:
    """What lies in the folder of a path that begins outside of the workspace, or with a dot."""
    head, _, tail = typed.rpartition("/")
    folder = workspace.path(head + "/")
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name + "/" * entry.is_dir()) for entry in entries if entry.name.startswith(tail))
    except OSError:
        return []
    return [Candidate("file", f"{head}/{name}", "") for name in found[:_MOST_SHOWN]]


def fitting(known: Iterable[Candidate], typed: str) -> list[Candidate]:
    """Those that have all the words that were typed; what begins with them first."""
    words = typed.casefold().split()
    found = [each for each in known if all(word in each.name.casefold() for word in words)]
    begun = typed.casefold()
    return sorted(found, key=lambda each: not each.name.casefold().startswith(begun))[:_MOST_SHOWN]


class EvidenceScreen(Fields):
    """`attach` gets the kind ("" where it was only typed) and the name, and raises UserError where there is no such
    thing."""

    DEFAULT_CSS = (
        DIALOG_CSS.format(name="EvidenceScreen", width=90)
        + "EvidenceScreen Table { height: 10; margin-top: 1; background: $surface; }"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(False)", "Cancel", id="evidence.cancel"),
        Binding("down", "into", "Choose", priority=True, id="evidence.choose"),
        Binding("up", "out", "Back", show=False, priority=True, id="evidence.back"),
        Binding("tab", "complete", "Complete", priority=True, id="evidence.complete"),
    ]

    def __init__(
        self, workspace: Workspace, item: Item, words: str, now: float, attach: Callable[[str, str], None]
    ) -> None:
        super().__init__()
        self._workspace, self._item, self._words, self._now = workspace, item, words, now
        self._back = attach
        self._known: list[Candidate] = []
        self._shown: list[Candidate] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Evidence"
            box.border_subtitle = Content("enter attach · tab complete · ↓ choose · escape cancel")
            yield text(self._words)
            yield text("File, run or fact", "label")
            yield Typed("", "outputs/report.md, dpo-001, dpo.kl_divergence ...")
            yield Table(_COLUMNS, "reading …")
            yield text("", "error")

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._read()

    @work(group="candidates", exit_on_error=False)
    async def _read(self) -> None:
        try:
            self._known = await asyncio.to_thread(candidates, self._workspace, self._item, self._now)
        except (UserError, OSError) as error:
            self._say(str(error))
        self._narrow()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self._say("")
        self._narrow()

    def _narrow(self) -> None:
        typed = self.query_one(Input).value.strip()
        if typed.startswith(_ELSEWHERE):
            self._look_elsewhere(typed)
        else:
            self._show(fitting(self._known, typed))

    @work(exclusive=True, group="elsewhere", exit_on_error=False)
    async def _look_elsewhere(self, typed: str) -> None:
        found = await asyncio.to_thread(elsewhere, typed, self._workspace)
        if self.query_one(Input).value.strip() == typed:
            self._show(found)

    def _show(self, found: Sequence[Candidate]) -> None:
        self._shown = list(found)
        rows = [
            Row(str(index), ((each.kind, "dim"), (each.name, ""), (each.told, "dim")))
            for index, each in enumerate(found)
        ]
        table = self.query_one(Table)
        table.fill(rows, "nothing has these words: a file is named by its path from the workspace, or in full")
        table.action_move(-len(rows))

    def _say(self, words: str) -> None:
        shown = self.query_one(".error", Static)
        shown.update(printable(words))
        shown.set_class(bool(words), "-shown")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        # Elsewhere the arrows are the field's and the list's own.
        if action == "into":
            return isinstance(self.focused, Input) and bool(self._shown)
        if action == "out":
            return isinstance(self.focused, Table) and self.focused.key == "0"
        return True

    def action_into(self) -> None:
        self.query_one(Table).focus()

    def action_out(self) -> None:
        self.query_one(Input).focus()

    def action_complete(self) -> None:
        """Take what the list offers into the field."""
        field, key = self.query_one(Input), self.query_one(Table).key
        if key is not None:
            field.value = self._shown[int(key)].name
            field.cursor_position = len(field.value)
        field.focus()

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        event.stop()
        chosen = self._shown[int(event.key)]
        self._try(chosen.kind, chosen.name)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._try("", event.value.strip())

    def _try(self, kind: str, name: str) -> None:
        try:
            self._back(kind, name)
        except UserError as error:
            self._say(str(error))
        else:
            self.dismiss(True)
