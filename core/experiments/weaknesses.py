"""What an evaluation found to be weak, as input for the next round: benchmarks that lost most, lost comparisons.

For a person to read, and to collect data for. The prompts of lost comparisons are those of the test set: nothing here
hands them on to training, or the next evaluation would measure memory.
"""

from __future__ import annotations

from typing import Any

from core.evaluation.win_rate_results import NO_CATEGORY, read_figures
from core.store import Database, benchmarks, facts
from core.store.runs import Run
from core.text import one_line
from core.workspace import Workspace

# Categories told of.
SHOWN = 3


def weaknesses(db: Database, workspace: Workspace, evaluation: Run) -> tuple[dict[str, Any], ...]:
    """What is weak, the worst of a kind first; each {"kind", "name", "text"} and the figures that it is told from.

    Kinds: "regression" (a benchmark below a tenth less than the baseline's), "benchmark" (the one that kept least),
    "category" (of prompts on which more comparisons were lost than won), "comparisons" (where no categories are said).
    """
    return (*_benchmarks(db, evaluation), *_comparisons(workspace, evaluation))


def _benchmarks(db: Database, evaluation: Run) -> list[dict[str, Any]]:
    baseline = benchmarks.latest(db, "baseline")
    found: list[tuple[float, dict[str, Any]]] = []
    for result in benchmarks.of_run(db, evaluation.id):
        before = baseline.get(result.name)
        kept = result.value / before.value if before is not None and before.value else None
        was = f", {100 * before.value:.1f} % before DPO" if before is not None else ""
        told = {
            "kind": "benchmark", "name": result.name, "value": result.value, "n": result.n,
            "baseline": before.value if before is not None else None,
            "text": f"kept least of {one_line(result.name, 40)}: {100 * result.value:.1f} % of {result.n}{was}",
        }  # fmt: skip
        found.append((result.value if kept is None else kept, told))
    found.sort(key=lambda each: each[0])
    critical = facts.of_run(db, evaluation.id).get("eval.critical_regressions")
    named = critical.text or "" if critical is not None and critical.value else ""
    lost = [told for _, told in found if str(told["name"]) in named]
    for told in lost:
        told |= {"kind": "regression", "text": str(told["text"]).replace("kept least of", "critical regression of", 1)}
    return lost or [told for _, told in found[:1]]


def _comparisons(workspace: Workspace, evaluation: Run) -> list[dict[str, Any]]:
    figures = read_figures(workspace.path(evaluation.output_dir)) if evaluation.output_dir else None
    if figures is None or figures["unknown"] or not figures["n"]:
        return []
    losing = [
        (each["win_rate"], name, each)
        for name, each in figures["categories"].items()
        if name != NO_CATEGORY and each["losses"] > each["wins"]
    ]
    found = [
        {
            "kind": "category", "name": name, "value": each["win_rate"], "n": each["n"], "lost": each["losses"],
            "text": f"lost {each['losses']} of {each['n']} on {one_line(name, 40)}",
        }
        for _, name, each in sorted(losing)[:SHOWN]
    ]  # fmt: skip
    if found or not figures["losses"] or figures["categories"]:
        return found
    return [
        {
            "kind": "comparisons", "name": "", "value": figures["win_rate"], "n": figures["n"],
            "lost": figures["losses"], "text": f"lost {figures['losses']} of {figures['n']} comparisons",
        }
    ]  # fmt: skip
