"""Drawing trials with Optuna, whose study lies in the sweep's folder and is made right from runs.db.

Importing this module loads Optuna and SQLAlchemy. How Optuna's TPE learns (optuna 5.0, samplers/_tpe/sampler.py,
`_split_trials`): finished trials are put in order, complete ones by value, then pruned ones by how far they came and
their last value there (those without any at the end), then those that break a constraint by how far. The best tenth
is what new draws resemble, the rest what they keep away from. A trial told as FAIL is not looked at. So a trial that
ended without numbers or memory is told as pruned and as breaking a constraint, and one beyond the KL limit as complete
and breaking one.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from core.config.sweep_distributions import Distribution
from core.config.sweep_file import Parameter, SweepFile
from core.store.trials import BROKEN, Trial

# Draws of one trial before what is left is enumerated, or a repeated one accepted.
TRIES = 30
# Spaces of more combinations than this are not enumerated.
MOST_COMBINATIONS = 10_000
# Complete trials from which on importances are said, and how many of them count as good ones at least.
ENOUGH, GOOD = 6, 5
# Seconds that somebody who looks at the file may hold it.
_BUSY = 30.0
# How far a broken trial breaks its constraint: farther than any KL.
_BROKEN = 1e6
_NUMBER = "trial"
_NOT_TRIED = "not tried"

# Whether a trial may have these parameters: why not, or nothing.
Refuse = Callable[[dict[str, Any]], str]


class Study:
    """Optuna's study of one sweep.

    Args:
        path: its SQLite file; it is made, or made anew where it does not tell what runs.db does.
        trials: how many the sweep may have; a third of them, at least 4 and at most 10, are drawn before TPE learns.
        kl_limit: of the base configuration.
    """

    def __init__(self, path: Path, file: SweepFile, seed: int, trials: int, kl_limit: float) -> None:
        assert file.metric is not None
        self._file, self._seed, self._kl_limit = file, seed, kl_limit
        self._startup = min(10, max(4, trials // 3))
        self._direction = file.metric.goal
        self._space = {
            parameter.name: found
            for parameter in file.parameters
            if (found := spread(parameter.distribution)) is not None
        }
        self._path = path
        optuna.logging.disable_default_handler()
        self._storage = self._opened()
        self._study = self._made()

    def close(self) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _opened(self) -> RDBStorage:
        try:
            return self._storage_at()
        except Exception:
            # Cut off, or of another Optuna. It is made anew from runs.db.
            self._path.unlink()
            return self._storage_at()

    def _storage_at(self) -> RDBStorage:
        os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))
        # Not by its URL: a folder may have signs in its name that mean something there, to SQLAlchemy or to Optuna.
        connect = partial(sqlite3.connect, self._path, timeout=_BUSY)
        with _quiet():
            return RDBStorage("sqlite://", engine_kwargs={"creator": connect})

    def _made(self) -> optuna.Study:
        with _quiet():
            return optuna.create_study(
                study_name="sweep", storage=self._storage, direction=self._direction, load_if_exists=True
            )

    # What runs.db says

    def match(self, trials: Sequence[Trial]) -> bool:
        """Bring the study to what these trials are; returns whether it had to be made anew."""
        wanted = {trial.number: self._frozen(trial) for trial in trials}
        with _quiet():
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                end = wanted.get(trial.user_attrs.get(_NUMBER, 0))
                if end is not None and end.state != TrialState.RUNNING and end.params == trial.params:
                    self._tell(trial, end)
            there = [trial for trial in self._study.get_trials(deepcopy=False) if _NOT_TRIED not in trial.user_attrs]
            if [_told(trial) for trial in there] == [_told(trial) for trial in wanted.values()]:
                return False
            self._storage.delete_study(self._study._study_id)
            self._study = self._made()
            for trial in wanted.values():
                self._study.add_trial(trial)
            return True

    def _tell(self, trial: FrozenTrial, end: FrozenTrial) -> None:
        live = optuna.trial.Trial(self._study, trial._trial_id)
        for step, value in end.intermediate_values.items():
            if step not in trial.intermediate_values:
                live.report(value, step)
        for name, by in end.constraints.items():
            live.set_constraint(name, by)
        self._study.tell(live, end.value if end.state == TrialState.COMPLETE else None, state=end.state)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        """A trial as Optuna is to know it."""
        state, constraints = TrialState.RUNNING, {}
        if trial.state == "complete":
            state = TrialState.COMPLETE
            constraints = {} if trial.kl is None else {"kl": trial.kl - self._kl_limit}
        elif trial.state in BROKEN:
            state, constraints = TrialState.PRUNED, {"broken": _BROKEN}
        elif trial.state == "pruned" or (trial.state == "stopped" and trial.evaluations):
            state = TrialState.PRUNED
        elif trial.state == "stopped":
            state = TrialState.FAIL  # a person ended it before it said anything: nothing follows from it
        return create_trial(
            state=state,
            value=trial.value if state == TrialState.COMPLETE else None,
            params=trial.drawn,
            distributions=self._space,
            user_attrs={_NUMBER: trial.number},
            intermediate_values=dict(trial.evaluations) if state == TrialState.PRUNED else {},
            constraints=constraints,
        )

    # Drawing

    def draw(self, number: int, refuse: Refuse) -> dict[str, Any] | None:
        """What trial `number` gets, in Optuna's terms; None where nothing is left to try.

        The same trials before it give the same draw, whatever came between.

        Args:
            refuse: asked of the parameters; another draw is made where it says why not.
        """
        if self._file.method == "grid":
            left = self._left(refuse, shuffled=False)
            return self._take(number, left[0]) if left else None
        for attempt in range(TRIES):
            drawn = self._ask(number, attempt, refuse)
            if drawn is not None:
                return drawn
        left = self._left(refuse, shuffled=True)
        if left is None:  # without end, and what is drawn again and again is refused
            return None
        return self._take(number, left[0]) if left else None

    def _ask(self, number: int, attempt: int, refuse: Refuse) -> dict[str, Any] | None:
        with _quiet():
            self._study.sampler = self._sampler(number, attempt)
            trial = self._study.ask(self._space)
            why = refuse(self.parameters(trial.params))
            if not why:
                trial.set_user_attr(_NUMBER, number)
                return dict(trial.params)
            trial.set_user_attr(_NOT_TRIED, why)
            self._study.tell(trial, state=TrialState.FAIL)
            return None

    def _take(self, number: int, drawn: dict[str, Any]) -> dict[str, Any]:
        with _quiet():
            self._study.enqueue_trial(drawn)
            self._study.sampler = self._sampler(number, TRIES)
            trial = self._study.ask(self._space)
            trial.set_user_attr(_NUMBER, number)
            return dict(trial.params)

    def _sampler(self, number: int, attempt: int) -> BaseSampler:
        seed = random.Random(f"{self._seed} {number} {attempt}").getrandbits(32)
        if self._file.method == "bayes":
            return TPESampler(seed=seed, n_startup_trials=self._startup)
        return RandomSampler(seed=seed)

    def _left(self, refuse: Refuse, *, shuffled: bool) -> list[dict[str, Any]] | None:
        """Combinations that may be tried, in Optuna's terms: the first parameter changes last."""
        found = combinations(self._file.parameters)
        if found is None:
            return None
        left = [drawn for drawn in found if not refuse(self.parameters(drawn))]
        if shuffled:
            random.Random(self._seed).shuffle(left)
        return left

    def parameters(self, drawn: dict[str, Any]) -> dict[str, Any]:
        """What drawn numbers come to, constants among them."""
        return {
            parameter.name: meant(parameter.distribution, drawn.get(parameter.name))
            for parameter in self._file.parameters
        }

    def importances(self) -> dict[str, float]:
        """How much of the difference between good trials and all lies in each parameter; they add up to 1.

        By PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255), which needs no scikit-learn. Good are the best 5 trials
        or the best tenth, whichever are more, but at most half. Empty below 6 complete trials, and where all came to
        the same.
        """
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < ENOUGH or not self._space or len({trial.value for trial in complete}) == 1:
            return {}
        share = min(0.5, max(0.1, GOOD / len(complete)))
        with _quiet():
            found = get_param_importances(
                self._study, evaluator=PedAnovaImportanceEvaluator(target_quantile=share), params=list(self._space)
            )
        return {name: float(value) for name, value in found.items()}


