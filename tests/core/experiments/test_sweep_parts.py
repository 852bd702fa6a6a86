"""What a sweep knows before and between its trials: metrics, bands, which trial is best, what Optuna is told."""

from __future__ import annotations

import random
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.config.document import parse
from core.config.sweep_file import Hyperband, Metric, SweepFile, sweep_of
from core.experiments.sweep_bands import bands, judge
from core.experiments.sweep_metric import Measure, doubts, measure_of, refuse_target
from core.experiments.sweep_standing import best_of
from core.store.trials import State, Trial

BAYES = """\
method: bayes
metric: {name: eval_loss, goal: minimize}
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-6, max: 1e-2}
  batch_size: {values: [2, 4, 8]}
"""


def trial(number: int, state: State = "complete", **columns: Any) -> Trial:
    fields: dict[str, Any] = {
        "drawn": {}, "parameters": {}, "keys": {}, "run": None, "value": None, "kl": 0.01, "reason": "",
        "evaluations": (), "losses": 0, "began": 0.0, "ended": 1.0,
    }  # fmt: skip
    return Trial("sweep-001", number, state, **{**fields, **columns})


# Metrics


@pytest.mark.parametrize(
    ("asked", "name", "source"),
    [
        ("eval_loss", "eval_loss", "evaluation"),
        ("eval/rewards/margins", "eval_rewards/margins", "evaluation"),
        ("validation/rewards/accuracies", "eval_rewards/accuracies", "evaluation"),
        ("val_loss", "eval_loss", "evaluation"),
        ("validation/kl_divergence", "kl_divergence", "evaluation"),
        ("train/loss", "loss", "training"),
        ("loss", "loss", "training"),
        ("dpo.preference_gap", "dpo.preference_gap", "fact"),
        ("validation/win_rate", "eval.win_rate", "afterwards"),
        ("win_rate", "eval.win_rate", "afterwards"),
    ],
)
def test_a_metric_is_found_by_its_names(asked: str, name: str, source: str) -> None:
    found = measure_of(asked)
    assert isinstance(found, Measure)
    assert (found.name, found.source) == (name, source)
    assert asked in found.words()


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("eval_los", "eval_loss"), ("val/margins", "eval_rewards/margins"), ("accuracies", "accuracies")],
)
def test_a_metric_that_nobody_logs_says_what_there_is(asked: str, meant: str) -> None:
    found = measure_of(asked)
    assert isinstance(found, str)
    assert found.startswith(f"no trial logs '{asked}': did you mean")
    assert meant in found
    assert "validation/win_rate" in found


def test_what_should_be_known_before_trials_are_compared() -> None:
    margins = measure_of("eval_rewards/margins")
    assert isinstance(margins, Measure)
    found = doubts(Metric("eval_rewards/margins", given=False), margins, ("training.beta",))
    assert "set goal: maximize" in found[0]
    assert "grows with training.beta by itself" in found[1]
    assert doubts(Metric("eval_rewards/margins", "maximize"), margins, ("adapter.rank",)) == []
    rate = measure_of("validation/win_rate")
    assert isinstance(rate, Measure)
    assert refuse_target(Metric("validation/win_rate", "maximize", 0.6), rate).endswith("write 60")


# Hyperband


def test_bands_are_w_and_b_s() -> None:
    assert bands(Hyperband(3, None, None, 3.0, False))[:4] == [3, 9, 27, 81]
    assert bands(Hyperband(None, 27, 2, 3.0, False)) == [3, 9]
    assert bands(Hyperband(None, 5, 2, 2.0, False)) == [1, 2]


def test_the_example_of_w_and_b_s_own_documentation() -> None:
    """`hyperband_stop_runs` in wandb/sweeps: of five runs with max_iter 5, eta 2 and s 2, b is to be stopped."""
    of = Hyperband(None, 5, 2, 2.0, False)
    others = {"a": [10, 9], "b": [10, 10], "c": [10, 8], "d": [10, 7], "e": [10, 6]}

    def verdict(name: str) -> str:
        return judge(of, "minimize", others[name], [values for other, values in others.items() if other != name])

    assert "only the best 50% of 5 trials" in verdict("b")
    assert verdict("a")
    assert [verdict(name) for name in "cde"] == ["", "", ""]


def test_the_first_trial_is_never_ended_and_the_best_so_far_counts() -> None:
    of = Hyperband(2, None, None, 3.0, False)
    assert judge(of, "maximize", [0.1, 0.0], []) == ""
    assert judge(of, "maximize", [0.5, 0.1], [[0.2, 0.4]]) == ""
    strict = Hyperband(2, None, None, 3.0, True)
    assert judge(strict, "maximize", [0.5, 0.1], [[0.2, 0.4]])
    assert judge(of, "maximize", [0.1], [[0.9]]) == "", "no band is there"


# The best


