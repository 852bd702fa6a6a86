"""How the trials of a sweep stand: which is best, in which order, and how the best came about. Loads no Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.config.sweep import SweepConfig
from core.config.sweep_file import Metric, SweepFile
from core.experiments.sweep_metric import Measure, measure_of
from core.experiments.sweep_plan import MARGINS
from core.store import Database, runs, trials
from core.store.runs import Run
from core.store.trials import Trial


def trial_name(number: int) -> str:
    """Of the part that a trial is."""
    return f"trial {number}"


def evaluation_name(number: int) -> str:
    return f"trial {number} evaluation"


@dataclass(frozen=True, slots=True)
class Standing:
    """A sweep as it stands.

    Attributes:
        runs: of each trial that has one, by its number.
        importances: the largest first; empty before they are known.
    """

    sweep: Run
    config: SweepConfig
    file: SweepFile
    metric: Metric
    measure: Measure
    trials: tuple[Trial, ...]
    runs: dict[int, Run]
    importances: dict[str, float]

    @property
    def kl_limit(self) -> float:
        return self.config.base.constraints.kl_target

    def within(self, trial: Trial) -> bool:
        """Whether a trial keeps to the KL limit."""
        return trial.kl is not None and trial.kl <= self.kl_limit

    def state(self, trial: Trial) -> str:
        """How a trial stands; one that was on when the sweep ended waits for it to go on."""
        waits = trial.state == "running" and self.sweep.state not in (*runs.LIVE, "queued")
        return "interrupted" if waits else trial.state

    @property
    def best(self) -> Trial | None:
        return best_of(self.trials, self.metric, self.kl_limit)

    def ranked(self) -> list[Trial]:
        """The best first; what has no value after what has, the newest of them first."""
        sign = 1.0 if self.metric.goal == "minimize" else -1.0
        measured = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        others = [trial for trial in self.trials if trial not in measured]
        measured.sort(key=lambda trial: (not self.within(trial), sign * (trial.value or 0.0), trial.number))
        return measured + sorted(others, key=lambda trial: (trial.state != "running", -trial.number))

    def best_so_far(self) -> list[tuple[int, float, float | None]]:
        """Number and value of each trial that has one, and the best within the KL limit until then."""
        found, best = [], None
        for trial in self.trials:
            if trial.state != "complete" or trial.value is None:
                continue
            if self.within(trial) and (best is None or self.metric.better(trial.value, best)):
                best = trial.value
            found.append((trial.number, trial.value, best))
        return found


def best_of(found: Sequence[Trial], metric: Metric, kl_limit: float) -> Trial | None:
    """The best within the KL limit; where none is, the best of the others. The first of equals.

    As DPO picks its checkpoint: what drifted too far from its reference is taken only where there is nothing else.
    """
    best: Trial | None = None
    for trial in found:
        if trial.state != "complete" or trial.value is None:
            continue
        within = trial.kl is not None and trial.kl <= kl_limit
        if best is None:
            best = trial
            continue
        best_within = best.kl is not None and best.kl <= kl_limit
        assert best.value is not None
        if (within, within == best_within and metric.better(trial.value, best.value)) > (best_within, False):
            best = trial
    return best


def standing(db: Database, run: Run) -> Standing:
    """How a sweep stands.

    Args:
        run: of kind `sweep`.
    """
    config = SweepConfig.model_validate(run.config)
    file = config.asked
    metric = file.metric or MARGINS
    measure = measure_of(metric.name)
    assert isinstance(measure, Measure)
    numbers = {}
    for part in runs.parts(db, run.id):
        numbers[part.part] = part
    found = trials.of_sweep(db, run.id)
    of_trials = {trial.number: numbers[name] for trial in found if (name := trial_name(trial.number)) in numbers}
    return Standing(run, config, file, metric, measure, tuple(found), of_trials, trials.importances(db, run.id))


def as_document(of: Standing) -> dict[str, Any]:
    """A sweep as `sweep show --json` prints it."""
    best = of.best
    return {
        "id": of.sweep.id,
        "name": of.sweep.name,
        "state": of.sweep.state,
        "method": of.file.method,
        "metric": {
            "name": of.metric.name,
            "goal": of.metric.goal,
            "measures": of.measure.name,
            "unit": of.measure.unit,
        },
        "kl_limit": of.kl_limit,
        "step": of.sweep.step,
        "steps": of.sweep.steps,
        "best": None if best is None else best.number,
        "best_within_kl_limit": None if best is None else of.within(best),
        "importances": of.importances,
        "trials": [
            {
                "number": trial.number,
                "run": of.runs[trial.number].id if trial.number in of.runs else None,
                "state": of.state(trial),
                "value": trial.value,
                "kl": trial.kl,
                "within_kl_limit": of.within(trial) if trial.kl is not None else None,
                "parameters": trial.parameters,
                "keys": trial.keys,
                "evaluations": [list(each) for each in trial.evaluations],
                "seconds": seconds(trial),
                "reason": trial.reason,
            }
            for trial in of.trials
        ],
    }


def seconds(trial: Trial) -> float | None:
    return None if trial.ended is None else round(trial.ended - trial.began, 1)
