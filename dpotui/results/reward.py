"""What a reward model is worth, for stage 4: accuracy, calibration, histograms of rewards, the pairs it gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.errors import UserError
from core.evaluation.reward_summary import Calibration, Histogram, RewardSummary, Split, read_summary
from core.intervals import difference
from core.store import Database
from core.store.runs import Run
from core.text import one_line
from core.workspace import Workspace
from dpotui.results import Block
from dpotui.roles import Span
from dpotui.say import number, steps
from dpotui.wrap import wrap

if TYPE_CHECKING:
    from dpotui.app import Workbench

Line = list[Span]

_BARS = " ▁▂▃▄▅▆▇█"
_SHOWN = 8  # of the most wrong pairs
_WIDE = 150  # from here on charts are drawn large


def read(db: Database, workspace: Workspace, run: Run | None) -> Block | None:
    """
    Raises:
        UserError: the summary of the run cannot be understood.
    """
    if run is None or run.kind != "reward" or run.output_dir is None:
        return None
    found = read_summary(workspace.path(run.output_dir))
    if found is None:
        return None
    model = str((run.config.get("model") or {}).get("checkpoint", "checkpoints/reward_model"))
    return Block(f"Reward model of {run.id}", lambda width: [*lines(found, width), [], *_uses(model, width)])


async def open_wrong(bench: Workbench, run: Run | None) -> None:
    """Browse the validation file, narrowed to the pairs that the model of this run gets most wrong."""
    import asyncio

    from core.data.marking import mark_lines
    from dpotui.browse.narrowing import Narrowing

    workspace = bench.workspace
    try:
        found = read_summary(workspace.path(run.output_dir)) if run is not None and run.output_dir else None
        if found is None:
            bench.say("no reward model is measured here yet: g trains one", "warning")
            return
        held, path = found.validation, workspace.path(found.validation.file)
        if not held.worst:
            bench.say(f"it is right on all {held.pairs} pairs of {held.file}")
            return
        details = {pair.line: f"chosen {pair.chosen:.3f}, rejected {pair.rejected:.3f}" for pair in held.worst}
        known = await asyncio.to_thread(mark_lines, path, workspace.cache / "data", "reward_wrong", details)
        if known < len(details):
            bench.say(f"{held.file} changed since: {len(details) - known} of these lines hold no pair now", "warning")
    except UserError as error:
        bench.say(str(error), "error")
        return
    await bench.open_data(path, Narrowing(finding="reward_wrong"))


def lines(found: RewardSummary, width: int) -> list[Sequence[Span]]:
    """All of it, in rows of at most `width` cells."""
    large = width >= _WIDE
    bars = 60 if large or width < 72 else 30
    bars = min(bars, max(10, width - 8))
    made: list[Sequence[Span]] = [*_accuracy(found, width), *_calibration(found.validation.calibration, width), []]
    square = (48, 16) if large else (min(32, max(8, width - 5)), 10)
    reliability = _reliability(found.validation.calibration, *square)
    margins = [
        *_panel("margins of train, r_w - r_l", found.train.margins, bars, "line0"),
        [],
        *_panel("margins of validation", found.validation.margins, bars, "line0"),
    ]
    rewards = [[*_rewards("train", found.train, bars)], [*_rewards("validation", found.validation, bars)]]
    made += _arranged([reliability, margins], width)
    made.append([])
    made += _arranged(rewards, width)
    made.append([])
    made += _wrong(found.validation, width)
    return made


# Figures


def _accuracy(found: RewardSummary, width: int) -> list[Line]:
    train, held = found.train, found.validation
    low, high = difference(train.accuracy, (train.low, train.high), held.accuracy, (held.low, held.high))
    gap = 100 * (train.accuracy - held.accuracy)
    parts = [
        (f"train {100 * train.accuracy:.1f} %", f" [{100 * train.low:.1f}, {100 * train.high:.1f}] of {train.pairs}"),
        (f"validation {100 * held.accuracy:.1f} %", f" [{100 * held.low:.1f}, {100 * held.high:.1f}] of {held.pairs}"),
        (f"gap {gap:.1f} points", f" [{100 * low:.1f}, {100 * high:.1f}]"),
    ]
    made: list[Line] = [[("accuracy     ", "dim")]]
    for words, rest in parts:
        used = sum(len(text) for text, _ in made[-1])
        if used > 13 and used + len(words) + len(rest) + 3 > width:
            made.append([(" " * 13, "")])
        elif used > 13:
            made[-1].append(("   ", ""))
        made[-1] += [(words, ""), (rest, "dim")]
    return made


def _calibration(found: Calibration, width: int) -> list[Line]:
    sentence = (
        f"error {found.ece:.3f} [{found.low:.3f}, {found.high:.3f}] over {len(found.curve)} bins of {found.n} pairs;"
        f" a calibrated model shows {found.chance:.3f}. Brier {found.brier:.3f} (a coin: 0.250)."
    )
    if found.temperature is None or found.cooled_ece is None:
        sentence += f" No temperature: {found.why}."
    else:
        low, high = (found.temperature_low, found.temperature_high)
        span = f" [{'0' if low is None else f'{low:.2f}'}, {'∞' if high is None else f'{high:.2f}'}]"
        word = "fits its margins"
        if low is not None and low > 1:
            word = "says: too sure of itself"
        elif high is not None and high < 1:
            word = "says: not sure enough of itself"
        sentence += f" Temperature {found.temperature:.2f}{span} {word}; it would leave {found.cooled_ece:.3f}."
    rows = wrap(sentence, width - 13)
    return [[("calibration  " if not y else " " * 13, "dim"), (row, "")] for y, row in enumerate(rows)]


def _wrong(held: Split, width: int) -> list[Line]:
    made: list[Line] = [
        [(f"most wrong of {one_line(held.file, max(10, width - 40))}: ", "title"), (f"{held.wrong} pairs", "")]
    ]
    if not held.worst:
        return made
    made[0] += [("   W ", "key"), ("in Data", "dim")]
    for pair in held.worst[:_SHOWN]:
        margin = pair.chosen - pair.rejected
        row = f"line {pair.line:<7} margin {margin:7.3f}  chosen {pair.chosen:7.3f}  rejected {pair.rejected:7.3f}"
        made.append([("  ", ""), (one_line(row, width - 2), "")])
    return made


def _uses(model: str, width: int) -> list[Line]:
    """What else a reward model does."""
    model = one_line(model, 40)
    told = (
        ("filters pairs", f"F, or dpotui data filter FILE --reward {model}"),
        ("measures gaps", f"dpotui data gap FILE --reward {model}"),
        ("judges", f"kind: reward, model: {model} in configs/judge_config.yaml"),
    )
    return [[(f"{what:<15}", "dim"), (one_line(how, max(10, width - 15)), "")] for what, how in told]


# Charts


def _reliability(found: Calibration, width: int, height: int) -> list[Line]:
    """Observed share over predicted probability; calibrated is the dotted diagonal, a bar is a bin's interval."""
    cells = [[(" ", "")] * width for _ in range(height)]

    def at(x: float, y: float) -> tuple[int, int]:
        return min(width - 1, max(0, round(x * (width - 1)))), min(height - 1, max(0, round((1 - y) * (height - 1))))

    for column in range(width):
        x, y = at(column / (width - 1), column / (width - 1))
        cells[y][x] = ("·", "faint")
    for part in found.curve:
        x, top = at(part.predicted, part.high)
        _, bottom = at(part.predicted, part.low)
        for y in range(top, bottom + 1):
            cells[y][x] = ("│", "line0")
    for part in found.curve:
        x, y = at(part.predicted, part.observed)
        cells[y][x] = ("o", "line1")
    made: list[Line] = [[("reliability, validation: is it so?", "title")]]
    labels = {0: "1 ┤", (height - 1) // 2: ".5┤", height - 1: "0 ┤"}
    made += [[(labels.get(y, "  │"), "axis"), *row] for y, row in enumerate(cells)]
    half = width // 2
    made.append([("  └" + "─" * width, "axis")])
    made.append([("   0" + ".5".rjust(half - 1) + "1".rjust(width - half), "axis")])
    made.append([("   predicted, · calibrated, o found", "dim")])
    return made


def _rewards(name: str, split: Split, bars: int) -> list[Line]:
    """Rewards of both responses on one axis."""
    most = max(max(_joined(split.chosen, bars)), max(_joined(split.rejected, bars)), 1)
    made: list[Line] = [[(f"rewards of {name}, chosen", "title")], *_columns(split.chosen, bars, most, "line2")]
    made.append([("rejected", "title")])
    made += _columns(split.rejected, bars, most, "line3")
    made.append(_axis(split.chosen, bars))
    return made


def _panel(title: str, of: Histogram, bars: int, role: str) -> list[Line]:
    most = max(max(_joined(of, bars)), 1)
    below = min(bars, max(0, round(-of.low / ((of.high - of.low) or 1.0) * bars)))
    return [[(title, "title")], *_columns(of, bars, most, role, below), _axis(of, bars)]


def _joined(of: Histogram, bars: int) -> list[int]:
    """As many columns as there is room for: neighbours are added up."""
    found = [0] * bars
    for i, count in enumerate(of.counts):
        found[i * bars // len(of.counts)] += count
    return found


def _columns(of: Histogram, bars: int, most: int, role: str, below: int = 0, height: int = 3) -> list[Line]:
    """Bars of `height` rows; the first `below` of them are painted as what is wrong."""
    counts = _joined(of, bars)
    levels = [-(-count * height * 8 // most) for count in counts]
    made: list[Line] = []
    for y in range(height):
        under = (height - 1 - y) * 8
        row = "".join(_BARS[min(8, max(0, level - under))] for level in levels)
        label = f"{steps(most) if most < 1e5 else number(most):>5}┤" if not y else "     │"
        made.append([(label, "axis"), (row[:below], "bad"), (row[below:], role)])
    return made


def _axis(of: Histogram, bars: int) -> Line:
    """The ends, and where 0 is."""
    row = list(f"{of.low:.2f}".ljust(bars))
    high = f"{of.high:.2f}"
    row[bars - len(high) :] = high
    if of.low < 0 < of.high:
        zero = int(-of.low / (of.high - of.low) * bars)
        if all(character == " " for character in row[max(0, zero - 1) : zero + 2]):
            row[zero] = "0"
    return [("      " + "".join(row), "axis")]


def _arranged(panels: Sequence[Sequence[Line]], width: int) -> list[Line]:
    """Side by side where there is room, else one under the other."""
    widths = [max(sum(len(text) for text, _ in line) for line in panel if line) for panel in panels]
    if sum(widths) + 3 * (len(panels) - 1) > width:
        made: list[Line] = []
        for number, panel in enumerate(panels):
            made += [[], *panel] if number else panel
        return made
    made = []
    for y in range(max(len(panel) for panel in panels)):
        line: Line = []
        for panel, wide in zip(panels, widths, strict=True):
            if line:
                line.append(("   ", ""))
            part = panel[y] if y < len(panel) else []
            line += [*part, (" " * (wide - sum(len(text) for text, _ in part)), "")]
        made.append(line)
    return made
