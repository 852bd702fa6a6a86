"""What a report is made from: the records of runs.db and the files of a workspace, each read once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import get_args

from core import checklist, gates
from core.checklist import Item, ItemState
from core.data.lineage import Node, lineage
from core.errors import UserError
from core.evaluation.ratings.scores import Summary as Marks
from core.gates import GateResult
from core.report.clean import Cleaner
from core.report.document import Bin
from core.store import Database, benchmarks, decisions, facts, files, iterations, metrics, runs
from core.store.benchmarks import Result, Subject
from core.store.decisions import Decision
from core.store.facts import Fact
from core.store.metrics import Summary
from core.store.runs import Run
from core.workspace import Workspace

# What a report says of itself is not in it: its own hash cannot stand in it, and writing it once more must give the
# same bytes.
SELF = "eval.report"
BINS = 160  # ranges of a curve


class Records:
    """Reads runs.db and the files of a workspace once; what it says of them is of one moment."""

    def __init__(self, db: Database, workspace: Workspace) -> None:
        self.db = db
        self.workspace = workspace
        self.clean = Cleaner(workspace)
        self._runs: dict[str, Run] = {}
        self._summaries: dict[str, dict[str, Summary]] = {}
        self._curves: dict[tuple[str, str], tuple[Bin, ...]] = {}
        self._stale: dict[tuple[tuple[str, str], ...], str] = {}
        self._hashes: dict[str, str | None] = {}
        self._lineages: dict[str, list[Node]] = {}
        self.summaries_of_marks: dict[str, Marks | None] = {}

    @cached_property
    def facts(self) -> dict[str, Fact]:
        return {name: fact for name, fact in facts.latest(self.db).items() if name != SELF}

    @cached_property
    def gates(self) -> dict[tuple[int, str], GateResult]:
        return {(result.gate.stage, result.gate.name): result for result in gates.evaluate(self.db, self.workspace)}

    @cached_property
    def roots(self) -> list[Item]:
        return checklist.load_tree(self.workspace)

    @cached_property
    def items(self) -> dict[str, Item]:
        return {item.id: item for item in self.leaves(self.roots)}

    @cached_property
    def states(self) -> dict[str, ItemState]:
        return checklist.states(self.db, self.workspace, self.roots)

    @cached_property
    def decision(self) -> Decision | None:
        return decisions.latest(self.db)

    @cached_property
    def reports(self) -> set[str]:
        """Files that reports were written to, which are no evidence within one."""
        return {path for fact in facts.history(self.db, SELF) for path in fact.inputs}

    def results(self, subject: Subject) -> dict[str, Result]:
        return self._results[subject]

    @cached_property
    def _results(self) -> dict[str, dict[str, Result]]:
        return {subject: benchmarks.latest(self.db, subject) for subject in get_args(Subject)}

    @staticmethod
    def leaves(roots: list[Item]) -> Iterator[Item]:
        """The items that can be ticked, without the one that this report ticks."""
        return (item for root in roots for item in root.walk() if item.leaf and item.id != SELF)

    def run(self, run_id: str) -> Run:
        if run_id not in self._runs:
            self._runs[run_id] = runs.get(self.db, run_id)
        return self._runs[run_id]

    def is_trial(self, run: Run) -> bool:
        """Whether a run is one of a sweep, which tried something out."""
        return run.part_of is not None and self.run(run.part_of).kind == "sweep"

    def stands(self, run: Run) -> bool:
        """Whether what a run made and measured is the workspace's: neither tried out nor rolled back."""
        return run.id not in self._left and not self.is_trial(run)

    @cached_property
    def _left(self) -> frozenset[str]:
        return iterations.left(self.db)

    def summary(self, run_id: str) -> dict[str, Summary]:
        if run_id not in self._summaries:
            self._summaries[run_id] = metrics.summary(self.db, run_id)
        return self._summaries[run_id]

    def bins(self, run_id: str, name: str) -> tuple[Bin, ...]:
        key = (run_id, name)
        if key not in self._curves:
            end = self.summary(run_id)[name].last_step
            # The last range is as wide as the others, and may end behind the last step.
            found = (Bin(*each) for each in metrics.decimated(self.db, run_id, name, BINS))
            self._curves[key] = tuple(replace(each, last=min(each.last, end)) for each in found)
        return self._curves[key]

    def lineage(self, path: str) -> list[Node]:
        """The lineage of a file of data; empty where it has none."""
        if path not in self._lineages:
            try:
                self._lineages[path] = lineage(self.workspace.path(path), self._digest)
            except UserError:
                self._lineages[path] = []
        return self._lineages[path]

    def _digest(self, path: Path) -> str | None:
        return self.hash(self.workspace.relative(path))

    def hash(self, path: str) -> str | None:
        """The hash of a file or model folder as it lies there now."""
        if path not in self._hashes:
            try:
                self._hashes[path] = files.sha256(self.db, self.workspace, path)
            except (UserError, OSError, ValueError):
                self._hashes[path] = None
        return self._hashes[path]

    def stale(self, fact: Fact) -> str:
        key = tuple(sorted(fact.inputs.items()))
        if key not in self._stale:
            try:
                self._stale[key] = self.clean(files.stale_reason(self.db, self.workspace, fact) or "")
            except (UserError, OSError, ValueError) as error:
                self._stale[key] = self.clean(error)
        return self._stale[key]
