"""The capability table: what the baseline could do, what the final model can, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from core.store import Database, benchmarks
from core.store.benchmarks import Result
from core.store.runs import Run
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui import say
from dpotui.results import Block
from dpotui.results.subject import of_another
from dpotui.roles import Span
from dpotui.wrap import wrap

if TYPE_CHECKING:
    from core.evaluation.retention import Compared, Retention

BASELINE = 1  # the stage of it
_VALUE, _INTERVAL, _N, _SHOTS = 5, 9, 5, 5

# The last table that was worked out, and of which results: a bootstrap is not for every look.
_known: dict[tuple[str, tuple[int, ...]], Retention] = {}


def read(db: Database, workspace: Workspace, run: Run | None) -> Block | None:
    if run is not None and run.stage == BASELINE:
        own = [one for one in benchmarks.of_run(db, run.id) if one.subject == "baseline"]
        found = own or list(benchmarks.latest(db, "baseline").values())
        return (
            Block(f"Capability of the baseline, {_runs(found)}", lambda width: _alone(found, width)) if found else None
        )
    final = list(benchmarks.latest(db, "final").values())
    baseline = list(benchmarks.latest(db, "baseline").values())
    if not final:
        if not baseline:
            return None
        title = f"Capability of the baseline, {_runs(baseline)}; the final model was not measured"
        return Block(title, lambda width: _alone(baseline, width))
    whole = _retention(db, workspace, [*final, *baseline])
    against = f" against {_runs(baseline)}" if baseline else ""
    other = of_another(db, run, final[-1].run)
    return Block(f"Capability, {_runs(final)}{against}", lambda width: [*_said(other, width), *_compared(whole, width)])


def _said(other: str | None, width: int) -> list[Sequence[Span]]:
    return [[(line, "warn")] for line in wrap(other, width)] if other else []


def _retention(db: Database, workspace: Workspace, results: Sequence[Result]) -> Retention:
    from core.evaluation import retention

    key = (str(workspace.root), tuple(result.id for result in results))
    if key not in _known:
        found = retention.measured(db, workspace)
        assert found is not None, "there is a final result"
        _known.clear()
        _known[key] = found
    return _known[key]


def _runs(results: Iterable[Result]) -> str:
    return ", ".join(dict.fromkeys(printable(result.run) for result in results))


def _name_width(names: Iterable[str], width: int, rest: int) -> int:
    return max(9, min(max(cell_len(one_line(name, width)) for name in names), width - rest))


def _cell(text: str, width: int) -> str:
    """Foreign text in a column; wide characters take two cells."""
    shown = one_line(text, width)
    return shown + " " * (width - cell_len(shown))


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


def _between(low: float | None, high: float | None, digits: int) -> str:
    if low is None or high is None:
        return ""
    text = f"{low:.{digits}f}–{high:.{digits}f}"
    return text.replace("0.", ".") if digits else text


def _shots(result: Result | None) -> str:
    shots = result.conditions.get("shots") if result is not None else None
    return str(shots) if isinstance(shots, int) else "—"


# One model


def _alone(results: Sequence[Result], width: int) -> list[Sequence[Span]]:
    rest = 8 + 2 + _VALUE + 1 + _INTERVAL + 2 + _N + 2 + _SHOTS + 2 + 6
    name = _name_width((one.name for one in results), width, rest)
    lines: list[Sequence[Span]] = [
        [(f"{'benchmark':{name}} {'metric':8} {'value':>{_VALUE}} {'95 %':>{_INTERVAL}}  {'n':>{_N}}"
          f"  {'shots':>{_SHOTS}}  {'chance':>6}", "dim")]
    ]  # fmt: skip
    for one in results:
        chance = "—" if one.chance is None else f"{one.chance:.3g}"
        lines.append(
            [
                (f"{_cell(one.name, name)} ", ""),
                (f"{_cell(one.metric, 8)} ", "dim"),
                (f"{_share(one.value):>{_VALUE}} ", "title"),
                (f"{_between(one.low, one.high, 3):>{_INTERVAL}}  ", "dim"),
                (f"{one.n:>{_N}}  {_shots(one):>{_SHOTS}}  {chance:>6}", ""),
            ]
        )
    from core.evaluation.retention import no_better_than_chance

    notes = [(one.name, no_better_than_chance(one)) for one in results]
    return [*lines, *_notes(((name, why, "warn") for name, why in notes if why), width), *_harnesses(results, width)]


# Both


def _compared(whole: Retention, width: int) -> list[Sequence[Span]]:
    rest = 2 * (1 + _VALUE + 1 + _INTERVAL) + 1 + 7 + 1 + 8 + 1 + _N + 1 + _SHOTS
    name = _name_width((one.name for one in whole.compared), width, rest)
    head = f"{'benchmark':{name}}"
    for title in ("base", "final"):
        head += f" {title:>{_VALUE}} {'95 %':>{_INTERVAL}}"
    head += f" {'kept':>7} {'95 %':>8} {'n':>{_N}} {'shots':>{_SHOTS}}"
    lines: list[Sequence[Span]] = [[(head, "dim")], *(_row(one, name) for one in whole.compared)]
    lines += _mean(whole, name, width)
    told = [(one.name, one.why or "", "warn") for one in whole.compared if not one.counts]
    told += [(one.name, one.at_chance, "warn") for one in whole.compared if one.at_chance is not None]
    for one in whole.critical:
        told.append((one.name, "CRITICAL REGRESSION: more than a tenth of what the baseline had is gone", "bad"))
    last = [one.final or one.baseline for one in whole.compared]
    return [*lines, *_notes(told, width), *_harnesses([one for one in last if one is not None], width)]


def _row(one: Compared, name: int) -> list[Span]:
    spans: list[Span] = [(_cell(one.name, name), "")]
    for result in (one.baseline, one.final):
        low, high = (result.low, result.high) if result is not None else (None, None)
        spans.append((f" {_share(result.value if result is not None else None):>{_VALUE}}", ""))
        spans.append((f" {_between(low, high, 3):>{_INTERVAL}}", "dim"))
    kept = "—" if one.percent is None else f"{one.percent:.1f}%"
    role = "dim" if not one.counts else "bad" if one.critical else "title"
    mark = "✗ " if one.counts and one.critical else ""  # said below in words, and not by colour alone
    spans.append((f" {mark + kept:>7}", role))
    spans.append((f" {_between(one.low, one.high, 0):>8}", "dim"))
    any_ = one.final or one.baseline
    spans.append((f" {any_.n if any_ is not None else '—':>{_N}} {_shots(any_):>{_SHOTS}}", ""))
    return spans


def _mean(whole: Retention, name: int, width: int) -> list[Sequence[Span]]:
    before = name + 2 * (1 + _VALUE + 1 + _INTERVAL)
    worst = whole.worst
    if whole.percent is None or worst is None:
        return [[(line, "warn")] for line in wrap(f"retention is UNKNOWN: {whole.withheld}", width)]
    words = f"mean of {len(whole.counted)}, worst {one_line(worst.name, 20)}"
    spans: list[Span] = [
        (_cell(words, before), "title"),
        (f" {f'{whole.percent:.1f}%':>7}", "title"),
        (f" {_between(whole.low, whole.high, 0):>8}", "dim"),
    ]
    return [spans]


def _notes(told: Iterable[tuple[str, str, str]], width: int) -> list[Sequence[Span]]:
    lines: list[Sequence[Span]] = []
    for name, words, role in told:
        lines += [[(line, role)] for line in wrap(f"{one_line(name, 40)}: {words}", width)]
    return lines


def _harnesses(results: Sequence[Result], width: int) -> list[Sequence[Span]]:
    """By what it was measured, and how long that took."""
    by: dict[str, list[str]] = {}
    for one in results:
        words = [str(one.conditions.get(key) or "") for key in ("harness", "version")]
        by.setdefault(one_line(" ".join(words), 40) or "unknown", []).append(one_line(one.name, 24))
    seconds = sum(one.seconds for one in results)
    text = "; ".join(f"{', '.join(names)} by {how}" for how, names in by.items())
    return [[(line, "dim")] for line in wrap(f"{text}; {say.span(seconds)}", width)]
