"""Verdicts: PASS and FAIL are of what was measured; what was not is UNKNOWN, what changed since is STALE."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from core.gates.thresholds import DPO_FILE, Gate, load_gates
from core.store import Database, facts, files
from core.store.facts import Fact
from core.store.runs import Run
from core.workspace import Workspace

Verdict = Literal["PASS", "FAIL", "UNKNOWN", "STALE"]

# Facts and gates in one of these differ from shares by a factor of 100.
_PERCENT = ("%", "points")
# The section of a run's configuration that holds targets -> the file that gates.yaml has them from.
_OWN = {"constraints": DPO_FILE, "quality_thresholds": "eval_config.yaml"}
# Units of what is counted.
_COUNTS = ("pairs", "prompts", "responses", "benchmarks")


@dataclass(frozen=True, slots=True)
class GateResult:
    """A verdict and all that it rests on. `value`, `low` and `high` are in the gate's unit; `reason` says why not."""

    gate: Gate
    verdict: Verdict
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    run: str | None = None
    time: float = 0.0
    source: str = ""
    reason: str = ""
    fact: int | None = None  # its id in runs.db

    @property
    def shown(self) -> str:
        """The value in words, with as many digits as it takes to look on its side of the threshold."""
        if self.value is None or math.isnan(self.value):
            return "UNKNOWN"
        return _shown(self.value, self.gate)


def evaluate(
    db: Database, workspace: Workspace, stage: int | None = None, gates: Iterable[Gate] | None = None
) -> list[GateResult]:
    """Judge the gates of a stage, or of all, by the newest facts of the workspace.

    Args:
        gates: those of the workspace, where they were loaded before.
    """
    gates = [gate for gate in gates or load_gates(workspace) if stage is None or gate.stage == stage]
    return _judge_all(db, workspace, gates, facts.latest(db))


def evaluate_run(db: Database, workspace: Workspace, run: Run, stage: int | None = None) -> list[GateResult]:
    """Judge the gates of a stage by what one run measured, with the targets of that run's own configuration.

    What a gate needs and the run does not measure itself (the data's gap) is taken from the newest facts.
    """
    wanted = run.stage if stage is None else stage
    own = next((file for section, file in _OWN.items() if run.config.get(section)), None)
    gates = [gate for gate in load_gates(workspace, run.config if own else None, own) if gate.stage == wanted]
    prefixes = {name.split(".")[0] for name in facts.of_run(db, run.id)} | {_PREFIX[wanted]}
    others = {name: fact for name, fact in facts.latest(db).items() if name.split(".")[0] not in prefixes}
    return _judge_all(db, workspace, gates, others | facts.of_run(db, run.id))


# Whose facts a stage's runs measure: another run's must not stand in for them.
_PREFIX = {0: "", 1: "sft", 2: "data", 3: "init", 4: "reward", 5: "dpo", 6: "iteration", 7: "eval"}


def _judge_all(
    db: Database, workspace: Workspace, gates: Iterable[Gate], known: Mapping[str, Fact]
) -> list[GateResult]:
    results = []
    for gate in gates:
        fact = known.get(gate.fact)
        stale = files.stale_reason(db, workspace, fact) if fact is not None and fact.value is not None else None
        results.append(judge(gate, fact, stale))
    return results


def judge(gate: Gate, fact: Fact | None, stale: str | None = None) -> GateResult:
    """The verdict of a gate on a fact. Nothing is rounded, and nothing that is not a finite number passes."""
    if fact is None:
        return GateResult(gate, "UNKNOWN", reason=f"{gate.fact} has not been measured")
    value, low, high = (_in_unit(number, fact.unit, gate.unit) for number in (fact.value, fact.low, fact.high))
    verdict: Verdict
    if value is None:
        verdict, reason = "UNKNOWN", fact.source or f"{gate.fact} could not be measured"
    elif math.isnan(value):
        verdict, reason = "UNKNOWN", "the value is not a number"
    elif stale is not None:
        verdict, reason = "STALE", stale
    elif gate.meets(value):
        verdict, reason = "PASS", ""
    else:
        verdict, reason = "FAIL", f"{_shown(value, gate)} is not {gate.target}"
    return GateResult(
        gate, verdict, value, low, high, fact.n, fact.run, fact.time, fact.source, reason, fact.id or None
    )


def _in_unit(number: float | None, unit: str, wanted: str) -> float | None:
    """A number of a fact in the unit of its gate; 0.7 is 70 %."""
    if number is None:
        return None
    number = float(number)
    if not math.isfinite(number) or (unit in _PERCENT) == (wanted in _PERCENT):
        return number
    exact = Decimal(repr(number))
    return float(exact * 100 if wanted in _PERCENT else exact / 100)


def _shown(value: float, gate: Gate) -> str:
    percent = gate.unit if gate.unit == "%" else ""
    if not math.isfinite(value):
        return str(value)
    if gate.unit in _COUNTS and value.is_integer():
        return f"{value:.0f}"
    for digits in range(1 if gate.unit in _PERCENT else 4, 18):
        text = f"{value:.{digits}f}"
        if gate.meets(float(text)) == gate.meets(value) and (float(text) or not value):
            return text + percent
    return repr(value) + percent


def overall(results: Sequence[GateResult]) -> Verdict | None:
    """One verdict for several gates: the worst of them; None where there is no gate."""
    verdicts = {result.verdict for result in results}
    order: tuple[Verdict, ...] = ("FAIL", "UNKNOWN", "STALE", "PASS")
    return next((verdict for verdict in order if verdict in verdicts), None)
