"""Report: the evaluation report as it would be written now, and the decision on the model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import ClassVar, NamedTuple

from textual import on, work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from core.errors import UserError
from core.report import Checked, Report, Sources, build, decide, verify, written
from core.report.decision import unmet
from core.report.save import save, usual
from core.report.success import Criterion
from core.store import open_store
from core.store.decisions import CHOICES, Choice
from core.text import one_line
from core.workspace import Workspace
from dpotui.live import Snapshot
from dpotui.report_lines import Laid, lay_out
from dpotui.roles import Span
from dpotui.screens.dialogs import Ask, CardScreen, Field
from dpotui.screens.mode import ModeScreen
from dpotui.widgets.card import BLANK, Entry
from dpotui.widgets.find import FindBar
from dpotui.widgets.lines import Lines
from dpotui.widgets.table import Column, Row, Table

_HIT = "hit"


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


def hold(workspace: Workspace) -> list[tuple[Path, Checked]]:
    """The written reports, held against runs.db and the files."""
    with closing(open_store(workspace.database)) as db:
        sources = Sources(db, workspace)
        return [(path, verify(sources, path)) for path in usual(workspace) if path.is_file()]


class ReportText(Lines, can_focus=True):
    """The lines of a report, as far as they are in view."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="card.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="card.down"),
        Binding("pageup", "move_page(-1)", "Page up", show=False, id="card.page-up"),
        Binding("pagedown,space", "move_page(1)", "Page down", show=False, id="card.page-down"),
        Binding("home", "move(-1000000)", "First line", show=False, id="card.first"),
        Binding("end", "move(1000000)", "Last line", show=False, id="card.last"),
    ]

    class Scrolled(Message):
        """Another part is in view."""

    def __init__(self) -> None:
        super().__init__()
        self._report: Report | None = None
        self._laid = Laid()
        self._laid_for = 0
        self._words = ""
        self._hit = -1
        self._gone_to: int | None = None  # a section, until the window is moved otherwise

    @property
    def laid(self) -> Laid:
        return self._laid

    def fill(self, report: Report) -> None:
        """Show this one; the window stays where it was, by its section."""
        section, below = self.section, self.top
        starts = [row for _, row in self._laid.sections]
        below -= starts[section] if section >= 0 else 0
        self._report, self._laid_for = report, 0
        self._lay_out()
        starts = [row for _, row in self._laid.sections]
        self.top = max(0, (starts[section] if 0 <= section < len(starts) else 0) + below)
        self.show(len(self._laid.rows))

    def on_resize(self) -> None:
        self._lay_out()
        self.show(len(self._laid.rows))

    def _lay_out(self) -> None:
        # One cell is left for the scroll bar, one on each side for the eye.
        width = self.size.width - 3
        if self._report is not None and width > 0 and self._laid_for != width:
            self._laid_for = width
            self._laid = lay_out(self._report, width)
            self._hit = -1

    @property
    def section(self) -> int:
        """The one that was gone to until the window moves on; else that in which it begins, -1 above the first.

        The last ones may be too short for the window to begin in them.
        """
        if self._gone_to is not None:
            return self._gone_to
        return sum(row <= self.top for _, row in self._laid.sections) - 1

    def scroll_rows(self, top: int) -> None:
        self._gone_to = None
        super().scroll_rows(top)

    def open_section(self, index: int) -> None:
        sections = self._laid.sections
        if sections:
            index = max(0, min(index, len(sections) - 1))
            self.scroll_rows(sections[index][1])
            self._gone_to = index
            self.post_message(self.Scrolled())

    def find(self, words: str) -> None:
        """Mark words and go to the first line from here on that has them."""
        self._words = words.casefold()
        self._hit = -1
        if words:
            self.next_hit(1, self.top - 1)
        self.show()

    @property
    def hits(self) -> int:
        return sum(self._words in self._laid.text(row).casefold() for row in range(self.rows)) if self._words else 0

    def next_hit(self, by: int, start: int | None = None) -> bool:
        """Go to the next line with the words, around the end; False where there is none."""
        count = len(self._laid.rows)
        at = start if start is not None else self._hit if self._hit >= 0 else self.top - 1
        for step in range(1, count + 1):
            row = (at + by * step) % count
            if self._words and self._words in self._laid.text(row).casefold():
                self._hit = row
                if not self.top <= row < self.top + self.page - 1:
                    self._to(max(0, row - self.page // 3))
                self.show()
                return True
        return False

    def row(self, y: int, width: int) -> Sequence[Span]:
        if self._report is None:
            return [("  reading …", "dim")] if y == 1 else []
        if y >= len(self._laid.rows):
            return []
        spans: list[Span] = [(" ", ""), *self._laid.rows[y]]
        if self._words and self._words in self._laid.text(y).casefold():
            return _marked(spans, self._words, "here" if y == self._hit else _HIT)
        return spans

    def _to(self, row: int) -> None:
        self.scroll_rows(row)
        self.post_message(self.Scrolled())

    def action_move(self, by: int) -> None:
        self._to(self.top + by)

    def action_move_page(self, by: int) -> None:
        self._to(self.top + by * max(1, self.page - 2))


def _marked(spans: list[Span], words: str, role: str) -> list[Span]:
    found: list[Span] = []
    for text, own in spans:
        rest = text
        while (at := rest.casefold().find(words)) >= 0 and len(rest.casefold()) == len(rest):
            found += [(rest[:at], own), (rest[at : at + len(words)], role)]
            rest = rest[at + len(words) :]
        found.append((rest, own))
    return found


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
        super().on_screen_resume()

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
