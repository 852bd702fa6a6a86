"""The newest runs, each read again only when its row changed, and the few facts that tell them apart."""

from __future__ import annotations

from collections.abc import Mapping

from core.store import Database, runs
from core.store import facts as fact_store
from core.store.facts import Fact
from core.store.runs import Run

# What tells runs of a kind apart, in the order in which it is said.
_KEY_FACTS = (
    ("dpo.kl_divergence", "kl"),
    ("dpo.preference_accuracy", "acc"),
    ("dpo.preference_gap", "gap"),
    ("reward.validation_accuracy", "acc"),
    ("sft.perplexity", "ppl"),
    ("data.pairs", "pairs"),
    ("data.preference_gap", "gap"),
    ("init.kl_divergence", "kl"),
)


class Recent:
    """Configurations are long: taking those of two hundred runs apart at every look is most of what a look costs."""

    def __init__(self, db: Database, count: int) -> None:
        self._db, self._count = db, count
        self._known: dict[str, tuple[tuple[object, ...], Run]] = {}
        self._told: dict[str, tuple[Run, str]] = {}

    def read(self) -> tuple[Run, ...]:
        """Newest first. A run that did not change is the same object as last time."""
        rows = self._db.execute(
            "SELECT id, * FROM runs ORDER BY created DESC, id DESC LIMIT ?", [self._count]
        ).fetchall()
        before, self._known = self._known, {}
        for row in rows:
            known = before.get(row[0])
            self._known[row[0]] = known if known and known[0] == row else (row, runs.get(self._db, row[0]))
        return tuple(run for _, run in self._known.values())

    def facts(self, found: tuple[Run, ...]) -> Mapping[str, str]:
        """What runs came to, by id. The facts of a run that ended do not change any more."""
        told = {}
        for run in found:
            known = self._told.get(run.id)
            if known is None or known[0] is not run or run.ended is None:
                measured = fact_store.of_run(self._db, run.id)
                known = (run, " ".join(_said(measured, *fact) for fact in _KEY_FACTS if fact[0] in measured))
            told[run.id] = known
        self._told = told
        return {run_id: words for run_id, (_, words) in told.items()}


def _said(facts: Mapping[str, Fact], name: str, label: str) -> str:
    value = facts[name].value
    return f"{label} {value:.4g}" if value is not None else f"{label} —"
