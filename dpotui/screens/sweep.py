"""The trials of a sweep: which is best and why; open one, stop one, write its values into a configuration."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content

from core.errors import UserError
from core.store import commands, open_store, runs
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui import say, sweep_lines
from dpotui.screens.dialogs import Ask, CardScreen, Confirm, Field
from dpotui.screens.keys import keys_screen
from dpotui.screens.modal import Modal
from dpotui.widgets.card import BLANK, Entry
from dpotui.widgets.footer import Keys
from dpotui.widgets.sweep import SweepCharts, SweepHead, TrialTable
from dpotui.widgets.table import Column, Row, Table

if TYPE_CHECKING:
    from core.experiments.sweep_promote import Promotion
    from core.experiments.sweep_standing import Standing
    from dpotui.app import Workbench

# How often it is asked whether runs.db has changed (seconds).
_LOOK = 0.5
# From this width on the table and the charts stand beside each other.
_WIDE = 120
_VIEWS = ("trials", "charts")
# Parameters that have a column of their own; enter shows all.
_COLUMNS = 6
_DEFAULT = "configs/dpo_config.yaml"


class SweepScreen(Modal[str | None]):
    """Gives back the id of a trial's run that is to be opened."""

    DEFAULT_CSS = """
    SweepScreen {
        align: center middle;
        & > #sweep { width: 100%; height: 100%; background: $background; }
        & #sweep-head { height: 3; margin: 0 1; }
        & #sweep-panes { height: 1fr; }
        & TrialTable, & SweepCharts {
            border: round $panel; border-title-color: $dim; border-subtitle-color: $dim;
        }
        & TrialTable:focus, & SweepCharts:focus { border: round $primary; border-title-color: $primary; }
        &.-narrow.-charts TrialTable { display: none; }
        &.-narrow.-trials SweepCharts { display: none; }
        &.-wide TrialTable { width: 3fr; }
        &.-wide SweepCharts { width: 2fr; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", key_display="esc", id="sweep.close"),
        Binding("o", "open", "Open", tooltip="Open the run of the trial under the cursor", id="sweep.open"),
        Binding("w", "promote", "Promote", tooltip="Write the values of this trial into a configuration",
                id="sweep.promote"),
        Binding("b", "best", "Best", tooltip="Go to the best trial", id="sweep.best"),
        Binding("s", "stop", "Stop trial", tooltip="End this trial; the sweep goes on with the next", id="sweep.stop"),
        Binding("S", "stop_sweep", "Stop sweep", tooltip="Stop the sweep; it can be resumed", id="sweep.stop-all"),
        Binding("n", "order", "Order", tooltip="By value, or as the trials came", id="sweep.order"),
        Binding("v,tab", "view", "Charts", key_display="v", tooltip="Trials or charts", priority=True, id="sweep.view"),
        Binding("question_mark", "keys", "Keys", key_display="?", id="sweep.keys"),
    ]  # fmt: skip

    def __init__(self, sweep: str, run: str | None = None) -> None:
        super().__init__()
        self._sweep = sweep
        self._wanted = run  # the trial whose run this is is chosen at first
        self._of: Standing | None = None
        self._by_value = True
        self._view = "trials"
        self._version = -1

    @property
    def bench(self) -> Workbench:
        return cast("Workbench", self.app)

    @property
    def workspace(self) -> Workspace:
        return self.bench.workspace

    def compose(self) -> ComposeResult:
        with Vertical(id="sweep"):
            yield SweepHead(id="sweep-head")
            with Horizontal(id="sweep-panes"):
                table = TrialTable((Column("trial"),), "reading …")
                table.border_title = Content(f"Trials of {self._sweep}")
                yield table
                yield SweepCharts()
            yield Keys()

    def on_mount(self) -> None:
        self._lay_out()
        self.query_one(TrialTable).focus()
        self._look_again()
        self.set_interval(_LOOK, self._look_again)

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        wide = self.size.width >= _WIDE
        self.set_class(wide, "-wide")
        self.set_class(not wide, "-narrow")
        for view in _VIEWS:
            self.set_class(self._view == view, f"-{view}")

    # What is known

    def _look_again(self) -> None:
        version = int(self.bench.db.execute("PRAGMA data_version").fetchone()[0])
        if version != self._version:
            self._version = version
            self._look()

    @work(exclusive=True, group="look", exit_on_error=False)
    async def _look(self) -> None:
        try:
            found = await asyncio.to_thread(self._read)
        except UserError as error:
            self.bench.say(str(error), "error")
            return
        if not self.given_back and self.is_mounted:
            self._of = found
            self._show()

    def _read(self) -> Standing:
        from core.experiments.sweep_standing import standing

        # A connection belongs to its thread.
        with closing(open_store(self.workspace.database)) as db:
            return standing(db, runs.get(db, self._sweep))

    def _show(self) -> None:
        of = self._of
        if of is None:
            return
        self.query_one(SweepHead).fill(of)
        table = self.query_one(TrialTable)
        names = [each.name for each in of.file.parameters][:_COLUMNS]
        table.shape((
            Column("trial", 6, "right"), Column("state", 15), Column(of.measure.asked.rpartition("/")[2], 10, "right"),
            Column("KL", 15, "right", least=60), Column("took", 6, "right", least=100),
            *(Column(name, max(9, min(16, len(name))), "right", least=44 + 12 * place)
              for place, name in enumerate(names, 1)),
            Column("run", 0, least=140),
        ))  # fmt: skip
        best = of.best
        listed = of.ranked() if self._by_value else list(of.trials)
        rows = []
        for trial in listed:
            state = of.state(trial)
            mark, role = sweep_lines.MARKS[state]
            star = "★" if best is not None and best.number == trial.number else ""
            took = say.span(trial.ended - trial.began) if trial.ended is not None else ""
            made = of.runs.get(trial.number)
            rows.append(Row(str(trial.number), (
                (f"{star}{trial.number}", "title" if star else ""), (f"{mark} {state}", role),
                (sweep_lines.value(of, trial.value), "title"), sweep_lines.kl_words(of, trial), (took, "dim"),
                *((sweep_lines.parameter(trial.parameters.get(name)), "") for name in names),
                (made.id if made is not None else "", "dim"),
            )))  # fmt: skip
        table.fill(rows, "no trial was drawn yet: the first one comes when the sweep begins")
        table.border_subtitle = Content("by value" if self._by_value else "as they came")
        if self._wanted is not None:
            wanted = next((number for number, run in of.runs.items() if run.id == self._wanted), None)
            self._wanted = None
            if wanted is not None:
                table.select(str(wanted))
        self._charts()

    def _charts(self) -> None:
        if self._of is not None:
            self.query_one(SweepCharts).fill(self._of, self._number())

    def _number(self) -> int | None:
        key = self.query_one(TrialTable).key
        return int(key) if key is not None else None

    @on(Table.Moved)
    def _moved(self, event: Table.Moved) -> None:
        event.stop()
        self._charts()

    # What can be done

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        """All that is known of a trial."""
        event.stop()
        of = self._of
        trial = next((each for each in of.trials if str(each.number) == event.key), None) if of else None
        if of is None or trial is None:
            return
        made = of.runs.get(trial.number)
        entries = [
            Entry("state", of.state(trial)),
            Entry("value", f"{sweep_lines.value(of, trial.value) or '—'}  {of.measure.asked}"),
        ]
        entries += [Entry("KL", sweep_lines.kl_words(of, trial)[0])] if trial.kl is not None else []
        entries += [Entry("run", made.id)] if made is not None else []
        entries += [Entry("why", printable(trial.reason))] if trial.reason else []
        entries += [BLANK, Entry("", "Parameters", "title")]
        entries += [_pair(name, sweep_lines.parameter(value)) for name, value in trial.parameters.items()]
        entries += [BLANK, Entry("", "Keys of the configuration", "title")]
        entries += [_pair(key, sweep_lines.parameter(value)) for key, value in trial.keys.items()]
        if trial.evaluations:
            entries += [BLANK, Entry("", "Evaluations", "title")]
            entries += [_pair(f"step {step}", f"{value:.5g}") for step, value in trial.evaluations]
        self.app.push_screen(CardScreen(f"Trial {trial.number}", entries))

    def action_open(self) -> None:
        number, of = self._number(), self._of
        made = of.runs.get(number) if of is not None and number is not None else None
        if made is None:
            self.bench.say("this trial has no run: it was refused before, or has yet to begin", "warning")
            return
        self.dismiss(made.id)

    def action_best(self) -> None:
        if self._of is not None and self._of.best is not None:
            self.query_one(TrialTable).select(str(self._of.best.number))
        else:
            self.bench.say("no trial has a value yet", "warning")

    def action_order(self) -> None:
        self._by_value = not self._by_value
        self._show()

    def action_view(self) -> None:
        self._view = _VIEWS[(_VIEWS.index(self._view) + 1) % len(_VIEWS)]
        self._lay_out()
        self.query_one(TrialTable if self._view == "trials" else SweepCharts).focus()

    def action_keys(self) -> None:
        self.app.push_screen(keys_screen(self.active_bindings.values()))

    def action_stop(self) -> None:
        number, of = self._number(), self._of
        made = of.runs.get(number) if of is not None and number is not None else None
        if made is None or made.state not in runs.LIVE:
            self.bench.say(f"trial {number} is not running" if number else "no trial is running", "warning")
            return
        self._confirm(
            "Stop the trial?", f"Trial {number} ({made.id}) ends; {self._sweep} goes on with the next.", made.id
        )

    def action_stop_sweep(self) -> None:
        of = self._of
        if of is None or of.sweep.state not in (*runs.LIVE, "queued"):
            self.bench.say(f"{self._sweep} is not running", "warning")
            return
        words = f"{self._sweep} stops, and the trial that is on with it; both go on when it is resumed."
        self._confirm("Stop the sweep?", words, self._sweep)

    def _confirm(self, title: str, words: str, run: str) -> None:
        def answered(yes: bool | None) -> None:
            if not yes:
                return
            try:
                commands.send(self.bench.db, run, "stop", self.bench.who)
            except UserError as error:
                self.bench.say(str(error), "error")
            else:
                self.bench.say(f"stop asked of {run}: answered at the next step")
            self.bench.written()

        self.app.push_screen(Confirm(title, words), answered)

    def action_promote(self) -> None:
        """Ask for the file, say what would change, and write it."""
        number = self._number()
        if self._of is None or number is None:
            return

        def told(typed: list[str]) -> str:
            found = self._promotion(number, typed[0])
            changes = [f"{c.key}: {_short(c.before)} → {_short(c.after)}" for c in found.changes]
            return "\n".join(changes) or "it has these values already"

        def submit(typed: list[str]) -> None:
            from core.experiments.sweep_promote import write

            found = self._promotion(number, typed[0])
            write(found)
            self.bench.say(
                f"{len(found.changes)} keys of {typed[0]} are those of trial {number}; the next DPO measures"
            )
            self.bench.written()

        try:
            self._promotion(number, _DEFAULT)
        except UserError as error:
            self.bench.say(str(error).replace(f"{self.workspace.root}/", ""), "error")
            return
        title = f"Promote trial {number}"
        self.app.push_screen(
            Ask(title, "Its values are written into this DPO configuration; comments stay.",
                [Field("Configuration, from the workspace", _DEFAULT, goes_on=True)], submit, check=told)
        )  # fmt: skip

    def _promotion(self, number: int, name: str) -> Promotion:
        from core.experiments.sweep_promote import chosen, promotion

        assert self._of is not None
        return promotion(self._of, chosen(self._of, number), self.workspace.path(name.strip() or _DEFAULT))


def _pair(name: str, value: str) -> Entry:
    """Names here are longer than a card's labels."""
    return Entry("", f"{name:<28} {value}")


def _short(value: object) -> str:
    return one_line(sweep_lines.parameter(value), 24)


def open_trials(bench: Workbench, sweep: str, run: str | None = None) -> None:
    """Show the trials of a sweep; whoever opens one goes to its run."""

    def opened(chosen: str | None) -> None:
        if chosen is not None:
            bench.call_later(bench.open_run, chosen)

    bench.push_screen(SweepScreen(sweep, run), opened)
