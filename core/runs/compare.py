"""Two to eight runs side by side: keys that differ, what was measured, and which is better where a gate says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.errors import UserError
from core.runs.fields import flattened
from core.store import Database, facts, runs
from core.store.facts import Fact
from core.store.runs import Run
from core.workspace import Workspace

FEWEST, MOST = 2, 8

Better = Literal["higher", "lower"]


class _Lacking:
    """Stands for a key that a configuration has not."""

    def __repr__(self) -> str:
        return "—"


LACKING = _Lacking()


@dataclass(frozen=True, slots=True)
class Differing:
    """A key of the configuration, its value in each run or LACKING."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """A fact of each run. `best` are the runs (by their place) with the best value where a gate judges the fact;
    `close` those whose interval reaches it: the difference may be chance."""

    name: str
    unit: str
    facts: tuple[Fact | None, ...]
    better: Better | None = None
    best: tuple[int, ...] = ()
    close: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    runs: tuple[Run, ...]
    config: tuple[Differing, ...]
    same: int  # keys that all have with the same value
    facts: tuple[Measured, ...]
    problem: str = ""  # why no gate could say which is better

    def as_json(self) -> dict[str, Any]:
        ids = [run.id for run in self.runs]
        return {
            "runs": [
                {"id": run.id, "kind": run.kind, "name": run.name, "state": run.state, "step": run.step,
                 "steps": run.steps, "took": _took(run)}
                for run in self.runs
            ],
            "config": {
                row.key: {run: value for run, value in zip(ids, row.values, strict=True) if value is not LACKING}
                for row in self.config
            },
            "same_keys": self.same,
            "facts": {
                row.name: {
                    "unit": row.unit,
                    "better": row.better,
                    "best": [ids[index] for index in row.best],
                    "close": [ids[index] for index in row.close],
                    "values": {
                        run: {"value": fact.value, "low": fact.low, "high": fact.high, "n": fact.n, "text": fact.text}
                        for run, fact in zip(ids, row.facts, strict=True)
                        if fact is not None
                    },
                }
                for row in self.facts
            },
            "problem": self.problem or None,
        }  # fmt: skip


def compare(db: Database, workspace: Workspace, ids: Sequence[str]) -> Comparison:
    """
    Raises:
        UserError: too few or too many runs, one twice, or one that is not there.
    """
    if not FEWEST <= len(ids) <= MOST:
        raise UserError(f"{FEWEST} to {MOST} runs are compared, not {len(ids)}")
    if len(set(ids)) < len(ids):
        twice = next(run for run in ids if list(ids).count(run) > 1)
        raise UserError(f"{twice} is named twice: name another run")
    compared = tuple(runs.get(db, run) for run in ids)
    config, same = _differing(compared)
    better, problem = _directions(workspace)
    return Comparison(compared, config, same, _measured(db, compared, better), problem)


def _differing(compared: Sequence[Run]) -> tuple[tuple[Differing, ...], int]:
    configs = [flattened(run.config) for run in compared]
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = [Differing(key, tuple(config.get(key, LACKING) for config in configs)) for key in keys]
    # 1 and 1.0 are the same number, 1 and true are not the same value.
    differing = tuple(row for row in rows if any(not _same(row.values[0], value) for value in row.values[1:]))
    return differing, len(rows) - len(differing)


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _directions(workspace: Workspace) -> tuple[dict[str, Better], str]:
    """Which way each fact is better, as the gates have it."""
    from core.gates import load_gates

    try:
        gates = load_gates(workspace)
    except UserError as error:
        return {}, str(error).splitlines()[0]
    return {gate.fact: "higher" if gate.op in ("≥", ">") else "lower" for gate in gates}, ""


def _measured(db: Database, compared: Sequence[Run], better: dict[str, Better]) -> tuple[Measured, ...]:
    measured = [facts.of_run(db, run.id) for run in compared]
    names = dict.fromkeys(name for of_one in measured for name in of_one)
    found = []
    for name in sorted(names, key=lambda name: name not in better):  # those that are judged first
        row = tuple(of_one.get(name) for of_one in measured)
        if _says_nothing(row) and name not in better:
            continue
        unit = next((fact.unit for fact in row if fact is not None and fact.unit), "")
        best, close = _best(row, better.get(name))
        found.append(Measured(name, unit, row, better.get(name), best, close))
    return tuple(found)


def _says_nothing(row: Sequence[Fact | None]) -> bool:
    """A yes in all of them, as of a run that was started."""
    return all(
        fact is not None and fact.value == 1.0 and not fact.unit and fact.n is None and fact.low is None for fact in row
    )


def _best(row: Sequence[Fact | None], better: Better | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    values = {index: fact.value for index, fact in enumerate(row) if fact is not None and fact.value is not None}
    if better is None or len(values) < 2 or len(set(values.values())) == 1:
        return (), ()
    top = max(values.values()) if better == "higher" else min(values.values())
    best = tuple(index for index, value in values.items() if value == top)
    low, high = _interval(row[best[0]])
    close = []
    for index in values:
        other_low, other_high = _interval(row[index])
        if index not in best and other_low <= high and low <= other_high:
            close.append(index)
    return best, tuple(close)


def _interval(fact: Fact | None) -> tuple[float, float]:
    assert fact is not None
    assert fact.value is not None
    return (
        fact.value if fact.low is None else fact.low,
        fact.value if fact.high is None else fact.high,
    )


def _took(run: Run) -> float | None:
    return run.ended - run.started if run.started and run.ended else None