def _told(trial: FrozenTrial) -> tuple[Any, ...]:
    """All that Optuna learns from."""
    value = trial.value if trial.state == TrialState.COMPLETE else None
    return (
        trial.user_attrs.get(_NUMBER), trial.state, trial.params, trial.distributions, value,
        trial.intermediate_values, trial.constraints,
    )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna warns of what it may change one day: nobody reads it here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def combinations(parameters: Sequence[Parameter]) -> list[dict[str, Any]] | None:
    """Every combination in Optuna's terms; None where they have no end, or are too many."""
    axes: list[tuple[str, list[Any]]] = []
    total = 1
    for parameter in parameters:
        of = parameter.distribution
        values = of.finite(MOST_COMBINATIONS)
        if values is None:
            return None
        if of.kind != "constant":
            axes.append((parameter.name, _drawable(of, values)))
            total *= len(axes[-1][1])
        if total > MOST_COMBINATIONS:
            return None
    names = [name for name, _ in axes]
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*(values for _, values in axes))]


def _drawable(of: Distribution, values: Sequence[Any]) -> list[Any]:
    """What Optuna has to draw for each of these values."""
    if of.kind == "categorical":
        return _choices(of)
    if of.kind == "categorical_w_probabilities":  # the middle of each value's stretch of quantiles
        ends = list(itertools.accumulate(of.probabilities))
        return [end - share / 2 for end, share in zip(ends, of.probabilities, strict=True) if share]
    if of.kind == "int_uniform" or of.bounds is None:
        return list(values)
    low, high = of.bounds
    return [float(min(max(value, low), high)) for value in values]


def spread(of: Distribution) -> BaseDistribution | None:
    """What Optuna draws from for a parameter; None for a constant.

    Uniform ones, on a linear or logarithmic scale, and choices are Optuna's own. Of the others, which Optuna has not,
    it draws the quantile: uniform in (0, 1), so that what is drawn is distributed as asked, and TPE learns which
    quantiles are good.
    """
    if of.kind == "constant":
        return None
    if of.kind == "categorical":
        return CategoricalDistribution(_choices(of))
    if of.kind == "int_uniform":
        return IntDistribution(int(of.min), int(of.max))
    if of.bounds is not None:
        low, high = of.bounds
        return FloatDistribution(float(low), float(high), log=of.logarithmic)
    return FloatDistribution(0.0, 1.0)


def meant(of: Distribution, drawn: Any) -> Any:
    """The value of a parameter that a drawn number, or choice, stands for."""
    if of.kind == "constant":
        return of.values[0]
    if of.kind == "categorical":
        choices = _choices(of)
        return of.values[next(i for i, c in enumerate(choices) if type(c) is type(drawn) and c == drawn)]
    return of.settled(drawn) if of.bounds is not None else of.at(drawn)


def _choices(of: Distribution) -> list[Any]:
    """Values as they are where they are all of one plain type; else as JSON."""
    kinds = {type(value) for value in of.values}
    if len(kinds) == 1 and kinds <= {bool, int, float, str}:
        return list(of.values)
    return [json.dumps(value) for value in of.values]
