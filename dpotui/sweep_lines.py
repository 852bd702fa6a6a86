"""Trials of a sweep as lines of text: their table, the best so far over trials, importances, parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from core.text import one_line
from dpotui import say
from dpotui.roles import Span

if TYPE_CHECKING:
    from core.experiments.sweep_standing import Standing
    from core.store.trials import Trial

Line = list[Span]

# How a trial's state is marked beside its word.
MARKS = {
    "running": ("●", "live"),
    "interrupted": ("○", "warn"),
    "complete": ("✓", "good"),
    "pruned": ("▾", "dim"),
    "stopped": ("■", "warn"),
    "failed": ("✗", "bad"),
    "out of memory": ("✗", "bad"),
    "refused": ("✗", "warn"),
}
_GUTTER = 9  # of the chart: what its values take
# Braille: dots of a cell by column and row.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_LABEL = 12  # of an axis of the parallel view


def value(of: Standing, number: float | None) -> str:
    """The metric of a trial."""
    return "" if number is None else f"{number:.4g}{of.measure.unit and ' %'}"


def parameter(number: Any) -> str:
    from core.config.sweep_distributions import said

    return one_line(said(number), 24)


def head(of: Standing, width: int) -> list[Line]:
    """What is sought, how far it came, and the best."""
    best = of.best
    done = sum(trial.ended is not None for trial in of.trials)
    lines: list[Line] = [
        [(one_line(f"{of.sweep.state}, {done} of {of.config.trials} trials, {of.file.method}", width), "")],
        [(one_line(f"{of.metric.goal} {of.measure.asked}, KL at most {of.kl_limit:g}", width), "dim")],
    ]
    if best is not None:
        beyond = "" if of.within(best) else f", KL {say.number(best.kl or 0.0)} beyond the limit, as of all others"
        lines.append([(one_line(f"★ best: trial {best.number}, {value(of, best.value)}{beyond}", width), "title")])
    return lines


def kl_words(of: Standing, trial: Trial) -> Span:
    """KL of a trial, said where it is beyond the limit."""
    if trial.kl is None:
        return "", ""
    return (f"{trial.kl:.3g}", "") if of.within(trial) else (f"{trial.kl:.3g} beyond", "bad")


def table(of: Standing, width: int, most: int) -> list[Line]:
    """The best trials first, as many as there is room for."""
    names = [each.name for each in of.file.parameters]
    widths = {name: max(9, min(14, cell_len(name))) for name in names}
    room = width - 42
    shown: list[str] = []
    for name in names:
        if sum(widths[each] + 1 for each in (*shown, name)) <= room:
            shown.append(name)
    heads = "".join(f" {one_line(name, widths[name]):>{widths[name]}}" for name in shown)
    lines: list[Line] = [[(one_line(f"{'trial':>7} {'state':<15}{'value':>9} {'KL':>8}{heads}", width), "dim")]]
    best = of.best
    for trial in of.ranked()[:most]:
        mark, role = MARKS[of.state(trial)]
        star = "★" if best is not None and trial.number == best.number else " "
        kl, kl_role = (f"{trial.kl:.3g}", "" if of.within(trial) else "bad") if trial.kl is not None else ("", "")
        kl += "!" * (kl_role == "bad")
        values = "".join(f" {parameter(trial.parameters.get(name)):>{widths[name]}}" for name in shown)
        lines.append([
            (f"{star}{trial.number:>6} ", "title"), (f"{mark} {of.state(trial):<13}", role),
            (f"{value(of, trial.value):>9}", "title"), (f" {kl:>8}", kl_role), (values, ""),
        ])  # fmt: skip
    if len(of.trials) > most:
        lines.append([(f"  and {len(of.trials) - most} more: T shows all", "dim")])
    return lines


def best_so_far(of: Standing, width: int, height: int) -> list[Line]:
    """Each trial's value as a mark, and the best within the KL limit until then as a line."""
    points = of.best_so_far()
    if not points:
        return [[("no trial has a value yet", "empty")]]
    numbers = [number for _, number, _ in points]
    low, high = min(numbers), max(numbers)
    if of.metric.target is not None:
        low, high = min(low, of.metric.target), max(high, of.metric.target)
    last = max(of.config.trials, points[-1][0])
    columns, rows = max(8, width - _GUTTER), max(3, height - 1)
    cells = [[(" ", "")] * columns for _ in range(rows)]

    def x(trial: int) -> int:
        return round((trial - 1) / max(1, last - 1) * (columns - 1))

    def y(number: float) -> int:
        return rows - 1 - round((number - low) / (high - low) * (rows - 1)) if high > low else rows // 2

    if of.metric.target is not None:
        for column in range(columns):
            cells[y(of.metric.target)][column] = ("╌", "limit")
    lines = [(number, best) for number, _, best in points if best is not None]
    for place, (number, best) in enumerate(lines):
        end = x(lines[place + 1][0]) if place + 1 < len(lines) else x(points[-1][0]) + 1
        for column in range(x(number), min(end, columns)):
            cells[y(best)][column] = ("─", "line0")
    by_number = {trial.number: trial for trial in of.trials}
    before: float | None = None
    for number, found, so_far in points:
        mark = ("★" if so_far != before else "•", "line0") if of.within(by_number[number]) else ("×", "line5")
        cells[y(found)][x(number)] = mark
        before = so_far
    made: list[Line] = []
    for place, row in enumerate(cells):
        label = say.number(high) if place == y(high) else say.number(low) if place == y(low) else ""
        made.append([(f"{one_line(label, _GUTTER - 2):>{_GUTTER - 2}} │", "axis"), *_joined(row)])
    ends = f"{'1':<{columns - len(str(last))}}{last}"
    made.append([(" " * _GUTTER + ends, "axis")])
    return made


