"""What a list of rows is narrowed to, and the ways to a row: its line, the pair it belongs to."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from core.errors import UserError
from dpotui.browse.narrowing import EVERYTHING, Narrowing, spanned
from dpotui.browse.pairs import IndexedPairs
from dpotui.browse.rows import Rows
from dpotui.screens.data_dialogs import Findings
from dpotui.screens.data_rows import ShowsRows
from dpotui.screens.dialogs import Ask, Field


class NarrowsRows(ShowsRows):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "findings", "Filter", tooltip="Show the pairs of one finding", id="data.findings"),
        Binding("l", "limits", "Limits", tooltip="Show pairs by their gap and length", id="data.limits"),
        Binding("x", "everything", "All", tooltip="Show all rows again", id="data.everything"),
        Binding("o", "partner", "Partner", tooltip="The pair that this one belongs to", id="data.partner"),
        Binding("t", "line", "To line", show=False, id="data.line"),
    ]

    def action_findings(self) -> None:
        if self._indexed():
            self._ask_finding()

    def _indexed(self) -> IndexedPairs | None:
        """What is open, if more is known of its pairs than where they are."""
        source = self._desk.source if self._desk else None
        if isinstance(source, IndexedPairs):
            return source
        if self._path is None:
            self.bench.say("no file is open: enter on a file opens it", "warning")
        elif isinstance(source, Rows) and source.kind != "pairs":
            self.bench.say(f"these rows are {source.kind}: only pairs are narrowed", "warning")
        else:
            self.bench.say("without an index nothing is known of the pairs: b builds it", "warning")
        return None

    @work(exclusive=True, group="ask", exit_on_error=False)
    async def _ask_finding(self) -> None:
        source = self._indexed()
        if source is None:
            return
        findings, bad = await self.desk.run(self.desk.counts)
        chosen = (self._narrowing.finding, self._narrowing.bad)

        def answered(answer: tuple[str | None, str | None] | None) -> None:
            if answer is not None:
                finding, bad = answer
                now = self._narrowing
                self._narrow(Narrowing(None, bad) if bad else Narrowing(finding, None, now.gap, now.length, now.unit))

        self.app.push_screen(Findings(source.told.pairs, findings, bad, chosen), answered)

    def action_limits(self) -> None:
        source = self._indexed()
        if source is None:
            return
        now = self._narrowing
        # Lengths are asked for in what they are known in.
        tokens = source.has_tokens
        unit = "tokens" if tokens else "characters"
        length = now.length if now.unit == unit else (None, None)
        fields = [
            Field("Gap from, on 0 to 1", _number(now.gap[0]), "such as -1"),
            Field("Gap to", _number(now.gap[1]), "such as 0.15"),
            Field(f"Both responses together, {unit} from", _number(length[0])),
            Field(f"Both responses together, {unit} to", _number(length[1])),
        ]

        def submit(values: list[str]) -> None:
            gap, length = spanned(values[0], values[1], "gap"), spanned(values[2], values[3], "length")
            self._narrow(Narrowing(now.finding, None, gap, length, unit))

        self.app.push_screen(Ask("Show which pairs?", "Empty fields have no bound.", fields, submit))

    def action_everything(self) -> None:
        if self._narrowing != EVERYTHING:
            self._narrow(EVERYTHING)

    @work(exclusive=True, group="narrow", exit_on_error=False)
    async def _narrow(self, narrowing: Narrowing) -> None:
        """Narrow the list; the cursor stays on its row where it is still there."""
        await self._narrow_to(narrowing)

    async def _narrow_to(self, narrowing: Narrowing) -> None:
        detail = self.pair_view.detail
        self._narrowing = narrowing
        self._tabs()
        try:
            count = await self.desk.run(self.desk.narrow, narrowing)
            place = await self.desk.run(self.desk.place_of, detail.offset) if detail is not None else None
        except UserError as error:
            self._failed(error)
            return
        self.listed.reset(count, self._empty(), place or 0)
        self._detail()
        self.tell()
        self.refresh_bindings()

    def action_line(self) -> None:
        if self._path is None or self._narrowing.bad is not None:
            return

        def submit(values: list[str]) -> None:
            if not values[0].isdecimal() or len(values[0]) > 15:
                raise UserError("a line number is wanted, such as 118")
            self._go_to_line(int(values[0]))

        self.app.push_screen(Ask("Go to line", "", [Field("Line of the file")], submit))

    @work(exclusive=True, group="go", exit_on_error=False)
    async def _go_to_line(self, line: int) -> None:
        self.listed.go(await self.desk.run(self.desk.place_of_line, line))

    def action_partner(self) -> None:
        detail = self.pair_view.detail
        if detail is not None and detail.partners and detail.pair is not None:
            following = next((pair for pair in detail.partners if pair > (detail.pair or 0)), detail.partners[0])
            self._go_to_pair(following)

    @work(exclusive=True, group="go", exit_on_error=False)
    async def _go_to_pair(self, pair: int) -> None:
        elsewhere = await self.desk.run(self.desk.elsewhere, pair)
        if elsewhere is not None:
            self.open_file(elsewhere[0], EVERYTHING, elsewhere[1])
            return
        place = await self.desk.run(self.desk.place_of_pair, pair)
        if place is None:
            await self._narrow_to(EVERYTHING)
            self.bench.say("it is not among the pairs that were shown: all are shown now")
            place = await self.desk.run(self.desk.place_of_pair, pair)
        if place is not None:
            self.listed.go(place)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "partner":
            detail = self.pair_view.detail if self.is_mounted else None
            return detail is not None and bool(detail.partners)
        if action in ("findings", "limits", "line"):
            return self._path is not None
        if action == "everything":
            return self._narrowing != EVERYTHING
        return super().check_action(action, parameters)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
