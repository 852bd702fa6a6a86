"""What is left of the baseline's abilities: final / baseline of each benchmark, compared only like with like."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.evaluation import items
from core.intervals import paired_ratios, percentiles, wilson
from core.store import Database, artifacts, benchmarks, facts, files
from core.store.benchmarks import Result
from core.store.facts import Fact
from core.text import one_line, printable
from core.workspace import Workspace

# Of the bootstrap: the same results give the same interval, whoever asks.
SEED = 42
# A benchmark that lost more than this share of what the baseline had is a critical regression.
CRITICAL = 10  # percent

# Conditions that are hashes.
_HASHES = ("items", "template")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """One benchmark before and after.

    Attributes:
        percent: 100 x final / baseline; None where the two may not be compared, or nothing can be divided by.
        low, high: its 95 % interval, by bootstrap over the items.
        why: why it is not in the mean, None where it is.
        critical: more than a tenth of what the baseline could is gone.
        draws: of the bootstrap, in percent.
        otherwise: both were measured, and not alike, or what was found cannot be read any more.
    """

    name: str
    baseline: Result | None
    final: Result | None
    percent: float | None = None
    low: float | None = None
    high: float | None = None
    why: str | None = None
    critical: bool = False
    draws: tuple[float, ...] = ()
    otherwise: bool = False

    @property
    def counts(self) -> bool:
        return self.why is None

    @property
    def at_chance(self) -> str | None:
        """Said where all may be lost though the ratio is far above 0: who guesses keeps a part, too."""
        before, after = self.baseline, self.final
        if not self.counts or before is None or after is None or not after.chance or not before.value:
            return None
        if no_better_than_chance(after) is None:
            return None
        kept = 100 * after.chance / before.value
        return f"the final model does not exceed chance ({after.chance:.3g}); guessing alone keeps {kept:.1f}%"


@dataclass(frozen=True, slots=True)
class Retention:
    """Over all benchmarks.

    Attributes:
        percent: the mean of those that count. None where none does, and where one was measured otherwise than the
            baseline: else a loss would be gone from the mean by asking with another number of shots.
        of_others: the mean of those that count where `percent` is withheld.
    """

    compared: tuple[Compared, ...]
    percent: float | None = None
    low: float | None = None
    high: float | None = None
    of_others: float | None = None

    @property
    def otherwise(self) -> tuple[Compared, ...]:
        return tuple(one for one in self.compared if one.otherwise)

    @property
    def withheld(self) -> str:
        """Why there is no mean, in words, with what there is instead."""
        named = ", ".join(printable(one.name) for one in self.otherwise)
        if self.of_others is None:
            return "no benchmark can be compared"
        others = f"the mean of the other {len(self.counted)} is {self.of_others:.1f}%"
        return f"measure {named} as the baseline was measured, or the baseline again; {others}"

    @property
    def counted(self) -> tuple[Compared, ...]:
        return tuple(one for one in self.compared if one.counts)

    @property
    def worst(self) -> Compared | None:
        return min(self.counted, key=lambda one: one.percent or 0.0, default=None)

    @property
    def critical(self) -> tuple[Compared, ...]:
        return tuple(one for one in self.counted if one.critical)


def no_better_than_chance(baseline: Result) -> str | None:
    """Why a baseline's result cannot show a loss, or None where it can.

    What guesses, or gets nothing right, has nothing that could be lost; the ratio of two such results is noise around
    100 % (or around nothing), and would water down the loss that the other benchmarks show.
    """
    if baseline.chance is None or baseline.chance == 0:
        if baseline.value > 0:
            return None
        return f"the baseline got none of {baseline.n} right: it cannot show a loss"
    low, high = baseline.low, baseline.high
    if low is None or high is None:
        low, high = wilson(baseline.value * baseline.n, baseline.n)
    if low > baseline.chance:
        return None
    interval = f"{baseline.value:.3g}, {low:.3g} to {high:.3g}"
    return f"the baseline ({interval}) does not exceed chance ({baseline.chance:.3g}): it cannot show a loss"


def unlike(baseline: Result, final: Result) -> str | None:
    """What differs between how two results came about, or None where they may be compared."""
    if baseline.metric != final.metric:
        return f"measured otherwise: metric {printable(baseline.metric)} then, {printable(final.metric)} now"
    keys = [*baseline.conditions, *(key for key in final.conditions if key not in baseline.conditions)]
    # Other shots are other items too: what a person set comes before the hashes of what came of it.
    keys.sort(key=lambda key: key in _HASHES)
    differing = [key for key in keys if baseline.conditions.get(key) != final.conditions.get(key)]
    if not differing:
        return None
    told = [
        f"{printable(key)} {_short(baseline.conditions.get(key))} then, {_short(final.conditions.get(key))} now"
        for key in differing[:3]
    ]
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    return f"measured otherwise: {'; '.join(told)}{more}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
    # A hash tells nothing by its end.
    whole = len(text) in (40, 64) and all(character in "0123456789abcdef" for character in text)
    return text[:8] if whole else one_line(text, 40)


def compare(baseline: Result, final: Result, before: Sequence[Row], after: Sequence[Row]) -> Compared:
    """One benchmark, from two results and their items.

    Args:
        before, after: rows of the items files, {"id", "correct", ...}.
    """
    name = final.name
    why = unlike(baseline, final) or _other_items(before, after)
    if why is not None:
        return Compared(name, baseline, final, why=why, otherwise=True)
    marks = {str(row["id"]): float(row["correct"]) for row in before}
    first = list(marks.values())
    again = {str(row["id"]): float(row["correct"]) for row in after}
    second = [again[item] for item in marks]
    for who, result, found in (("baseline", baseline, first), ("final", final, second)):
        mean = math.fsum(found) / len(found)
        if abs(mean - result.value) > 1e-6:
            why = f"the items of the {who} give {mean:.4g}, and {result.value:.4g} was recorded"
            return Compared(name, baseline, final, why=why, otherwise=True)
    had, has = math.fsum(first), math.fsum(second)
    if had == 0:
        return Compared(name, baseline, final, why=no_better_than_chance(baseline))
    draws = tuple(100 * ratio for ratio in paired_ratios(first, second, SEED))
    low, high = percentiles(draws)
    # No rounding decides over it: 90 of 100 is no critical regression.
    critical = 100 * has < (100 - CRITICAL) * had
    why = no_better_than_chance(baseline)
    return Compared(name, baseline, final, 100 * has / had, low, high, why, critical and why is None, draws)


def _other_items(before: Sequence[Row], after: Sequence[Row]) -> str | None:
    first, second = ([str(row["id"]) for row in rows] for rows in (before, after))
    for who, ids in (("baseline", first), ("final", second)):
        if len(set(ids)) < len(ids):
            return f"two items of the {who} have the same id"
    only_first, only_second = set(first) - set(second), set(second) - set(first)
    if only_first or only_second:
        sides = ((only_first, "baseline"), (only_second, "final"))
        told = [f"{len(ids)} only of the {who}" for ids, who in sides if ids]
        return f"not the same items: {', '.join(told)}"
    return None if first else "there are no items"


def summed_up(compared: Sequence[Compared]) -> Retention:
    """The mean over the benchmarks that count, each weighing the same, with its interval."""
    counted = [one for one in compared if one.counts]
    if not counted:
        return Retention(tuple(compared))
    mean = math.fsum(one.percent or 0.0 for one in counted) / len(counted)
    if any(one.otherwise for one in compared):
        return Retention(tuple(compared), of_others=mean)
    # Benchmarks are drawn independently: the i-th draws of all make one draw of the mean.
    draws = [math.fsum(each) / len(counted) for each in zip(*(_shuffled(one) for one in counted), strict=True)]
    low, high = percentiles(draws)
    return Retention(tuple(compared), mean, low, high)


def _shuffled(one: Compared) -> list[float]:
    """Draws in an order of the benchmark's own: all come from one seed, and would else rise and fall together."""
    import numpy as np

    order = np.random.default_rng([SEED, *one.name.encode()]).permutation(len(one.draws))
    return [one.draws[index] for index in order]


