"""A sweep in the pane "Results" of stage 5: its best trials, the best so far, what mattered, parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

from core.store import Database, runs
from core.store.runs import Run
from core.workspace import Workspace
from dpotui.results import Block
from dpotui.roles import Span

# Trials and rows that are shown here; the screen of trials has all of them.
_TRIALS, _CHART, _PARALLEL = 8, 7, 12


def of_sweep(run: Run | None) -> str | None:
    """The id of the sweep that a run is, or is a part of."""
    if run is None:
        return None
    if run.kind == "sweep":
        return run.id
    # Ids begin with their kind; runs.db need not be asked.
    return run.part_of if run.part_of is not None and run.part_of.startswith("sweep-") else None


def read(db: Database, workspace: Workspace, run: Run | None) -> Block | None:
    """Of the sweep in hand, or that the trial in hand belongs to."""
    name = of_sweep(run)
    if name is None:
        return None
    from core.experiments.sweep_standing import standing
    from dpotui import sweep_lines

    of = standing(db, runs.get(db, name))
    chosen = next((number for number, trial in of.runs.items() if run is not None and trial.id == run.id), None)

    def lines(width: int) -> list[Sequence[Span]]:
        made: list[Sequence[Span]] = [*sweep_lines.head(of, width)]
        made.append([("T ", "key"), ("all trials: open one, stop one, promote the best", "dim")])
        made += [[], *sweep_lines.table(of, width, _TRIALS)]
        made += [[], [("best so far", "dim")], *sweep_lines.best_so_far(of, width, _CHART)]
        made += [[], [("what made the difference (PED-ANOVA)", "dim")], *sweep_lines.importances(of, width)]
        made += [[], [("trials in parallel", "dim")], *sweep_lines.parallel(of, width, _PARALLEL, chosen)]
        return made

    return Block(f"Sweep {name}", lines)
