"""The rows of the file that is open: a page at a time, one in full, as the file grows, changes or goes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import TimeoutError
from pathlib import Path

from rich.cells import cell_len
from textual import on, work

from core.errors import UserError
from core.text import one_line, printable
from dpotui.browse.desk import Building, Desk, NotBrowsable
from dpotui.browse.find import Find
from dpotui.browse.narrowing import EVERYTHING, Narrowing
from dpotui.browse.raw import FileChanged
from dpotui.browse.rows import Rows
from dpotui.browse.shown import Listed
from dpotui.roles import Span
from dpotui.screens.running import CommandsRuns
from dpotui.widgets.lines import Lines
from dpotui.widgets.pages import BLOCK, Pages
from dpotui.widgets.rowview import RowView
from dpotui.widgets.table import Column, Row

ROWS = (
    Column("line", 9, "right"),
    Column("prompt"),
    Column("characters", 11, "right", least=60),
    Column("gap", 6, "right"),
    Column("found", 15, least=52),
)
# How long a key waits for rows before marks are shown in their place.
_SOON = 0.02
TICK = 0.25
NO_ROW = "enter on a row shows it here"


class DataHead(Lines):
    """Which file is open and to what its list is narrowed; what goes on in it."""

    DEFAULT_CSS = "DataHead { height: 2; }"

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[Sequence[Span], ...] = ((), ())

    def fill(self, first: Sequence[Span], second: Sequence[Span]) -> None:
        self._rows = (first, second)
        self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        spans: list[Span] = []
        left = width
        for text, role in self._rows[y]:
            words = one_line(text, left) if cell_len(text) > left else text
            spans.append((words, role))
            left -= cell_len(words)
        return spans


class ShowsRows(CommandsRuns):
    """A mode in which a file may be open."""

    def __init__(self) -> None:
        super().__init__()
        self._desk: Desk | None = None
        self._path: Path | None = None
        self._narrowing = EVERYTHING
        self._find: Find | None = None
        self._hit: int | None = None
        self._opening = ""
        self._problem = ""
        self._building: Building | None = None

    def turned(self, path: Path, *, ready: bool) -> None:
        """Another file is being opened or is gone, or was opened (`ready`)."""
        raise NotImplementedError

    def tell(self) -> None:
        """Say anew what is open and what goes on."""
        raise NotImplementedError

    def open_file(self, path: Path, narrowing: Narrowing = EVERYTHING, line: int | None = None) -> None:
        """Open a file, narrowed, the cursor on a line of it."""
        raise NotImplementedError

    def stop_find(self) -> None:
        """What was sought is not sought any more."""
        raise NotImplementedError

    @property
    def desk(self) -> Desk:
        if self._desk is None:
            self._desk = Desk(self.bench.workspace)
        return self._desk

    @property
    def listed(self) -> Pages:
        return self.query_one("#rows", Pages)

    @property
    def pair_view(self) -> RowView:
        return self.query_one(RowView)

    def narrowed(self) -> str:
        return self._narrowing.words

    # Opening

    @work(exclusive=True, group="open", exit_on_error=False)
    async def _open(self, path: Path, narrowing: Narrowing, line: int | None) -> None:
        again = path == self._path
        self._path, self._narrowing, self._problem = path, narrowing, ""
        self._opening = f"opening {printable(path.name)} …"
        self.listed.reset(0, self._opening)
        if not again:
            self.pair_view.fill(None, empty=NO_ROW)
        self.turned(path, ready=False)
        self.tell()
        place = 0
        try:
            source = await self.desk.run(self.desk.open, path)
            if isinstance(source, Rows) and narrowing != EVERYTHING:
                self._narrowing = EVERYTHING
                self.bench.say("without an index nothing is known of the pairs: b builds it", "warning")
            if isinstance(source, Rows) and line is not None:
                await self._scanned(source, line)
            count = await self.desk.run(self.desk.narrow, self._narrowing)
            if line is not None:
                place = await self.desk.run(self.desk.place_of_line, line)
        except UserError as error:
            self._problem = self._said(error)
            self.listed.reset(0, self._problem)
            self.pair_view.fill(None, empty="no row is shown")
            if not isinstance(error, NotBrowsable):
                self.bench.say(self._problem, "error")
            self.turned(path, ready=False)
            return
        finally:
            self._opening = ""
            self.tell()
        self.listed.reset(count, self._empty(), place)
        if self.pane == "files":
            self.pane = "rows"
        self.tell()
        self.refresh_bindings()
        self._detail()
        self.turned(path, ready=True)
        if isinstance(source, Rows):
            self._grow(source)

    async def _scanned(self, source: Rows, line: int) -> None:
        """Wait until a line of the file was found."""
        while not source.complete and not source.holds_line(line):
            await asyncio.sleep(0.02)

    @work(exclusive=True, group="grow", exit_on_error=False)
    async def _grow(self, source: Rows) -> None:
        """Rows that are found as the file is gone through."""
        while self.desk.source is source:
            complete = source.complete
            before = self.listed.count
            self.listed.grow(await self.desk.run(self.desk.narrow, EVERYTHING))
            self.listed.say_empty(self._empty())
            if not before and self.listed.count:
                self._detail()
            self.tell()
            if complete:
                return
            await asyncio.sleep(TICK if before else 0.02)

    def _changed(self, error: UserError) -> None:
        """Another file lies there now, or none."""
        path = self._path
        if path is None or self._building is not None:
            return
        self.stop_find()
        if path.is_file():
            self.bench.say(f"{self._said(error)}: it is read anew", "warning")
            detail = self.pair_view.detail
            self._open(path, EVERYTHING, detail.line if detail else None)
        else:
            self._problem = f"{self._said(error)}"
            self.listed.reset(0, self._problem)
            self.pair_view.fill(None, empty=self._problem)
            self.turned(path, ready=False)
            self.tell()

    def _said(self, error: UserError) -> str:
        return str(error).replace(f"{self.bench.workspace.root}/", "")

    def _empty(self) -> str:
        if self._narrowing.words:
            return f"no pair: {self._narrowing.words}\n\nx shows all rows again"
        return "no rows"

    # A page, and one row in full

    def _soon(self, block: int) -> Sequence[Row] | None:
        """A block of rows, if it comes within a moment."""
        future = self.desk.submit(self.desk.page, block * BLOCK, BLOCK)
        try:
            return [_listed_row(row) for row in future.result(_SOON)]
        except TimeoutError:
            return None
        except UserError as error:
            self.call_later(self._failed, error)
            return []

    @on(Pages.Wanted)
    def _wanted(self, event: Pages.Wanted) -> None:
        self._bring(event.block, self.desk.source)

    @work(group="bring", exit_on_error=False)
    async def _bring(self, block: int, source: object) -> None:
        try:
            rows = await self.desk.run(self.desk.page, block * BLOCK, BLOCK)
        except UserError as error:
            self._failed(error)
            return
        if self.desk.source is source:
            self.listed.put(block, [_listed_row(row) for row in rows])

    def _failed(self, error: UserError) -> None:
        if isinstance(error, FileChanged):
            self._changed(error)
        else:
            self.bench.say(self._said(error), "error")

    def _detail(self) -> None:
        """Show the row under the cursor where it can be seen."""
        if self.listed.key is None:
            self.pair_view.fill(None, empty="no row is chosen")
        elif self.wide or self.pane == "pair":
            self._bring_detail(self.listed.place)

    @work(exclusive=True, group="detail", exit_on_error=False)
    async def _bring_detail(self, place: int) -> None:
        try:
            detail = await self.desk.run(self.desk.detail, place)
            if self._find is not None:
                self._hit = await self.desk.run(self.desk.hit_number, self._find, place)
        except UserError as error:
            self.pair_view.fill(None, empty=self._said(error))
            self._failed(error)
            return
        self.pair_view.fill(detail, sought=self._find.words if self._find else "")
        self.tell()
        self.refresh_bindings()

    @on(RowView.Step)
    def _step(self, event: RowView.Step) -> None:
        self.listed.go(self.listed.place + event.by)

    def watch_pane(self, pane: str) -> None:
        super().watch_pane(pane)
        if pane == "pair" and self._path is not None:
            self._detail()


def _listed_row(row: Listed) -> Row:
    marks = [mark.replace("_", " ") for mark in row.marks]
    more = f" +{len(marks) - 1}" if len(marks) > 1 else ""
    found = (f"{'no pair: ' if row.bad else ''}{marks[0]}{more}", "bad" if row.bad else "warn") if marks else ("", "")
    sizes = "/".join(_short(size) for size in row.sizes[:2]) if len(row.sizes) <= 2 else f"{len(row.sizes)} texts"
    return Row(
        str(row.place),
        (
            (f"{row.line:,}", "dim"),
            (row.words, "dim" if row.bad else ""),
            (sizes, "dim"),
            (f"{row.gap:.3f}" if row.gap is not None else "", ""),
            found,
        ),
    )


def _short(count: int) -> str:
    if count < 10_000:
        return str(count)
    return f"{count / 1e3:.0f}k" if count < 1e6 else f"{count / 1e6:.1f}M"
