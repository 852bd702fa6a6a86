"""Verdicts over time: what each gate was judged to be, by which value of which run, against which threshold."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from core.errors import UserError
from core.gates.thresholds import Gate, Op
from core.gates.verdicts import GateResult, Verdict, evaluate
from core.store import Database, runs, transaction
from core.workspace import Workspace

# Of one gate; what is older stays in runs.db.
SHOWN = 200


class Kept(NamedTuple):
    """A verdict as it was reached at `time`. Its numbers are in the gate's unit."""

    id: int
    time: float
    verdict: Verdict
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    op: Op
    threshold: float
    fact: int | None
    run: str | None
    reason: str

    def of(self, gate: Gate) -> GateResult:
        """The same as a result of this gate, with the target that it had then."""
        then = replace(gate, op=self.op, threshold=self.threshold)
        return GateResult(
            then, self.verdict, self.value, self.low, self.high, self.n, self.run, self.time, "", self.reason, self.fact
        )


def history(db: Database, stage: int, name: str, limit: int = SHOWN) -> list[Kept]:
    """The verdicts of a gate, newest first."""
    rows = db.execute(
        "SELECT id, time, verdict, value, low, high, n, op, threshold, fact, run, reason FROM verdicts"
        " WHERE stage = ? AND gate = ? ORDER BY id DESC LIMIT ?",
        [stage, name, limit],
    )
    return [Kept(*row) for row in rows]


def follow(db: Database, workspace: Workspace) -> list[GateResult]:
    """Judge all gates and append what changed; for the engine, after a run has ended.

    Gates that cannot be read are the screens' to tell of: they keep no run from ending.
    """
    try:
        return record(db, evaluate(db, workspace))
    except (UserError, OSError):
        return []


def record(db: Database, results: Iterable[GateResult], now: float | None = None) -> list[GateResult]:
    """Append verdicts to runs.db: those whose verdict, fact or threshold is another than last time.

    What was never measured has no history yet. What a run measured that is still on is judged when it has ended: so
    the history is the same whether somebody watched it or not.

    Returns:
        Those that were appended.
    """
    found = list(results)
    # Most looks find nothing new, and must not take the lock that a run writes with.
    if not _changed(db, found):
        return []
    with transaction(db):
        changed = _changed(db, found)
        moment = time.time() if now is None else now
        for result in changed:
            gate = result.gate
            db.execute(
                "INSERT INTO verdicts"
                " (stage, gate, verdict, value, op, threshold, low, high, n, fact, run, reason, time)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [gate.stage, gate.name, result.verdict, _finite(result.value), gate.op, gate.threshold,
                 _finite(result.low), _finite(result.high), result.n, result.fact, result.run, result.reason, moment],
            )  # fmt: skip
    return changed


def _changed(db: Database, results: Iterable[GateResult]) -> list[GateResult]:
    on = {run.id for run in runs.listing(db, states=runs.LIVE)}
    changed = []
    for result in results:
        gate = result.gate
        # A gate at a time, by the index: a workspace of years has hundreds of thousands of verdicts.
        before = db.execute(
            "SELECT verdict, fact, threshold, op FROM verdicts WHERE gate = ? AND stage = ? ORDER BY id DESC LIMIT 1",
            [gate.name, gate.stage],
        ).fetchone()
        if before == (result.verdict, result.fact, gate.threshold, gate.op) or result.run in on:
            continue
        if before is not None or result.fact is not None or result.verdict != "UNKNOWN":
            changed.append(result)
    return changed


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
