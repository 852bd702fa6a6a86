"""Config: a configuration of the workspace is changed in a form beside its file, written, and started from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType

from core.errors import UserError
from dpotui.roles import plain
from dpotui.screens.config_panes import VIEWS, ConfigPanes
from dpotui.screens.dialogs import Ask, Confirm, Field
from dpotui.screens.pick import Pick
from dpotui.stages import EVERY_ACTION
from dpotui.widgets.find import FindBar
from dpotui.widgets.form import Form
from dpotui.widgets.table import Table

if TYPE_CHECKING:
    from core.config.draft import Draft
    from core.config.form import Row as FormKey


class ConfigScreen(ConfigPanes):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "save", "Write", tooltip="Write the file; comments and order stay", id="config.save"),
        Binding("u", "undo", "Undo", id="config.undo"),
        Binding("U", "redo", "Redo", show=False, id="config.redo"),
        Binding("n", "error(1)", "Next error", id="config.next-error"),
        Binding("N", "error(-1)", "Last error", show=False, id="config.last-error"),
        Binding("o", "only", "Only changed", tooltip="Show only what was changed, or all", id="config.only"),
        Binding("d", "view", "Difference", tooltip="The file, or its difference to the last run or the template",
                id="config.view"),
        Binding("g", "start", "Start", tooltip="Start a run with this configuration", id="config.start"),
        Binding("W", "save_as", "Write as", show=False, tooltip="Write another file", id="config.save-as"),
        Binding("r", "reload", "Read again", show=False, tooltip="Read the file again; changes here are kept",
                id="config.reload"),
    ]  # fmt: skip

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("save", "undo", "redo", "error", "only", "view", "start", "save_as"):
            return self.is_mounted and self.draft is not None
        return super().check_action(action, parameters)

    # Moving

    @on(Table.Moved)
    def _file_moved(self, event: Table.Moved) -> None:
        event.stop()
        if event.key is not None and self.query_one("#files", Table).has_focus and Path(event.key) != self._path:
            self._open(Path(event.key), None)

    @on(Table.Chosen)
    def _file_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        if Path(event.key) != self._path:
            self._open(Path(event.key), None)
        self.pane = "form" if Path(event.key) not in self._texts else "yaml"

    @on(Form.Moved)
    def _moved(self, event: Form.Moved) -> None:
        event.stop()
        self._tried = None
        self.query_one(Form).tell(self._brief())
        self._fill_yaml()
        self._fill_help()

    @on(FindBar.Changed)
    def _find(self, event: FindBar.Changed) -> None:
        self._text = event.text.strip()
        self._fill_form()
        self._fill_head()

    def action_find(self) -> None:
        self.pane = "form"
        super().action_find()

    def action_only(self) -> None:
        self._only = not self._only
        self._show_all()

    def action_view(self) -> None:
        self._shown = (self._shown + 1) % len(VIEWS)
        if not self.wide:
            self.pane = "yaml"
        self._fill_yaml()

    def action_error(self, by: int) -> None:
        """Go to the next key that is wrong."""
        draft = self.draft
        if draft is None:
            return
        from dpotui.screens import config_view

        self._find_nothing()
        self._fill_form()
        form = self.query_one(Form)
        keys = [row.key for row in config_view.form_rows(draft, "", False)]
        wrong = [key for key in config_view.errors_of(draft, draft.problems) if key in keys]
        if not wrong:
            self.bench.say("nothing is wrong")
            return
        at = keys.index(form.key) if form.key in keys else 0
        places = sorted(keys.index(key) for key in wrong)
        ahead = [place for place in places if (place > at if by > 0 else place < at)]
        place = (ahead[0] if by > 0 else ahead[-1]) if ahead else (places[0] if by > 0 else places[-1])
        self.pane = "form"
        form.select(keys[place])

    # Changing

    @on(Form.Edit)
    def _edit(self, event: Form.Edit) -> None:
        event.stop()
        draft, row = self.draft, self._row()
        if draft is None or row is None:
            return
        from core.config.form import MISSING, effective, shown
        from dpotui.screens import config_view

        if event.how == "unset":
            if not row.may_go:
                self.bench.say("x leaves a key out, or a section under a name: go to one")
                return
            draft.unset(row.path)
            self._show_all()
            return
        choice = config_view.next_choice(draft, row)
        if row.role in ("names", "absent"):
            self._add(row)
        elif row.role == "unknown":
            self.bench.say("no such configuration has this key: x takes it out")
        elif row.role != "field":
            self.query_one(Form).action_move(1)  # a heading: on to what it is of
        elif isinstance(choice, bool) or (event.how == "cycle" and choice is not MISSING):
            draft.set(row.path, choice)
            self._show_all()
        elif event.how == "cycle":
            self.bench.say("nothing to choose from here: enter types a value")
        elif config_view.choices_of(row):
            now = str(effective(draft.model, draft.value, row.path))
            self._pick(row, config_view.choices_of(row), now)
        else:
            value = shown(effective(draft.model, draft.value, row.path))
            proposed = config_view.proposals(self.bench.workspace, row)
            # A control character would reach the terminal from a field.
            self.query_one(Form).open(
                plain(value), config_view.hint(row), [name for name in proposed if name.isprintable()]
            )

    @work(exit_on_error=False)
    async def _pick(self, row: FormKey, choices: tuple[str, ...], now: str) -> None:
        chosen = await self.app.push_screen_wait(Pick(row.dotted, choices, now))
        draft = self.draft
        if chosen is not None and draft is not None:
            draft.set(row.path, chosen)
            self._show_all()

    def _add(self, row: FormKey) -> None:
        """A section under a new name, or one that may be there."""
        draft = self.draft
        assert draft is not None
        from core.config.form import MISSING, value_at
        from dpotui.screens import config_view

        if row.role == "absent":
            draft.set(*config_view.added(draft, row))
            self._show_all()
            return

        def submit(values: list[str]) -> None:
            name = values[0]
            if not name or "." in name:
                raise UserError("a name has letters, digits, - and _")
            path, section = config_view.added(draft, row, name)
            if value_at(draft.value, path) is not MISSING:
                raise UserError(f"{name} is there already")
            draft.set(path, section)
            self._show_all()
            # What must be given is asked for first.
            self.query_one(Form).select(".".join([*path, *list(section)[:1]]))

        self.app.push_screen(Ask(f"Add to {row.dotted}", "", [Field("name")], submit))

    @on(Form.Typing)
    def _typing(self, event: Form.Typing) -> None:
        event.stop()
        draft, row = self.draft, self._row()
        if draft is None or row is None or row.field is None:
            return
        from dpotui.screens import config_view

        self._tried = config_view.errors_if(draft, row, event.text)
        self.query_one(Form).tell(self._brief())
        self._fill_help()

    @on(Form.Cancelled)
    def _cancelled(self, event: Form.Cancelled) -> None:
        event.stop()
        self._tried = None
        self.query_one(Form).tell(self._brief())
        self._fill_help()

    @on(Form.Entered)
    def _entered(self, event: Form.Entered) -> None:
        event.stop()
        self._tried = None
        draft = self.draft
        if draft is None:
            return
        from core.config.form import typed
        from dpotui.screens import config_view

        row = config_view.row_of(draft, event.key)
        if row is None or row.field is None:
            return
        text = event.text.strip()
        try:
            if not text and not row.required:
                draft.unset(row.path)
            else:
                draft.set(row.path, typed(row.field, text))
        except UserError as error:
            self.bench.say(str(error), "error")
        self._show_all()

    def action_undo(self) -> None:
        draft = self.draft
        if draft is not None and not draft.undo():
            self.bench.say("nothing to take back")
        self._show_all()

    def action_redo(self) -> None:
        draft = self.draft
        if draft is not None and not draft.redo():
            self.bench.say("nothing to make again")
        self._show_all()

    # Writing

    def action_save(self) -> None:
        self._save()

    @work(exclusive=True, group="save", exit_on_error=False)
    async def _save(self) -> None:
        await self._saved()

    async def _saved(self) -> bool:
        """Write the file; False where the person did not want it, or it could not be."""
        draft = self.draft
        if draft is None or not draft.changed:
            self.bench.say("nothing was changed")
            return draft is not None
        from core.config.source import ChangedElsewhere

        if draft.problems:
            count = len(draft.problems)
            wrong = f"{count} {'key is' if count == 1 else 'keys are'} wrong"
            words = f"{wrong}: no run starts with that. Write it all the same?"
            if not await self.app.push_screen_wait(Confirm("Errors", words)):
                return False
        try:
            await asyncio.to_thread(draft.save)
        except ChangedElsewhere as error:
            words = f"{error}. Read it again, and keep what was changed here? Nothing is written yet."
            if await self.app.push_screen_wait(Confirm("Changed elsewhere", words)):
                self._reload(draft)
            return False
        except UserError as error:
            self.bench.say(str(error), "error")
            return False
        self.bench.say(f"written: {self.bench.workspace.relative(draft.source.path)}")
        self._show_all()
        return True

    def _reload(self, draft: Draft) -> None:
        try:
            draft.reload()
        except UserError as error:
            self.bench.say(str(error), "error")
        self._show_all()

    def action_reload(self) -> None:
        draft = self.draft
        if draft is not None:
            self._reload(draft)
        elif self._path is not None:
            self._open(self._path, None, True)

    def action_save_as(self) -> None:
        draft = self.draft
        if draft is None:
            return

        def submit(values: list[str]) -> None:
            before = draft.source.path
            path = self.bench.workspace.path(values[0])
            draft.save_as(path)
            # The file that it was goes on as it is.
            self._drafts.pop(before, None)
            self._drafts[path] = draft
            self._path = path
            self.bench.say(f"written: {self.bench.workspace.relative(path)}")
            self._read()

        proposal = f"configs/{draft.kind}_new.yaml"
        self.app.push_screen(Ask("Write as", "Another file of the workspace", [Field("file", proposal)], submit))

    def action_start(self) -> None:
        self._start()

    @work(exclusive=True, group="save", exit_on_error=False)
    async def _start(self) -> None:
        draft = self.draft
        if draft is None:
            return
        if draft.changed:
            words = f"{self.bench.workspace.relative(draft.source.path)} has changes that are not written. Write them?"
            # What is wrong with them is asked about when they are written.
            if not draft.problems and not await self.app.push_screen_wait(Confirm("Start", words)):
                return
            if not await self._saved():
                return
        kind = "evaluate" if draft.kind == "eval" else draft.kind
        subject = draft.value.get("evaluation")
        baseline = isinstance(subject, dict) and subject.get("subject") == "baseline"
        actions = [action for action in EVERY_ACTION if action.kind == kind]
        action = next((one for one in actions if bool(one.overrides) == baseline), actions[0])
        self.bench.start_run(action, config=self.bench.workspace.relative(draft.source.path))
