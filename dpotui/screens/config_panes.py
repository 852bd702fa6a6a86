"""The panes of Config: files, form, file and help of the configuration in hand, and what a run of it will take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import work
from textual.widget import Widget
from textual.widgets import Input

from core.errors import UserError
from core.store import open_store, runs
from core.text import one_line
from dpotui.live import Snapshot
from dpotui.roles import Span
from dpotui.screens.forecast import Prospect, prospect
from dpotui.screens.mode import ModeScreen
from dpotui.widgets.card import Card, Entry
from dpotui.widgets.find import FindBar
from dpotui.widgets.form import Form
from dpotui.widgets.lines import Lines
from dpotui.widgets.listing import Line, Listing
from dpotui.widgets.table import Column, Row, Table

if TYPE_CHECKING:
    from core.config.draft import Draft
    from core.config.files import ConfigFile
    from core.config.form import Row as FormKey
    from dpotui.screens.config_view import Written

_COLUMNS = (Column("file"), Column("kind", 8), Column("", 9))
_NO_FILES = "no configurations\n\n'dpotui init' in this workspace's folder copies the templates into configs/"
VIEWS = ("as it will be written", "difference to the last run", "difference to the template")
# A key is answered at once; what is reckoned waits until the typing is over.
_PAUSE = 0.3


class ConfigHead(Lines):
    """Which file it is and how it stands; the memory and the time of its run."""

    DEFAULT_CSS = "ConfigHead { height: 3; background: $surface; }"

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[list[Span], ...] = ()

    def fill(self, *rows: list[Span]) -> None:
        self._rows = rows
        self.show()

    def row(self, y: int, width: int) -> list[Span]:
        if y >= len(self._rows):
            return []
        spans, left = [(" ", "")], width - 2
        for text, role in self._rows[y]:
            words = one_line(text, left)
            spans += [(words, role), ("  ", "")]
            left -= len(words) + 2
        return spans


class ConfigPanes(ModeScreen):
    MODE = "Config"
    PANES = (("Files", "files"), ("Form", "form"), ("YAML", "yaml"), ("Help", "help"))
    DEFAULT_CSS = """
    ConfigPanes {
        &.-wide > #panes { layout: grid; grid-size: 3 2; grid-columns: 48 5fr 4fr; grid-rows: 3fr 2fr; }
        &.-wide #files { row-span: 2; }
        &.-wide #form { row-span: 2; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._files: list[ConfigFile] | None = None
        self._drafts: dict[Path, Draft] = {}
        self._texts: dict[Path, str] = {}  # of files that are only shown: their text
        self._broken: dict[Path, str] = {}  # why there is no form of a file
        self._path: Path | None = None
        self._wanted: tuple[Path, str | None] | None = None  # asked for before the files were read
        self._text = ""
        self._only = False
        self._shown = 0  # of VIEWS
        self._tried: dict[str, str] | None = None  # the errors that there would be with what is typed
        self._last: dict[str, tuple[str, dict[str, Any]]] = {}  # of each kind: the last run and what it had
        self._prospect = Prospect()
        self._reckoned: object = None
        self._written: tuple[object, object, Written] | None = None  # for which values and file, and what it is

    def head(self) -> Iterable[Widget]:
        return (ConfigHead(),)

    def panes(self) -> Iterable[Widget]:
        return Table(_COLUMNS, "reading …"), Form("reading …"), Listing(), Card()

    def on_mount(self) -> None:
        super().on_mount()
        self._read()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        if self._files is not None:
            self._read()

    def fill(self, snapshot: Snapshot) -> None:
        self._fill_head()

    def narrowed(self) -> str:
        return " · ".join([f"'{self._text}'"] * bool(self._text) + ["only what was changed"] * self._only)

    def unsaved(self) -> str:
        names = [self.bench.workspace.relative(path) for path, draft in self._drafts.items() if draft.changed]
        return f"{', '.join(names)}: changed and not written" if names else ""

    @property
    def draft(self) -> Draft | None:
        return self._drafts.get(self._path) if self._path is not None else None

    # Reading

    @work(exclusive=True, group="files", exit_on_error=False)
    async def _read(self) -> None:
        """Look at the files anew: those that another program wrote are read again where nothing was changed here."""
        self._files, fresh, self._last = await asyncio.to_thread(self._look)
        for path, draft in fresh.items():
            self._drafts[path] = draft
        self._fill_files()
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self._open(*wanted)
        elif self._path is None and self._files:
            self._open(self._files[0].path, None)
        else:
            self._show_all()

    def _look(self) -> tuple[list[ConfigFile], dict[Path, Draft], dict[str, tuple[str, dict[str, Any]]]]:
        """In a thread of its own, where what reads configurations is imported too."""
        from core.config import RUN_CONFIGS
        from core.config.draft import Draft
        from core.config.files import configurations
        from core.config.history import last_run
        from core.config.source import read_source, still
        from dpotui.screens import config_view  # noqa: F401 - read here, used in front

        found = configurations(self.bench.workspace)
        fresh = {}
        for path, draft in list(self._drafts.items()):
            if not draft.changed and not still(draft.source):
                try:
                    fresh[path] = Draft(read_source(path), draft.kind)
                except UserError:
                    continue  # it is told when it is opened
        last = {}
        with closing(open_store(self.bench.workspace.database)) as db:
            for kind in RUN_CONFIGS:
                run = last_run(db, kind)
                if run is not None:
                    last[kind] = (run.id, run.config)
        return found, fresh, last

    def open_file(self, path: Path, run: str | None = None) -> None:
        """Show this file; `run`: with the values that this run had."""
        if self._files is None:
            self._wanted = (path, run)
        else:
            self._open(path, run)

    @work(exclusive=True, group="open", exit_on_error=False)
    async def _open(self, path: Path, run: str | None, again: bool = False) -> None:
        path = self.bench.workspace.path(path)
        if again or run is not None or path not in self._drafts:
            self._texts.pop(path, None)
        try:
            config = await asyncio.to_thread(self._load, path, run)
        except UserError as error:
            self.bench.say(str(error), "error")
            config = None
        if path != self._path:
            self._find_nothing()
        self._path = path
        draft = self.draft
        if draft is not None and config:
            draft.take(config)
        self._show_all()
        with self.prevent(Table.Moved):
            self.query_one("#files", Table).select(str(path))
        if run is not None:
            self.pane = "form"

    def _find_nothing(self) -> None:
        """Show all keys: what was looked for is of another file."""
        self._text, self._only = "", False
        field = self.query_one(FindBar).query_one(Input)
        with field.prevent(Input.Changed):
            field.value = ""

    def _load(self, path: Path, run: str | None) -> dict[str, Any] | None:
        """Read a file; the values of a run where they are wanted."""
        from core.config.draft import Draft
        from core.config.files import is_sweep, kind_of_file
        from core.config.source import read_source
        from dpotui.screens import config_view

        if path not in self._drafts:
            kind = kind_of_file(path)
            self._broken.pop(path, None)
            if kind is None:
                self._texts[path] = config_view.read_text(path)
                if is_sweep(path):
                    from core.experiments.sweep_plan import plan_sweep

                    try:
                        plan_sweep(self.bench.workspace, path, ready=False)
                    except UserError as error:
                        self._broken[path] = str(error)
            else:
                try:
                    self._drafts[path] = Draft(read_source(path), kind)
                except UserError as error:
                    self._broken[path] = str(error)
                    self._texts[path] = config_view.read_text(path)
        if run is None:
            return None
        with closing(open_store(self.bench.workspace.database)) as db:
            return runs.get(db, run).config

    # Showing

    def _show_all(self) -> None:
        """After anything changed."""
        self._fill_files()
        self._fill_form()
        self._fill_yaml()
        self._fill_help()
        self._fill_head()
        self._tabs()
        self.refresh_bindings()
        draft = self.draft
        # What was reckoned of the same values is known.
        subject = (self._path, draft.value if draft is not None else None)
        if self._reckoned != subject:
            self._reckoned = subject
            self._prospect = Prospect()
            self._fill_head()
            if draft is not None:
                self._reckon(draft)

    def _fill_files(self) -> None:
        files = list(self._files or [])
        known = {file.path for file in files}
        rows = [self._file_row(file.path, file.name, file.kind) for file in files]
        if self._path is not None and self._path not in known:
            draft = self.draft
            rows.append(self._file_row(self._path, self._path.name, draft.kind if draft else None))
        # Only a person who moves opens a file.
        with self.prevent(Table.Moved):
            self.query_one("#files", Table).fill(rows, _NO_FILES)

    def _file_row(self, path: Path, name: str, kind: str | None) -> Row:
        draft = self._drafts.get(path)
        state: Span = ("", "")
        if path in self._broken:
            state = ("! broken", "bad")
        elif draft is not None and draft.problems:
            state = (f"! {len(draft.problems)} bad", "bad")
        elif draft is not None and draft.changed:
            state = ("* changed", "accent")
        return Row(str(path), ((name, ""), (kind or "text", "" if kind else "dim"), state))

    def _fill_form(self) -> None:
        form, draft = self.query_one(Form), self.draft
        if draft is None:
            form.fill([], self._why_no_form())
            return
        from dpotui.screens import config_view

        rows = config_view.form_rows(draft, self._text, self._only)
        empty = f"no key with '{self._text}' in it" if self._text else "nothing was changed yet"
        form.fill(rows, empty)
        form.border_subtitle = "* changed · ! wrong · dim: default"
        form.tell(self._brief())

    def _why_no_form(self) -> str:
        if self._path is None:
            return "no file is open\n\nenter on a file opens it"
        if self._path in self._broken:
            return f"{self._broken[self._path]}\n\nmend it in an editor, then r reads it again"
        return "this file is shown as text: it is no configuration of a run"

    def _row(self) -> FormKey | None:
        """The key under the cursor."""
        draft = self.draft
        if draft is None:
            return None
        from dpotui.screens import config_view

        return config_view.row_of(draft, self.query_one(Form).key)

    def _error(self) -> str:
        """What is wrong with the key under the cursor."""
        draft = self.draft
        if draft is None:
            return ""
        from dpotui.screens import config_view

        errors = self._tried if self._tried is not None else config_view.errors_of(draft, draft.problems)
        return errors.get(self.query_one(Form).key, "")

    def _brief(self) -> list[Span]:
        draft = self.draft
        if self.wide or draft is None:
            return []
        from dpotui.screens import config_view

        return config_view.brief(draft, self._row(), self._error(), self.size.width - 1)

    def _fill_yaml(self) -> None:
        listing, draft, path = self.query_one(Listing), self.draft, self._path
        listing.border_title = "YAML"
        if draft is None:
            from dpotui.screens import config_view

            text = self._texts.get(path, "") if path is not None else ""
            listing.fill(config_view.text_lines(text), f"{path}")
            return
        from dpotui.screens import config_view

        last = self._last.get(draft.kind)
        listing.border_subtitle = "d difference"
        if self._shown == 0:
            if self._written is None or self._written[0] is not draft.value or self._written[1] is not draft.source:
                self._write_out(draft)
                return
            found = self._written[2]
            row = self._row()
            listing.fill(found.lines, f"{path}", found.places.get(row.path, -1) if row is not None else -1)
        elif self._shown == 1 and last is None:
            listing.fill([Line(f"no run of kind {draft.kind} was started yet", "dim")], f"{path} run")
        elif self._shown == 1 and last is not None:
            listing.fill(config_view.difference_lines(draft, last[1], last[0]), f"{path} run")
        else:
            other = config_view.template_values(draft.kind)
            listing.fill(config_view.difference_lines(draft, other, "template"), f"{path} template")
        listing.border_title = f"YAML: {VIEWS[self._shown]}"

    @work(exclusive=True, group="write-out", exit_on_error=False)
    async def _write_out(self, draft: Draft) -> None:
        """The file as it would be written now."""
        from dpotui.screens import config_view

        value, source = draft.value, draft.source
        found = await asyncio.to_thread(config_view.written, draft)
        if self.draft is draft and draft.value is value:
            self._written = (value, source, found)
            self._fill_yaml()

    def _fill_help(self) -> None:
        card, draft = self.query_one("#help", Card), self.draft
        entries: list[Entry] = []
        subject = ""
        if draft is not None:
            from dpotui.screens import config_view

            row = self._row()
            subject = row.dotted if row is not None else ""
            last, template = self._last.get(draft.kind), config_view.template_values(draft.kind)
            entries = config_view.help_of(draft, row, self._error(), last, template)
            entries += self._prospect.entries()
        card.fill(entries, f"{self._path} {subject}")

    def _fill_head(self) -> None:
        head, draft = self.query_one(ConfigHead), self.draft
        if self._path is None:
            head.fill()
            return
        name = self.bench.workspace.relative(self._path)
        if draft is None:
            why = self._broken.get(self._path, "").replace(f"{self.bench.workspace.root}/", "")
            said: list[Span] = [(why, "bad")] if why else []
            head.fill([(name, "title"), ("! broken" if why else "text", "bad" if why else "dim")], said)
            return
        from core.config.draft import differences

        every = differences(draft.model, draft.value, draft.original) if draft.changed else []
        changed = sum(draft.is_changed(one.path) for one in every)
        wrong = len(draft.problems)
        state: list[Span] = [(name, "title"), (draft.kind, "")]
        if wrong:
            state.append((f"! {wrong} wrong", "bad"))
        if draft.changed:
            state.append((f"* {changed or 'some'} changed, not written", "accent"))
        if not wrong and not draft.changed:
            state.append(("as in the file", "dim"))
        if self.narrowed():
            state.append((f"shown: {self.narrowed()}", "dim"))
        head.fill(state, *self._prospect.spans())

    @work(exclusive=True, group="reckon", exit_on_error=False)
    async def _reckon(self, draft: Draft) -> None:
        """Memory and time of a run of what stands in the form."""
        await asyncio.sleep(_PAUSE)
        value = draft.value
        if draft.problems:
            found = Prospect(note="memory and time: known when the errors are mended")
        else:
            found = await asyncio.to_thread(prospect, self.bench.workspace, draft.kind, value)
        if self.draft is draft and draft.value is value:
            self._prospect = found
            self._fill_head()
            self._fill_help()
