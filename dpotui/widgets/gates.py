"""Gates as a list: the verdict in a word, and all that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.text import one_line
from dpotui import roles, say
from dpotui.roles import Span
from dpotui.stages import STAGES
from dpotui.widgets.table import Column, Row, Table

if TYPE_CHECKING:
    from core.gates import GateResult

_COLUMNS = (
    Column("verdict", 7),
    Column("gate"),
    Column("value", 9, "right"),
    Column("interval", 18, least=76),
    Column("target", 9, "right"),
    Column("n", 7, "right", least=100),
    Column("run", 14, least=90),
    Column("source", least=170),
    Column("age", 5, "right", least=90),
    Column("why", least=140),
)
NOTHING = "no gates: configs/gates.yaml names them"


class GateTable(Table):
    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(_COLUMNS, NOTHING, id=id, classes=classes)
        self._problem = ""

    def fill_gates(
        self, results: Sequence[GateResult], now: float, *, grouped: bool, empty: str, problem: str | None = None
    ) -> None:
        """Show these gates.

        Args:
            grouped: under a heading for each stage.
            problem: why these are not what stands in the files now.
        """
        self._problem = problem or ""
        rows = []
        stage = None
        for result in results:
            if grouped and result.gate.stage != stage:
                stage = result.gate.stage
                rows.append(Row(None, ((f"{stage} {STAGES[stage].title}", "title"),)))
            rows.append(_row(result, now))
        self.fill(rows, empty)

    def fixed(self, y: int, width: int) -> Sequence[Span]:
        if self._problem:
            return [(" " + one_line(self._problem, width - 2), "bad")]
        return super().fixed(y, width)


def key(result: GateResult) -> str:
    return f"{result.gate.stage}/{result.gate.name}"


def _row(result: GateResult, now: float) -> Row:
    gate = result.gate
    interval = ""
    if result.low is not None and result.high is not None:
        interval = f"[{say.value(result.low)}, {say.value(result.high)}]"
    role = roles.VERDICTS[result.verdict]
    return Row(
        key(result),
        (
            (result.verdict, role),
            (gate.title, ""),
            ("—" if result.value is None else result.shown, role),
            (interval, "dim"),
            (gate.target, ""),
            (str(result.n) if result.n is not None else "", "dim"),
            (result.run or "", "dim"),
            (result.source or "", "dim"),
            (say.age(now, result.time) if result.time else "", "dim"),
            (result.reason or "", "dim"),
        ),
    )


def tally(results: Sequence[GateResult]) -> str:
    """How many of each verdict, in words."""
    counts = {word: sum(r.verdict == word for r in results) for word in ("FAIL", "STALE", "UNKNOWN", "PASS")}
    return "  ".join(f"{count} {word}" for word, count in counts.items() if count)
