"""Win rate in the pane "Results": the figures, those of each category, and the ways to what lies behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from core.errors import UserError
from core.store import Database
from core.store.runs import Run
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui.results import Block
from dpotui.roles import Span
from dpotui.wrap import wrap

if TYPE_CHECKING:
    from dpotui.app import Workbench

# Categories that are shown; the file has all.
_CATEGORIES = 12
# Cells of the bar, of a rate from 0 to 100 %.
_BAR = 20


def read(db: Database, workspace: Workspace, run: Run | None) -> Block | None:
    """Of the run in hand.

    Raises:
        UserError: win_rate.json is not what the program wrote.
    """
    if run is None or run.output_dir is None:
        return None
    from core.evaluation.win_rate_results import read_figures

    figures = read_figures(workspace.path(run.output_dir))
    if figures is None:
        return None

    def lines(width: int) -> list[Sequence[Span]]:
        try:
            return _lines(figures, width)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            return [[("win_rate.json is not as this program writes it", "bad")]]

    return Block("Win rate", lines)


def _lines(figures: dict[str, Any], width: int) -> list[Sequence[Span]]:
    if figures["unknown"]:
        return [[(line, "warn")] for line in wrap(printable(str(figures["unknown"])), max(20, width))]
    if not figures["n"]:
        return [[("unknown: no comparison was decided", "warn")]]
    asked = figures["asked"]
    rows: list[Sequence[Span]] = [
        [(one_line(f"{asked['policy']} against {asked['baseline']}, {figures['judge']['by']}", width), "dim")],
        _rate("win rate", figures["win_rate"], figures["low"], figures["high"], width),
    ]
    controlled = figures["length_controlled"]
    if controlled["share"] is None:
        rows.append([("at equal length  ", ""), (one_line(f"unknown: {controlled['reason']}", width - 17), "dim")])
    else:
        rows.append(_rate("at equal length", controlled["share"], controlled["low"], controlled["high"], width))
    ties = f"{figures['ties']} tie{'' if figures['ties'] == 1 else 's'}"
    counts = f"{figures['wins']} won, {ties}, {figures['losses']} lost"
    rows.append([(one_line(f"{counts}; sign test p = {figures['p_value']:.3g}", width), "")])
    ours, theirs = figures["mean_characters"]
    rows.append([(one_line(f"mean length {ours:.0f} against {theirs:.0f} characters", width), "")])
    undecided = sum(figures["undecided"].values())
    if undecided:
        rows.append([(one_line(f"{undecided} of {figures['comparisons']} not decided and left out", width), "warn")])
    rows += [[(one_line(printable(line), width), "dim")] for line in figures["judge"].get("lines", ())]
    categories = list(figures["categories"].items())
    if categories:
        rows += [[], [("by category", "dim")]]
    for name, found in categories[:_CATEGORIES]:
        rows.append(
            _rate(one_line(name, 15), found["win_rate"], found["low"], found["high"], width, f" n {found['n']}")
        )
    if len(categories) > _CATEGORIES:
        rows.append([(f"and {len(categories) - _CATEGORIES} more", "dim")])
    rows += [[], [("l ", "key"), ("the lost comparisons", ""), ("   a ", "key"), ("vote on the answers", "")]]
    return rows


def _rate(name: str, share: float, low: float, high: float, width: int, beside: str = "") -> list[Span]:
    """A line with a bar in which the interval stands, and the middle is marked."""
    even = low <= 0.5 <= high
    spans: list[Span] = [(name + " " * (17 - cell_len(name)), ""), (f"{100 * share:5.1f} %", "title")]
    spans.append((f" [{100 * low:.1f}, {100 * high:.1f}]{beside}", "dim"))
    if even:
        spans.append(("  not different from 50 %", "warn"))
    if width - sum(cell_len(text) for text, _ in spans) > _BAR + 3:
        cells = ["─" if low * _BAR <= at + 0.5 <= high * _BAR else " " for at in range(_BAR)]
        cells[_BAR // 2] = "┼" if cells[_BAR // 2] == "─" else "│"
        cells[min(_BAR - 1, int(share * _BAR))] = "●"
        spans.append(("  " + "".join(cells), "bar"))
    return spans


async def open_lost(bench: Workbench, run: Run | None) -> None:
    """The comparisons that the policy lost, as pairs in Data."""
    from core.evaluation.win_rate_results import LOST, read_figures

    path = bench.workspace.path(f"{run.output_dir}/{LOST}") if run is not None and run.output_dir else None
    if path is not None and path.is_file():
        await bench.open_data(path)
        return
    try:
        figures = read_figures(path.parent) if path is not None else None
    except UserError as error:
        bench.say(str(error), "error")
        return
    if figures is None or not figures["n"]:
        bench.say("no win rate was measured here yet: g starts an evaluation", "warning")
    else:
        bench.say("no comparison was lost")


def vote(bench: Workbench, run: Run | None) -> None:
    """Blind votes on the answers of an evaluation."""
    from core.evaluation.win_rate_compared import ANSWERS
    from dpotui.screens.vote import VoteScreen, Voting

    path = bench.workspace.path(f"{run.output_dir}/{ANSWERS}") if run is not None and run.output_dir else None
    if path is None or not path.is_file():
        bench.say("there are no answers to vote on yet: g starts an evaluation", "warning")
        return
    bench.push_screen(VoteScreen(Voting(path)))
