"""What is done with runs of the list: named, tagged, noted, put away, taken out, started once more; and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing

from textual import work
from textual.binding import Binding

from core.errors import UserError
from core.runs import order
from core.store import open_store, runs
from core.store.runs import Run
from core.text import one_line
from dpotui.screens.dialogs import Ask, Field
from dpotui.screens.running import CommandsRuns

# The keys of what follows: the mode says where among its own they stand.
KEYS: tuple[Binding, ...] = (
    Binding("t", "tag", "Tag", tooltip="Tags of the run, or of all that are marked", id="runs.tag"),
    Binding("n", "note", "Note", tooltip="Write a note on the run", id="runs.note"),
    Binding("N", "rename", "Rename", show=False, id="runs.rename"),
    Binding("a", "archive", "Archive", tooltip="Put it out of sight, or back", id="runs.archive"),
    Binding("u", "undo", "Undo", show=False, tooltip="Take back your last name, tags or archive", id="runs.undo"),
    Binding("x", "export('csv')", "Export", tooltip="Metrics of these runs as CSV", id="runs.export"),
    Binding("X", "export('json')", "As JSON", show=False, tooltip="All of these runs as JSON", id="runs.json"),
    Binding(
        "w", "track", "Tracker", show=False, tooltip="Send these runs to W&B, MLflow or TensorBoard", id="runs.track"
    ),
    Binding("R", "again", "Re-run", tooltip="Start it once more, with changes", id="runs.again"),
    Binding("e", "config", "Config", show=False, tooltip="Its configuration in Config", id="runs.config"),
)


class OrdersRuns(CommandsRuns):
    """A mode with a list of runs, some of which may be marked."""

    def runs_in_hand(self) -> list[str]:
        """The marked runs, else the one under the cursor."""
        raise NotImplementedError

    def run_key(self) -> str | None:
        """The run under the cursor."""
        raise NotImplementedError

    def _one(self) -> Run | None:
        """The run under the cursor, as it stands in runs.db."""
        key = self.run_key()
        try:
            return runs.get(self.bench.db, key) if key is not None else None
        except UserError:
            return None

    def _done(self, words: str) -> None:
        self.bench.say(words)
        self.bench.written()

    def _tried(self, act: Callable[[], None]) -> None:
        try:
            act()
        except UserError as error:
            self.bench.say(str(error), "error")

    def action_rename(self) -> None:
        run = self._one()
        if run is None:
            return

        def submit(values: list[str]) -> None:
            named = order.rename(self.bench.db, run.id, values[0], self.bench.who)
            self._done(f"{run.id} is named {named.name}")

        named = "" if run.name == run.id else run.name
        self.app.push_screen(Ask(f"Rename {run.id}", "", [Field("Name; empty takes it away", named)], submit))

    def action_tag(self) -> None:
        ids = self.runs_in_hand()
        run = self._one()
        if len(ids) == 1 and run is not None and run.id == ids[0]:
            self._tag_one(run)
        elif ids:
            self._tag_several(ids)

    def _tag_one(self, run: Run) -> None:
        def submit(values: list[str]) -> None:
            tagged = order.set_tags(self.bench.db, run.id, order.split_tags(values[0]), self.bench.who)
            self._done(f"{run.id}: {' '.join(tagged.tags) or 'no tags'}")

        field = Field("Tags, with blanks between them", " ".join(run.tags), "such as good lr-sweep")
        self.app.push_screen(Ask(f"Tags of {run.id}", "", [field], submit))

    def _tag_several(self, ids: Sequence[str]) -> None:
        def submit(values: list[str]) -> None:
            words = order.split_tags(values[0])
            gone = {word[1:] for word in words if word.startswith("-")}
            new = [word.removeprefix("+") for word in words if not word.startswith("-")]
            for run in ids:
                has = runs.get(self.bench.db, run).tags
                order.set_tags(self.bench.db, run, [*(t for t in has if t not in gone), *new], self.bench.who)
            self._done(f"{len(ids)} runs tagged")

        field = Field("Tags to add; with - before it, one to take off", "", "such as good -bad")
        self.app.push_screen(Ask(f"Tags of {len(ids)} runs", "", [field], submit))

    def action_note(self) -> None:
        run = self._one()
        if run is None:
            return

        def submit(values: list[str]) -> None:
            order.note(self.bench.db, run.id, values[0], self.bench.who)
            self._done(f"noted on {run.id}")

        self.app.push_screen(Ask(f"Note on {run.id}", "", [Field("Note")], submit))

    def action_archive(self) -> None:
        """All of them in, unless all are in: then all of them out."""
        ids = self.runs_in_hand()
        if not ids:
            return

        def act() -> None:
            found = [runs.get(self.bench.db, run) for run in ids]
            back = all(run.archived for run in found)
            for run in found:
                (order.unarchive if back else order.archive)(self.bench.db, run.id, self.bench.who)
            what = ids[0] if len(ids) == 1 else f"{len(ids)} runs"
            self._done(f"{what}: in the list again" if back else f"{what} archived: A shows them, u takes it back")

        self._tried(act)

    def action_undo(self) -> None:
        def act() -> None:
            change = order.undo(self.bench.db, self.bench.who)
            if change is None:
                self.bench.say("there is nothing of yours to take back")
            else:
                self._done(f"{change.run}: taken back: {one_line(order.said(change), 80)}")

        self._tried(act)

    def action_export(self, form: str) -> None:
        if self.runs_in_hand():
            self._export(self.runs_in_hand(), form)

    @work(group="export", exit_on_error=False)
    async def _export(self, ids: list[str], form: str) -> None:
        from core.runs import export

        def save() -> str:
            with closing(open_store(self.bench.workspace.database)) as db:
                path = export.save(db, self.bench.workspace, ids, "json" if form == "json" else "csv")
            return self.bench.workspace.relative(path)

        try:
            self.bench.say(f"written: {await asyncio.to_thread(save)}")
        except UserError as error:
            self.bench.say(str(error), "error")

    def action_track(self) -> None:
        from dpotui.screens.track import send

        if self.runs_in_hand():
            send(self.bench, self.runs_in_hand())

    def action_again(self) -> None:
        run = self._one()  # of a list of thousands it may be one that no picture of the workspace holds
        if run is not None:
            self._again(run)

    async def action_config(self) -> None:
        run = self._one()
        if run is not None and run.config_path:
            await self.bench.open_config(self.bench.workspace.path(run.config_path), run.id)
        elif run is not None:
            self.bench.say(f"{run.id} was started without a configuration file", "warning")