# From runs.db and the files


def measured(db: Database, workspace: Workspace) -> Retention | None:
    """The newest results of both models against each other; None where no final model was measured.

    Results count only of the model that was measured last: those of an older final model or an older baseline are
    another model's.
    """
    final, baseline = benchmarks.latest(db, "final"), benchmarks.latest(db, "baseline")
    if not final:
        return None
    compared = []
    of_final, of_baseline = _model_now(db, final), _model_now(db, baseline)
    for name in [*final, *(name for name in baseline if name not in final)]:
        before, after = baseline.get(name), final.get(name)
        if after is not None and _model(db, after) != of_final:
            why = f"the final model was not measured: {printable(after.run)} was of another one"
            compared.append(Compared(name, before, None, why=why))
        elif after is None:
            compared.append(Compared(name, before, None, why="the final model was not measured"))
        elif before is None:
            why = "the baseline was not measured: dpotui evaluate --baseline"
            compared.append(Compared(name, None, after, why=why))
        elif _model(db, before) != of_baseline:
            why = f"the baseline was not measured: {printable(before.run)} was of another one"
            compared.append(Compared(name, None, after, why=why))
        else:
            compared.append(_compared(db, workspace, before, after))
    return summed_up(compared)


def _compared(db: Database, workspace: Workspace, before: Result, after: Result) -> Compared:
    why = unlike(before, after)
    rows: list[list[Row]] = []
    for result in (before, after):
        if why is None:
            found = _rows(db, workspace, result)
            if isinstance(found, str):
                why = found
            else:
                rows.append(found)
    if why is not None:
        return Compared(after.name, before, after, why=why, otherwise=True)
    return compare(before, after, rows[0], rows[1])


