"""The chain of runs that led to the final model: SFT, reward model, DPO, evaluations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.runs.lineage import writer
from core.store import runs
from core.store.runs import Kind, Run

if TYPE_CHECKING:
    from core.report.sources import Sources


@dataclass(frozen=True, slots=True)
class Chain:
    sft: Run | None
    reward: Run | None
    dpo: Run | None
    baseline: Run | None  # its evaluation
    final: Run | None  # its evaluation
    checks: tuple[Run, ...]  # the newest of the data and of the initialization

    @property
    def runs(self) -> tuple[Run, ...]:
        """In the order of the workflow."""
        every = (self.sft, self.baseline, *self.checks, self.reward, self.dpo, self.final)
        return tuple(run for run in every if run is not None)

    @property
    def training(self) -> tuple[Run, ...]:
        return tuple(run for run in (self.sft, self.reward, self.dpo) if run is not None)

    @property
    def base(self) -> str | None:
        """What SFT began from."""
        return setting(self.sft, "model", "base_model") or setting(self.dpo, "model", "base_model")

    @property
    def baseline_model(self) -> str | None:
        return setting(self.final or self.baseline, "model", "baseline") or setting(self.dpo, "model", "policy_model")

    @property
    def final_model(self) -> str | None:
        return setting(self.final, "model", "final") or (self.dpo.output_dir if self.dpo else None)


def chain(sources: Sources) -> Chain:
    """Begins at the newest evaluation of a final model and follows what it names; else at the newest runs.

    Trials of sweeps and rounds that were rolled back are passed over: they led to no model that stands.
    """
    baseline, final = _evaluation(sources, "baseline"), _evaluation(sources, "final")
    dpo = _writer(sources, setting(final, "model", "final"), "dpo", final) or _newest(sources, "dpo")
    start = setting(dpo, "model", "reference_model") or setting(final, "model", "baseline")
    checks = (_newest(sources, "data_check"), _newest(sources, "init_check"))
    return Chain(
        sft=_writer(sources, start, "sft") or _newest(sources, "sft"),
        reward=_newest(sources, "reward"),
        dpo=dpo,
        baseline=baseline,
        final=final,
        checks=tuple(run for run in checks if run is not None),
    )


def setting(run: Run | None, section: str, key: str) -> str | None:
    """A text of a run's configuration; None where it has none."""
    found: Any = run.config.get(section) if run is not None else None
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else None


def _newest(sources: Sources, kind: Kind) -> Run | None:
    """The newest finished run of a kind, else the newest."""
    for states in (("finished",), ()):
        found = next((run for run in runs.listing(sources.db, kind=kind, states=states) if sources.stands(run)), None)
        if found is not None:
            return found
    return None


def _evaluation(sources: Sources, subject: str) -> Run | None:
    # Of an evaluation that says nothing of it the subject is the final model.
    sql = (
        "SELECT id FROM runs WHERE kind = 'evaluate'"
        " AND coalesce(json_extract(config, '$.evaluation.subject'), 'final') = ?"
        " ORDER BY state = 'finished' DESC, created DESC, id DESC"
    )
    every = (sources.run(row[0]) for row in sources.db.execute(sql, [subject]))
    return next((run for run in every if sources.stands(run)), None)


def _writer(sources: Sources, path: str | None, kind: Kind, reader: Run | None = None) -> Run | None:
    """The newest run of a kind that wrote a model there; before another run read it, where that is given."""
    if path is None:
        return None
    latest = math.inf if reader is None else reader.started or reader.created
    found = writer(sources.db, path, kind=kind, before=latest)
    return sources.run(found) if found else None