def test_the_best_is_within_the_kl_limit_where_one_is() -> None:
    found = [trial(1, value=0.9, kl=0.5), trial(2, value=0.4, kl=0.05), trial(3, value=0.6, kl=0.1)]
    metric = Metric("m", "maximize")
    best = best_of(found, metric, 0.1)
    assert best is not None
    assert best.number == 3
    beyond = best_of([*found[:1], trial(4, value=0.95, kl=0.4)], metric, 0.1)
    assert beyond is not None
    assert beyond.number == 4
    assert best_of([trial(1, "failed"), trial(2, "pruned", value=1.0)], metric, 0.1) is None
    first = best_of([trial(1, value=0.5), trial(2, value=0.5)], metric, 0.1)
    assert first is not None
    assert first.number == 1


# Optuna


@pytest.fixture
def file() -> SweepFile:
    return sweep_of(parse(BAYES, "sweep.yaml"))


def study(folder: Path, file: SweepFile, trials: int = 30, seed: int = 7) -> Any:
    from core.experiments.sweep_study import Study

    return Study(folder / "optuna.db", file, seed, trials, 0.1)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies that need no file: SQLite takes most of the time of a draw."""
    import optuna

    from core.experiments.sweep_study import Study

    monkeypatch.setattr(Study, "_opened", lambda self: optuna.storages.InMemoryStorage())
    monkeypatch.setattr(Study, "close", lambda self: None)


def conduct(of: Any, count: int, value: Any, found: list[Trial] | None = None, refuse: Any = None) -> list[Trial]:
    """Trials one after the other; `value` gives their state and value from the parameters."""
    found = list(found or [])
    for _ in range(count):
        before = list(found)
        drawn = of.draw(len(found) + 1, (lambda values, b=before: refuse(b, values)) if refuse else (lambda values: ""))
        if drawn is None:
            return found
        parameters = of.parameters(drawn)
        state, number = value(parameters)
        found.append(trial(len(found) + 1, state, drawn=drawn, parameters=parameters, value=number))
        of.match(found)
    return found


def by_rate(parameters: dict[str, Any]) -> tuple[State, float | None]:
    import math

    return "complete", (math.log10(parameters["learning_rate"]) + 4) ** 2


def test_draws_are_the_same_after_a_kill_at_any_moment(tmp_path: Path, file: SweepFile) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = study(tmp_path / "a", file)
    expected = conduct(whole, 5, by_rate)
    whole.close()
    other = study(tmp_path / "b", file)
    found = conduct(other, 3, by_rate)
    other.close()
    for number in range(4, 6):
        # One that was drawn and not written to runs.db is forgotten: the engine was killed between both.
        lost = study(tmp_path / "b", file)
        lost.match(found)
        lost.draw(number, lambda values: "")
        lost.close()
        again = study(tmp_path / "b", file)
        assert again.match(found)
        found = conduct(again, 1, by_rate, found)
        again.close()
    assert [each.drawn for each in found] == [each.drawn for each in expected]
    assert len({each.drawn["learning_rate"] for each in found}) == 5


def test_a_damaged_study_is_made_anew_and_private(tmp_path: Path, file: SweepFile) -> None:
    tmp_path = tmp_path / "100 % {mine}? #1"
    tmp_path.mkdir()
    first = study(tmp_path, file)
    found = conduct(first, 4, by_rate)
    first.close()
    path = tmp_path / "optuna.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"no database at all, and long enough to be taken for one" * 40)
    second = study(tmp_path, file)
    assert second.match(found)
    second.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM trials").fetchone() == (4,)


@pytest.mark.usefixtures("in_memory")
def test_tpe_goes_where_trials_were_good(tmp_path: Path, file: SweepFile) -> None:
    of = study(tmp_path, file)
    found = conduct(of, 30, by_rate)
    of.close()
    early, late = ([by_rate(each.parameters)[1] or 0.0 for each in part] for part in (found[:10], found[20:]))
    assert sum(late) / 10 < sum(early) / 10 / 2


@pytest.mark.usefixtures("in_memory")
def test_tpe_keeps_away_from_what_broke(tmp_path: Path, file: SweepFile) -> None:
    """Above 1e-5 every trial loses its numbers; the rest are equal."""

    def breaking(parameters: dict[str, Any]) -> tuple[State, float | None]:
        lost = parameters["learning_rate"] > 1e-5
        return ("failed", None) if lost else ("complete", 0.5)

    of = study(tmp_path, file, seed=8)
    found = conduct(of, 20, breaking)
    of.close()
    early, late = (sum(each.state == "failed" for each in part) for part in (found[:10], found[10:]))
    assert early >= 4
    assert late <= early / 2


def test_what_optuna_is_told_of_each_end(tmp_path: Path, file: SweepFile) -> None:
    import optuna

    of = study(tmp_path, file)
    ends: list[tuple[State, dict[str, Any]]] = [
        ("complete", {"value": 0.5, "kl": 0.05}),
        ("complete", {"value": 0.4, "kl": 0.3}),
        ("failed", {}),
        ("out of memory", {}),
        ("pruned", {"evaluations": ((10, 0.7), (20, 0.6))}),
        ("stopped", {"evaluations": ((10, 0.9),)}),
        ("stopped", {}),
        ("running", {"ended": None}),
    ]
    found: list[Trial] = []
    for number, (state, columns) in enumerate(ends, 1):
        drawn = of.draw(number, lambda values: "")
        found.append(trial(number, state, drawn=drawn, parameters=of.parameters(drawn), **columns))
        assert not of.match(found)
    told = of._study.get_trials()
    states = [each.state.name for each in told]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED", "PRUNED", "PRUNED", "FAIL", "RUNNING"]
    assert told[0].constraints["kl"] < 0 < told[1].constraints["kl"]
    assert told[2].constraints["broken"] > told[1].constraints["kl"]
    assert told[4].intermediate_values == {10: 0.7, 20: 0.6}
    # As this version of Optuna puts them in order for TPE: the best first.
    from optuna.samplers._tpe.sampler import _split_trials

    learned = [each for each in told if each.state not in (optuna.trial.TrialState.FAIL,)]
    order = []
    for count in range(1, 7):
        good, _ = _split_trials(of._study, learned, count)
        order += [each.number + 1 for each in good if each.number + 1 not in order]
    assert order == [1, 5, 6, 2, 3, 4]
    of.close()


@pytest.mark.usefixtures("in_memory")
def test_a_size_that_ran_out_of_memory_is_not_drawn_again(tmp_path: Path, file: SweepFile) -> None:
    def refuse(found: list[Trial], values: dict[str, Any]) -> str:
        return "8 ran out of memory" if found and values["batch_size"] == 8 else ""

    of = study(tmp_path, file)
    found = conduct(of, 12, by_rate, refuse=refuse)
    assert 8 not in [each.parameters["batch_size"] for each in found[1:]]
    assert len(found) == 12
    assert not of.match(found), "draws that were not tried are no trials"
    of.close()


@pytest.mark.usefixtures("in_memory")
def test_a_grid_tries_every_combination_once_and_ends(tmp_path: Path) -> None:
    text = "method: grid\nmetric: {name: eval_loss}\nparameters:\n  rank: {values: [4, 8]}\n  beta: {value: 0.2}\n"
    text += "  batch_size: {min: 1, max: 3}\n  alpha: {values: [8, [1, 2]]}\n"
    of = study(tmp_path, sweep_of(parse(text, "sweep.yaml")))

    def refuse(found: list[Trial], values: dict[str, Any]) -> str:
        return "tried" if any(each.parameters == values for each in found) else ""

    found = conduct(of, 99, lambda parameters: ("complete", random.Random(1).random()), refuse=refuse)
    tried = [(p["rank"], p["batch_size"], str(p["alpha"]), p["beta"]) for p in (each.parameters for each in found)]
    expected = [(r, b, a, 0.2) for r in (4, 8) for b in (1, 2, 3) for a in ("8", "[1, 2]")]
    assert tried == expected
    of.close()


@pytest.mark.usefixtures("in_memory")
def test_importances_say_what_made_the_difference(tmp_path: Path, file: SweepFile) -> None:
    of = study(tmp_path, file)
    found = conduct(of, 5, by_rate)
    assert of.importances() == {}
    conduct(of, 12, by_rate, found)
    shares = of.importances()
    assert shares["learning_rate"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    of.close()


@pytest.mark.parametrize(
    "text",
    [
        "{distribution: normal, mu: 0.2, sigma: 0.02}",
        "{distribution: q_log_normal, mu: 2, sigma: 0.5, q: 1}",
        "{distribution: log_uniform_values, min: 1e-6, max: 1e-2}",
        "{distribution: inv_log_uniform, min: 1, max: 4}",
        "{distribution: q_uniform, min: 0, max: 10, q: 2}",
        "{min: 1, max: 9}",
        "{distribution: beta, a: 2, b: 5}",
    ],
)
def test_what_optuna_draws_is_distributed_as_asked(tmp_path: Path, text: str) -> None:
    """The way through Optuna's own distributions, or through quantiles, gives the quantiles of the one asked for."""
    import numpy as np
    import optuna

    from core.experiments.sweep_study import meant, spread

    of = sweep_of(parse(f"method: random\nparameters: {{x: {text}}}", "s")).parameters[0].distribution
    asked = spread(of)
    assert asked is not None
    sampler = optuna.samplers.RandomSampler(seed=3)
    optuna.logging.disable_default_handler()
    plain = optuna.create_study(sampler=sampler)
    drawn = sorted(
        meant(of, sampler.sample_independent(plain, optuna.trial.create_trial(value=0.0), "x", asked))
        for _ in range(2000)
    )
    for u in (0.1, 0.5, 0.9):
        low, high = of.at(u - 0.04), of.at(u + 0.04)
        assert low <= float(np.quantile(drawn, u)) <= high


def test_neither_the_terminal_nor_an_engine_without_a_sweep_loads_optuna() -> None:
    code = (
        "import sys, dpotui.app, dpotui.cli, dpotui.screens.sweep, dpotui.commands.sweep, core.engine.jobs,"
        " core.experiments.sweep_standing, core.experiments.sweep_plan, core.experiments.sweep_promote;"
        " print([name for name in ('optuna', 'sqlalchemy', 'alembic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
