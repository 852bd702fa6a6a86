"""What a list of pairs is narrowed to, chosen from what was found in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from core.data.findings import FINDINGS
from dpotui.browse.narrowing import ANY
from dpotui.screens.modal import Modal
from dpotui.widgets.table import Column, Row, Table

_COLUMNS = (Column("pairs", 9, "right"), Column("finding", 24), Column("what it says", least=70))
_FINDING, _BAD, _ALL = "finding", "bad", "all"


class Findings(Modal[tuple[str | None, str | None] | None]):
    """Gives back the finding and the kind of bad row to show: at most one of them; both None for all rows."""

    DEFAULT_CSS = """
    Findings {
        align: center middle;
        & > Table {
            width: 110; max-width: 95%; height: 80%; background: $surface; border: round $primary;
            border-title-color: $primary; border-title-style: bold; border-subtitle-color: $dim;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f", "dismiss", "Close", key_display="esc", id="findings.close"),
    ]

    def __init__(
        self, total: int, findings: Mapping[str, int], bad: Mapping[str, int], chosen: tuple[str | None, str | None]
    ) -> None:
        super().__init__()
        self._total, self._findings, self._bad, self._chosen = total, findings, bad, chosen

    def compose(self) -> ComposeResult:
        table = Table(_COLUMNS, "")
        table.border_title = "Show which rows?"
        table.border_subtitle = "enter shows them · escape cancel"
        yield table

    def on_mount(self) -> None:
        table = self.query_one(Table)
        table.fill(self._rows())
        finding, bad = self._chosen
        table.select(f"{_FINDING}:{finding}" if finding else f"{_BAD}:{bad}" if bad else _ALL)
        table.focus()

    def _rows(self) -> list[Row]:
        rows = [Row(_ALL, ((f"{self._total:,}", ""), ("all pairs", ""), ("", "")))]
        if any(self._findings.values()):
            rows.append(
                Row(f"{_FINDING}:{ANY}", (("", ""), ("any finding", ""), ("pairs in which anything was found", "dim")))
            )
        for kind, count in self._findings.items():
            finding = FINDINGS.get(kind)
            title, sentence = (finding.title, finding.sentence) if finding else (kind, "")
            role = "warn" if count else "dim"
            rows.append(Row(f"{_FINDING}:{kind}", ((f"{count:,}", role), (title, role), (sentence, "dim"))))
        if not self._findings:
            rows.append(Row(None, (("nothing was looked for: g starts a check of the pairs", "dim"),)))
        if self._bad:
            rows.append(Row(None, (("Rows that are no pairs", "title"),)))
            total = sum(self._bad.values())
            rows.append(
                Row(f"{_BAD}:{ANY}", ((f"{total:,}", "bad"), ("all of them", "bad"), ("each with its reason", "dim")))
            )
            for kind, count in self._bad.items():
                rows.append(Row(f"{_BAD}:{kind}", ((f"{count:,}", ""), (kind, ""), ("", ""))))
        return rows

    @on(Table.Chosen)
    def _chosen_row(self, event: Table.Chosen) -> None:
        event.stop()
        what, _, kind = event.key.partition(":")
        self.dismiss((kind if what == _FINDING else None, kind if what == _BAD else None))