def _rows(db: Database, workspace: Workspace, result: Result) -> list[Row] | str:
    """The items of a result, or why they cannot be used."""
    shown = printable(result.items)
    now = files.sha256(db, workspace, result.items)
    if now is None:
        return f"{shown} is gone"
    written = _written(db, result)
    if written is not None and written != now:
        return f"{shown} changed since it was measured"
    try:
        found = items.read(workspace.path(result.items))
        for row in found:
            float(row["correct"]), str(row["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{shown} is no file of items any more"
    return list(found)


def _written(db: Database, result: Result) -> str | None:
    """The hash of the items when they were written."""
    return next((one.sha256 for one in artifacts.of_run(db, result.run) if one.path == result.items), None)


def _fact(db: Database, result: Result) -> Fact | None:
    prefix = "sft" if result.subject == "baseline" else "eval"
    return facts.of_run(db, result.run).get(items.fact_name(prefix, result.name))


def _model(db: Database, result: Result) -> tuple[str, str | None]:
    """A model by its name and the hash it had when it was measured."""
    fact = _fact(db, result)
    return result.model, fact.inputs.get(result.model) if fact is not None else None


def _model_now(db: Database, results: Mapping[str, Result]) -> tuple[str, str | None] | None:
    newest = max(results.values(), key=lambda result: result.id, default=None)
    return _model(db, newest) if newest is not None else None


def _inputs(db: Database, workspace: Workspace, compared: Sequence[Compared]) -> dict[str, str]:
    """What the facts rest on: the items, and the models and data as they were when they were measured."""
    found: dict[str, str] = {}
    for result in (result for one in compared for result in (one.baseline, one.final) if result is not None):
        fact = _fact(db, result)
        found |= fact.inputs if fact is not None else {}
        digest = _written(db, result) or files.sha256(db, workspace, result.items)
        found |= {result.items: digest} if digest is not None else {}
    return found


def record(db: Database, workspace: Workspace) -> Retention | None:
    """Write eval.retention, eval.retention_worst and eval.critical_regressions from the newest results.

    To be called when a final model's benchmarks were measured, and when a baseline's were: whichever comes last.
    """
    found = measured(db, workspace)
    if found is None:
        return None
    counted, worst = found.counted, found.worst
    newest = max((one.final for one in found.compared if one.final), key=lambda result: result.id)
    out = [f"{one.name}: {one.why}" for one in found.compared if not one.counts]
    beside = f"; not in it: {'; '.join(out)}" if out else ""
    if not counted or worst is None:
        source = "; ".join(out)
        inputs = _inputs(db, workspace, found.compared)
        names = ("eval.retention", "eval.retention_worst", "eval.critical_regressions")
        facts.record(
            db, *(Fact(name, None, run=newest.run, source=source, inputs=inputs, unit=_UNITS[name]) for name in names)
        )
        return found
    inputs = _inputs(db, workspace, counted)
    n = sum(one.final.n for one in counted if one.final)
    told = ", ".join(f"{one.name} {one.percent:.1f}%" for one in counted)
    how = f"mean of final / baseline over {len(counted)} benchmark{'s' if len(counted) > 1 else ''}"
    interval = "interval by paired bootstrap over items" if found.low is not None else "too few right for an interval"
    source = f"{how}, {interval}{beside}"
    if found.percent is None:
        source = f"{'; '.join(out)}; {found.withheld}"
    critical = found.critical
    named = ", ".join(f"{one.name} {one.percent:.1f}%" for one in critical)
    facts.record(
        db,
        Fact(
            "eval.retention", found.percent, "%", run=newest.run, low=found.low, high=found.high, n=n, text=told,
            source=source, inputs=inputs,
        ),
        Fact(
            "eval.retention_worst", worst.percent, "%", run=newest.run, low=worst.low, high=worst.high,
            n=worst.final.n if worst.final else None, text=worst.name, inputs=inputs,
            source=f"{worst.name}, the lowest of {len(counted)}{beside}",
        ),
        Fact(
            "eval.critical_regressions", float(len(critical)), run=newest.run, n=len(counted), text=named or "none",
            source=f"benchmarks that lost more than {CRITICAL} % of what the baseline had{beside}", inputs=inputs,
        ),
    )  # fmt: skip
    return found


_UNITS = {"eval.retention": "%", "eval.retention_worst": "%", "eval.critical_regressions": ""}