def importances(of: Standing, width: int) -> list[Line]:
    """How much of the difference between good trials and all lies in each parameter."""
    if not of.importances:
        return [[("known from 6 complete trials on that differ", "empty")]]
    name = min(20, max(cell_len(each) for each in of.importances))
    room = max(4, width - name - 8)
    made: list[Line] = []
    for each, share in of.importances.items():
        text = one_line(each, name)
        bar = "━" * max(1, round(share * room))
        made.append(
            [(text + " " * (name - cell_len(text)) + " ", ""), (f"{100 * share:>4.0f} % ", "title"), (bar, "bar")]
        )
    return made


def parallel(of: Standing, width: int, height: int, chosen: int | None = None) -> list[Line]:
    """An axis for each parameter and one for the metric; a line for each trial with a value, the chosen one on top."""
    done = [trial for trial in of.trials if trial.state == "complete" and trial.value is not None]
    axes = [each for each in of.file.parameters if each.distribution.kind != "constant"]
    if not done or not axes:
        return [[("no trial has a value yet", "empty")]]
    fitting = max(1, min(len(axes), width // _LABEL - 1))
    axes = sorted(axes, key=lambda each: -of.importances.get(each.name, 0.0))[:fitting]
    best = of.best
    numbers = [trial.value for trial in done if trial.value is not None]
    metric = _Scale(min(numbers), max(numbers), logarithmic=False, choices=())
    scales = [_Scale.of(each.distribution) for each in axes]
    rows, columns = max(3, height - 3), width - 2
    at = [round(place * (columns - 1) / len(axes)) for place in range(len(axes) + 1)]
    grid = [[0] * columns for _ in range(rows)]
    roles = [[""] * columns for _ in range(rows)]
    front = chosen if chosen is not None else (best.number if best else None)
    for trial in sorted(done, key=lambda each: (each.number == front, best is not None and each.number == best.number)):
        role = "accent" if trial.number == front else "line2" if best and trial.number == best.number else "raw"
        heights = [scale.share(trial.parameters.get(each.name)) for each, scale in zip(axes, scales, strict=True)]
        heights.append(metric.share(trial.value))
        for place in range(len(axes)):
            _draw(grid, roles, (at[place], heights[place]), (at[place + 1], heights[place + 1]), role)
    made: list[Line] = [
        _labels(at, [(each.name, "dim") for each in axes] + [(of.measure.asked.rpartition("/")[2], "title")], width),
        _labels(at, [(scale.ends[1], "axis") for scale in (*scales, metric)], width),
    ]
    for y in range(rows):
        cells = [(chr(0x2800 + dots) if dots else " ", role) for dots, role in zip(grid[y], roles[y], strict=True)]
        for column in at:
            if not grid[y][column]:
                cells[column] = ("│", "faint")
        made.append(_joined(cells))
    made.append(_labels(at, [(scale.ends[0], "axis") for scale in (*scales, metric)], width))
    return made


class _Scale:
    """Where a value stands on its axis, as a share from its lower end."""

    def __init__(self, low: float, high: float, *, logarithmic: bool, choices: Sequence[Any]) -> None:
        self.low, self.high, self.logarithmic, self.choices = low, high, logarithmic and low > 0, choices

    @classmethod
    def of(cls, distribution: Any) -> _Scale:
        if distribution.values:
            return cls(0.0, 1.0, logarithmic=False, choices=distribution.values)
        bounds = distribution.bounds or (distribution.at(0.01), distribution.at(0.99))
        return cls(bounds[0], bounds[1], logarithmic=distribution.logarithmic, choices=())

    def share(self, found: Any) -> float:
        if self.choices:
            place = next((i for i, choice in enumerate(self.choices) if choice == found), 0)
            return place / max(1, len(self.choices) - 1)
        if not isinstance(found, int | float) or self.high <= self.low:
            return 0.5
        low, high, number = self.low, self.high, float(found)
        if self.logarithmic and number > 0:
            low, high, number = math.log(low), math.log(high), math.log(number)
        return min(1.0, max(0.0, (number - low) / (high - low)))

    @property
    def ends(self) -> tuple[str, str]:
        if self.choices:
            return parameter(self.choices[0]), parameter(self.choices[-1])
        return say.number(self.low), say.number(self.high)


def _draw(
    grid: list[list[int]], roles: list[list[str]], start: tuple[int, float], end: tuple[int, float], role: str
) -> None:
    """A straight line between two columns of cells, in dots of braille."""
    dots = 4 * len(grid)
    first, last = 2 * start[0], 2 * end[0] + 1
    before: int | None = None
    for x in range(first, last + 1):
        share = (x - first) / max(1, last - first)
        height = start[1] + (end[1] - start[1]) * share
        y = dots - 1 - round(height * (dots - 1))
        column = min(x // 2, len(grid[0]) - 1)
        # A steep line has more dots than one a column.
        step = 1 if before is None or y >= before else -1
        for dot in range(y if before is None else before + step * (before != y), y + step, step):
            grid[dot // 4][column] |= _DOTS[x % 2][dot % 4]
            roles[dot // 4][column] = role
        before = y


def _labels(at: Sequence[int], words: Sequence[Span], width: int) -> Line:
    """Words over the axes: the first from its axis on, the last up to it, the others around."""
    made: Line = []
    column = 0
    for place, (text, role) in enumerate(words):
        text = one_line(text, _LABEL - 1)
        size = cell_len(text)
        start = at[place] - (0 if place == 0 else size - 1 if place == len(words) - 1 else size // 2)
        start = max(column + (1 if place else 0), min(start, width - size))
        made += [(" " * (start - column), ""), (text, role)]
        column = start + size
    return made


def _joined(cells: Sequence[Span]) -> Line:
    """Neighbours of one role as one span."""
    made: Line = []
    for text, role in cells:
        if made and made[-1][1] == role:
            made[-1] = (made[-1][0] + text, role)
        else:
            made.append((text, role))
    return made
