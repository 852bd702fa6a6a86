"""Data: the files of the workspace, the rows of one of them a page at a time, a pair in full, report and lineage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget

from core.errors import UserError
from core.store.runs import Run
from core.text import one_line, printable
from dpotui import data_cards, say
from dpotui.browse.desk import Building
from dpotui.browse.library import DataFile, Library
from dpotui.browse.narrowing import EVERYTHING, Narrowing
from dpotui.browse.pairs import IndexedPairs
from dpotui.browse.raw import FileChanged
from dpotui.browse.rows import Rows
from dpotui.live import Snapshot
from dpotui.roles import Span
from dpotui.screens.data_find import FindsRows
from dpotui.screens.data_rows import NO_ROW, ROWS, TICK, DataHead
from dpotui.stages import ACTIONS, Action
from dpotui.widgets.card import BLANK, Card, Entry
from dpotui.widgets.pages import Pages
from dpotui.widgets.rowview import RowView
from dpotui.widgets.table import Column, Row, Table

_FILES = (
    Column("file"),
    Column("rows", 10, "right"),
    Column("kind", 12, least=56),
    Column("size", 8, "right", least=70),
    Column("gap", 6, "right", least=78),
    Column("checked", 7, "right", least=90),
    Column("state", 8),
)
_NO_FILES = (
    "no data files yet\n\nput files of pairs into data/, such as data/preference_pairs.jsonl; g generates or checks"
)
_NOT_OPEN = "no file is open\n\nenter on a file opens it"
# How often files are looked at for changes.
_LOOK = 2.0


class DataScreen(FindsRows):
    MODE = "Data"
    PANES = (("Files", "files"), ("Rows", "rows"), ("Pair", "pair"), ("Report", "report"), ("Lineage", "lineage"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "build", "Index", tooltip="Build the index of this file", id="data.build"),
        Binding("z", "zoom", "Zoom", tooltip="Only this pane, or all of them", show=False, id="data.zoom"),
    ]
    DEFAULT_CSS = """
    DataScreen {
        &.-wide > #panes { layout: grid; grid-size: 3 3; grid-columns: 25% 30% 45%; grid-rows: 2fr 4fr 2fr; }
        &.-wide #rows { row-span: 3; }
        &.-wide #pair { row-span: 3; }
        &.-wide.-zoomed > #panes { layout: vertical; }
        &.-wide.-zoomed .pane { display: none; height: 1fr; }
        &.-wide.-zoomed .pane.-shown { display: block; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._looker: ThreadPoolExecutor | None = None
        self._library: Library | None = None
        self._stamp: tuple[object, ...] = ()
        self._files: list[DataFile] | None = None
        self._elsewhere: tuple[Path, ...] = ()  # opened files that do not lie in the data folder
        self._measured_for: tuple[Path, float | None] | None = None
        self._report: list[Entry] = []
        self._descent: list[Entry] = []
        self._seen: tuple[object, ...] = ()

    def head(self) -> Iterable[Widget]:
        return (DataHead(),)

    def panes(self) -> Iterable[Widget]:
        return Table(_FILES, "looking …"), Pages(ROWS, _NOT_OPEN, self._soon), RowView(), Card(), Card()

    def run_in_hand(self) -> Run | None:
        snapshot = self.bench.snapshot
        return snapshot.latest(("data_check", "generate", "judge")) if snapshot else None

    def action_in_hand(self) -> Action:
        return ACTIONS["data_check"]

    # Coming and going

    def on_mount(self) -> None:
        self.pair_view.fill(None, empty=NO_ROW)
        self._look()
        self.set_interval(_LOOK, self._watch)

    def on_unmount(self) -> None:
        if self._find is not None:
            self._find.stop()
        if self._building is not None:
            self._building.stop.set()
        if self._desk is not None:
            self._desk.close()
        if self._looker is not None:
            self._looker.shutdown(wait=True)

    def fill(self, snapshot: Snapshot) -> None:
        # What was recorded may speak of these files.
        seen = (snapshot.gates, snapshot.total_runs, snapshot.live.state if snapshot.live else None)
        if seen != self._seen and snapshot.judged:
            self._seen = seen
            self._look()
        self.show_files()
        # The target comes with the gates, which are read after the first picture.
        if self._measured_for is not None and self._measured_for != (self._path, self._target()):
            self._measure(self._measured_for[0])
        self.tell()
        self.refresh_bindings()

    # The files

    @work(exclusive=True, group="look", exit_on_error=False)
    async def _look(self) -> None:
        """Look at the files, in a thread of their own."""
        if self._looker is None:
            self._looker = ThreadPoolExecutor(1, "data-files")
        if self._library is None:
            self._library = Library(self.bench.workspace)
        loop = asyncio.get_running_loop()
        try:
            self._stamp = await loop.run_in_executor(self._looker, self._library.stamp, self._elsewhere)
            self._files = await loop.run_in_executor(self._looker, self._library.look, self._elsewhere)
        except UserError as error:
            self.bench.say(str(error), "error")
            return
        self.show_files()
        self._cards()

    @work(exclusive=True, group="watch", exit_on_error=False)
    async def _watch(self) -> None:
        """Files come and change without a word in runs.db."""
        if self.app.screen_stack[0] is not self or self._library is None or self._looker is None:
            return
        loop = asyncio.get_running_loop()
        stamp = await loop.run_in_executor(self._looker, self._library.stamp, self._elsewhere)
        if stamp != self._stamp:
            self._look()
        if self._path is not None and not self._problem:
            try:
                await self.desk.run(self.desk.check)
            except FileChanged as error:
                self._changed(error)

    def show_files(self) -> None:
        snapshot = self.bench.snapshot
        if snapshot is None or self._files is None:
            return
        words = self._file_words.casefold().split()
        shown = [file for file in self._files if all(word in f"{file.name} {file.kind}".casefold() for word in words)]
        empty = f"no file with '{self._file_words}' in it" if self._file_words else _NO_FILES
        table = self.query_one("#files", Table)
        table.fill(
            [_file_row(file, self._listed_as(file), snapshot.time, file.path == self._path) for file in shown], empty
        )
        count = len(self._files)
        table.border_subtitle = f"{count} file{'s' if count != 1 else ''}"

    def _listed_as(self, file: DataFile) -> str:
        """As it is listed: most of them lie in the data folder, which needs not be told of each."""
        data = f"{self.bench.workspace.relative(self.bench.workspace.data)}/"
        if file.name.startswith(data):
            return file.name.removeprefix(data)
        return file.name if Path(file.name).is_absolute() else f"./{file.name}"

    def _file(self) -> DataFile | None:
        """The open file, else the one under the cursor."""
        key = str(self._path) if self._path is not None else self.query_one("#files", Table).key
        return next((file for file in self._files or () if str(file.path) == key), None)

    def open_file(self, path: Path, narrowing: Narrowing = EVERYTHING, line: int | None = None) -> None:
        """Open a file, narrowed, the cursor on a line of it."""
        path = path.absolute()
        if path not in {file.path for file in self._files or ()} and path not in self._elsewhere:
            self._elsewhere = (*self._elsewhere, path)
        if path != self._path:
            self.stop_find()
        self._open(path, narrowing, line)

    def turned(self, path: Path, *, ready: bool) -> None:
        if ready:
            self._measure(path)
        else:
            self._report, self._descent, self._measured_for = [], [], None
            self.show_files()
        self._cards()

    @on(Table.Moved)
    def _moved(self, event: Table.Moved) -> None:
        if event.table is self.listed:
            self._detail()
        else:
            self._cards()
            self.refresh_bindings()

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        if event.table is self.listed:
            self.pane = "pair"
        else:
            self.open_file(Path(event.key))

    # The index

    def action_build(self) -> None:
        source = self._desk.source if self._desk else None
        if self._building is not None:
            self.bench.say("an index is being built: escape ends it", "warning")
        elif self._path is None:
            self._build_unopened()
        elif isinstance(source, IndexedPairs):
            self.bench.say("it has its index")
        elif isinstance(source, Rows) and source.kind != "pairs":
            self.bench.say(f"these rows are {source.kind}: only pairs are indexed", "warning")
        else:
            self._build(self._path)

    def _build_unopened(self) -> None:
        """Of the file under the cursor."""
        file = self._file()
        if file is None:
            self.bench.say("there is no file here", "warning")
        elif file.indexed:
            self.bench.say("it has its index")
        elif file.kind not in ("pairs", "table"):
            self.bench.say(f"{file.name} holds {file.kind}: only pairs are indexed", "warning")
        else:
            self._build(file.path)

    @work(group="build", exit_on_error=False)
    async def _build(self, path: Path) -> None:
        building = self._building = Building(path)
        making = asyncio.create_task(asyncio.to_thread(self.desk.build, building))
        while not making.done():
            self.tell()
            await asyncio.wait({making}, timeout=TICK)
        self._building = None
        try:
            whole = making.result()
        except UserError as error:
            self.bench.say(self._said(error), "error")
            whole = False
        else:
            self.bench.say("the index is built" if whole else "the index was not built")
        if whole and path == self._path:
            detail = self.pair_view.detail
            self._open(path, EVERYTHING, detail.line if detail else None)
        self._look()
        self.tell()

    @work(exclusive=True, group="measure", exit_on_error=False)
    async def _measure(self, path: Path) -> None:
        """Report and lineage, which may take a second or two."""
        target = self._target()
        self._measured_for = (path, target)
        found = await asyncio.to_thread(self.desk.measure, target)
        if found is not None:
            self._report = data_cards.of_report(found[0], target, found[1])
        try:
            nodes = await asyncio.to_thread(self.desk.descent, path)
            self._descent = data_cards.of_lineage(nodes, self.bench.workspace.relative(path))
        except UserError as error:
            self._descent = [Entry("", self._said(error), "warn")]
        if path == self._path:
            self._cards()

    def _target(self) -> float | None:
        snapshot = self.bench.snapshot
        gates = snapshot.gates if snapshot else ()
        return next((r.gate.threshold for r in gates if r.gate.fact == "data.preference_gap"), None)

    def _cards(self) -> None:
        snapshot, file = self.bench.snapshot, self._file()
        now = snapshot.time if snapshot else 0.0
        entries = data_cards.of_file(file, now) if file is not None else []
        if self._problem:
            entries = [Entry("", self._problem, "warn")]
        elif self._path is not None and not self._report:
            entries += [BLANK, *self._no_report()]
        self.query_one("#report", Card).fill([*entries, *self._report], str(file.path) if file else "")
        lineage = self._descent if self._path is not None else [Entry("", "of the file that is open", "empty")]
        self.query_one("#lineage", Card).fill(lineage, str(self._path))

    def _no_report(self) -> list[Entry]:
        source = self._desk.source if self._desk else None
        if isinstance(source, Rows) and source.kind == "pairs":
            words = "no index: b builds it, then what can be counted stands here; g starts a check, which finds more"
            return [Entry("", words, "empty")]
        return [Entry("", "measuring …", "empty")] if isinstance(source, IndexedPairs) else []

    # What is told

    def tell(self) -> None:
        if not self.is_mounted:
            return
        self.query_one(DataHead).fill(self._told_of_file(), self._told_of_work())
        self.listed.border_subtitle = self._narrowing.words
        self._tabs()

    def _told_of_file(self) -> list[Span]:
        if self._path is None:
            return [(" no file is open", "dim"), ("   enter opens the one under the cursor", "faint")]
        name = printable(self.bench.workspace.relative(self._path))
        spans: list[Span] = [(f" {one_line(name, 48)}", "title")]
        source = self._desk.source if self._desk else None
        if source is None:
            return [*spans, (f"  {self._opening or self._problem}", "dim")]
        count, words = self.listed.count, self._narrowing.words
        spans.append((f"  {count:,} {'rows' if source.kind == 'rows' else source.kind}", ""))
        if words:
            spans += [("  only ", "dim"), (words, "warn")]
        elif isinstance(source, Rows) and not source.complete:
            spans.append((f"  reading, {100 * source.scanned // max(1, source.raw.size)} %", "dim"))
        elif not source.indexed and source.kind == "pairs":
            spans += [("  no index: ", "dim"), ("b", "key"), (" builds it", "dim")]
        return spans

    def _told_of_work(self) -> list[Span]:
        if self._building is not None:
            return [(f" {self._building.told}", "accent")]
        if self._find is not None:
            which = f"hit {self._hit:,} of " if self._hit is not None else ""
            spans: list[Span] = [(f" '{one_line(self._find.words, 30)}' ", "title"), (f"{which}{self._find.told}", "")]
            return [*spans, ("  n", "key"), (" next ", "dim"), ("N", "key"), (" last", "dim")]
        return []

    # Keys of the house

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "build":
            file = self._file() if self._path is None and self.is_mounted else None
            if self._path is None:
                return file is not None and not file.indexed and file.kind in ("pairs", "table")
            return not isinstance(self._desk and self._desk.source, IndexedPairs)
        return super().check_action(action, parameters)

    def action_first_pane(self) -> None:
        """End what goes on; else go back from the pair to the rows, from the rows to the files."""
        if self._building is not None:
            self._building.stop.set()
        elif self._find is not None and not self._find.ended:
            self._find.stop()
        elif self.has_class("-zoomed"):
            self.action_zoom()
        elif self.pane in ("rows", "files") or self._path is None:
            self.pane = "files"
        else:
            self.pane = "rows"

    def action_zoom(self) -> None:
        if self.wide:
            self.toggle_class("-zoomed")


def _file_row(file: DataFile, name: str, now: float, here: bool) -> Row:
    state, role = ("STALE", "warn") if file.stale else ("checked", "good") if file.checked else ("", "")
    if file.problem:
        state, role = "problem", "bad"
    elif not state and file.indexed:
        state, role = "indexed", "dim"
    gap = file.gap.value if file.gap is not None else None
    return Row(
        str(file.path),
        (
            (("▸ " if here else "") + printable(name), "title" if here else ""),
            (f"{file.rows:,}" if file.rows is not None else "—", ""),
            (str(file.kind), "dim"),
            (data_cards.size(file.size), "dim"),
            (say.number(gap) if gap is not None else "", ""),
            (say.age(now, file.checked) if file.checked else "", "dim"),
            (state, role),
        ),
    )
