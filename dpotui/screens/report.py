"""Report: the evaluation report as it would be written now, and the decision on the model."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import ClassVar, NamedTuple

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget

from core.errors import UserError
from core.report import Checked, Report, Sources, build, decide, verify, written
from core.report.decision import unmet
from core.report.save import export, refuse, save, usual
from core.report.success import Criterion
from core.store import open_store
from core.store.decisions import CHOICES, Choice
from core.text import one_line
from core.workspace import Workspace
from dpotui.live import Snapshot
from dpotui.screens.dialogs import Ask, CardScreen, Field
from dpotui.screens.mode import ModeScreen
from dpotui.widgets.card import BLANK, Entry
from dpotui.widgets.find import FindBar
from dpotui.widgets.report_text import ReportText
from dpotui.widgets.table import Column, Row, Table


class Read(NamedTuple):
    """The report of one moment."""

    report: Report
    unmet: tuple[str, ...]  # in words
    key: tuple[object, ...]


def _key(workspace: Workspace) -> tuple[object, ...]:
    """What a report depends on in runs.db, in one look. Curves of a run that is on are looked at when it changes."""
    with closing(open_store(workspace.database)) as db:
        sql = (
            "SELECT (SELECT max(id) FROM facts WHERE name != 'eval.report'), (SELECT max(id) FROM tick_history),"
            " (SELECT max(id) FROM decisions), (SELECT max(id) FROM benchmarks), (SELECT max(id) FROM ratings),"
            " (SELECT group_concat(id || state) FROM runs), (SELECT max(id) FROM notes)"
        )
        return tuple(db.execute(sql).fetchone())


def read(workspace: Workspace) -> Read:
    """Build the report; for a thread of its own."""
    key = _key(workspace)
    with closing(open_store(workspace.database)) as db:
        sources = Sources(db, workspace)
        return Read(build(sources), _in_words(sources.criteria), key)


def _in_words(criteria: Sequence[Criterion]) -> tuple[str, ...]:
    """What is not met: gates by their titles, items of the checklist by their number."""
    open_ = [each for each in criteria if not each.met]
    gates = [f"{each.title} ({each.verdict})" for each in open_ if each.name.startswith("gate.")]
    items = len(open_) - len(gates)
    return (*gates, *([f"{items} item{'' if items == 1 else 's'} of the checklist"] if items else []))


def write(workspace: Workspace, who: str) -> tuple[list[Path], list[str]]:
    """Write the report where it usually goes; returns the files, and what was left alone."""
    with closing(open_store(workspace.database)) as db:
        paths = usual(workspace)
        save(build(Sources(db, workspace)), paths)
        return paths, written(db, workspace, paths, who)


def write_to(workspace: Workspace, paths: list[Path]) -> None:
    """Write the report to these files, as what their names end in; the checklist is told nothing of it."""
    with closing(open_store(workspace.database)) as db:
        sources = Sources(db, workspace)
        export(sources, build(sources), paths)


def hold(workspace: Workspace) -> list[tuple[Path, Checked]]:
    """The written reports, held against runs.db and the files."""
    with closing(open_store(workspace.database)) as db:
        sources = Sources(db, workspace)
        return [(path, verify(sources, path)) for path in usual(workspace) if path.is_file()]


class ReportScreen(ModeScreen):
    MODE = "Report"
    PANES = (("Report", "report"), ("Sections", "sections"))
    DEFAULT_CSS = """
    ReportScreen {
        &.-wide > #panes { layout: horizontal; }
        &.-wide #report { width: 1fr; }
        &.-wide #sections { width: 40; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "write", "Write", tooltip="Write it as Markdown and HTML", id="report.write"),
        Binding(
            "x", "export", "Export", tooltip="Write it to files of your own: .md, .html, .json", id="report.export"
        ),
        Binding("D", "decide", "Decide", key_display="D", tooltip="Deploy, iterate or reject", id="report.decide"),
        Binding("v", "verify", "Verify", tooltip="Whether the written report still holds", id="report.verify"),
        Binding("right_square_bracket", "section(1)", "Section", key_display="]", id="report.next-section"),
        Binding("left_square_bracket", "section(-1)", "Last section", show=False, key_display="[", id="report.section"),
        Binding("n", "hit(1)", "Next hit", show=False, id="report.next-hit"),
        Binding("N", "hit(-1)", "Last hit", show=False, key_display="N", id="report.last-hit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._read: Read | None = None
        self._text = ""

    def panes(self) -> Iterable[Widget]:
        return ReportText(), Table((Column("section"),), "reading …")

    @property
    def text(self) -> ReportText:
        return self.query_one(ReportText)

    def fill(self, snapshot: Snapshot) -> None:
        self._look()

    def narrowed(self) -> str:
        if not self._text:
            return ""
        return f"'{one_line(self._text, 30)}' in {self.text.hits} lines"

    @work(exclusive=True, group="report", exit_on_error=False)
    async def _look(self) -> None:
        """Read it anew where something that it speaks of changed."""
        workspace = self.bench.workspace
        try:
            key = await asyncio.to_thread(_key, workspace)
            if self._read is not None and self._read.key == key:
                return
            found = await asyncio.to_thread(read, workspace)
        except UserError as error:
            self.bench.say(str(error), "error")
            return
        self._read = found
        self.text.fill(found.report)
        self._list()

    def _list(self) -> None:
        table = self.query_one(Table)
        rows = [Row(str(index), ((title, ""),)) for index, (title, _) in enumerate(self.text.laid.sections)]
        table.fill(rows, "reading …")
        table.select(str(max(0, self.text.section)))
        self._tabs()

    @on(ReportText.Scrolled)
    def _scrolled(self) -> None:
        self.query_one(Table).select(str(max(0, self.text.section)))

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        event.stop()
        self.text.open_section(int(event.key))
        self.pane = "report"

    @on(FindBar.Changed)
    def _find(self, event: FindBar.Changed) -> None:
        self._text = event.text
        self.text.find(event.text)
        self._tabs()

    def action_section(self, by: int) -> None:
        self.text.open_section(self.text.section + by)

    def action_hit(self, by: int) -> None:
        if not self.text.next_hit(by):
            self.bench.say("/ finds words; n goes to the next line that has them", "warning")

    def on_screen_resume(self) -> None:
        # Files may have changed meanwhile, of which runs.db knows nothing.
        if self._read is not None:
            self._read = self._read._replace(key=())

    # What is written

    @work(exclusive=True, group="report-write", exit_on_error=False)
    async def action_write(self) -> None:
        bench = self.bench
        try:
            paths, left = await asyncio.to_thread(write, bench.workspace, bench.who)
        except UserError as error:
            bench.say(str(error), "error")
            return
        bench.say("written: " + ", ".join(bench.workspace.relative(path) for path in paths))
        for sentence in left:
            bench.say(sentence, "warning")
        bench.written()

    def action_export(self) -> None:
        words = "A file of the workspace, or any other by its whole path; several with spaces between them."
        field = Field("Files that end in .md, .html or .json", "outputs/report/report.json")
        asked = _Exporting(self.bench.workspace)

        def closed(done: bool | None) -> None:
            if done:
                self._export(asked.paths)

        self.app.push_screen(Ask("Export the report", words, [field], asked), closed)

    @work(exclusive=True, group="report-write", exit_on_error=False)
    async def _export(self, paths: list[Path]) -> None:
        bench = self.bench
        try:
            await asyncio.to_thread(write_to, bench.workspace, paths)
        except UserError as error:
            bench.say(str(error), "error")
            return
        bench.say("written: " + ", ".join(bench.workspace.relative(path) for path in paths))

    @work(exclusive=True, group="report-verify", exit_on_error=False)
    async def action_verify(self) -> None:
        try:
            held = await asyncio.to_thread(hold, self.bench.workspace)
        except UserError as error:
            self.bench.say(str(error), "error")
            return
        if not held:
            self.bench.say("no report was written to outputs/report/ yet: w writes it", "warning")
            return
        self.app.push_screen(CardScreen("Verify", _held(self.bench.workspace, held)))

    def action_decide(self) -> None:
        read = self._read
        if read is None:
            self.bench.say("the report is being read: a moment", "warning")
            return
        words = "What becomes of this model? Your name, the time and the criteria as they stand are kept with it."
        if read.unmet:
            words += f"\n\nNot met: {', '.join(read.unmet)}. The report lists them."
        fields = [Field("Decision: " + ", ".join(CHOICES), hint="one of the three"), Field("Why")]
        self.app.push_screen(Ask("Decide", words, fields, _Deciding(self)), self._decided)

    def _decided(self, done: bool | None) -> None:
        if done:
            self.action_write()


class _Exporting:
    """Takes names of files, before anything is built."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.paths: list[Path] = []

    def __call__(self, values: list[str]) -> None:
        try:
            names = shlex.split(values[0])
        except ValueError:
            raise UserError("a quotation mark is not closed") from None
        if not names:
            raise UserError("name a file, such as outputs/report/report.json")
        self.paths = [self._workspace.path(Path(name).expanduser()) for name in names]
        for path in self.paths:
            refuse(path)


class _Deciding:
    """What the dialog is answered with. A deployment against what is not met is asked for twice."""

    def __init__(self, screen: ReportScreen) -> None:
        self._bench = screen.bench
        self._named: tuple[str, ...] | None = None

    def __call__(self, values: list[str]) -> None:
        choice, note = values
        if choice not in CHOICES:
            raise UserError(f"'{one_line(choice, 30)}' is no decision: {', '.join(CHOICES)}")
        if not note:
            raise UserError("say why: the note stands in the report")
        bench = self._bench
        criteria = Sources(bench.db, bench.workspace).criteria if choice == "deploy" else []
        left = tuple(unmet(criteria))
        if left and self._named != left:
            self._named = left
            raise UserError(
                f"not met: {', '.join(_in_words(criteria))}. Enter again deploys against them, in your name"
            )
        made: Choice = next(each for each in CHOICES if each == choice)
        _, said = decide(bench.db, bench.workspace, made, note, bench.who, left)
        bench.say(f"decided: {choice}")
        for sentence in said:
            bench.say(sentence, "warning")
        bench.written()


def _held(workspace: Workspace, held: list[tuple[Path, Checked]]) -> list[Entry]:
    from core.report.holding import OUTCOMES

    entries: list[Entry] = []
    for path, checked in held:
        counts = ", ".join(f"{checked.count(each)} {each}" for each in OUTCOMES if checked.count(each))
        words = "every figure still holds" if checked.good else "it does not hold any more: w writes it anew"
        entries += [
            Entry("", workspace.relative(path), "title"),
            Entry("", words, "good" if checked.good else "bad"),
            Entry("figures", counts),
        ]
        if not checked.sealed:
            entries.append(Entry("", "its machine-readable part was changed by hand", "bad"))
        if checked.lines:
            entries.append(Entry("lines", ", ".join(map(str, checked.lines[:20])) + " changed by hand", "bad"))
        for each in [each for each in checked.figures if each.outcome != "same"][:100]:
            entries.append(Entry(each.outcome, f"{each.id}: was {each.was}, is {each.now} {each.why}", "warn"))
        entries.append(BLANK)
    return entries
