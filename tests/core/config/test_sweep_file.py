"""W&B's sweep file: read as it is, and every error of it told at once with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config.sweep_file import SweepFile, read_sweep
from core.config.sweep_keys import applied, key_of, set_keys, warmup_steps
from core.demo import data as _demo
from core.errors import UserError
from core.workspace import templates

SPEC = """\
program: train_dpo.py
method: bayes
metric:
  name: validation/win_rate
  goal: maximize
parameters:
  learning_rate:
    distribution: log_uniform_values
    min: 1e-7
    max: 1e-5
  beta:
    distribution: uniform
    min: 0.05
    max: 0.3
  batch_size:
    values: [2, 4, 8]
  warmup_ratio:
    distribution: uniform
    min: 0.05
    max: 0.15
"""


def read(folder: Path, text: str) -> SweepFile:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return read_sweep(path)


def errors(folder: Path, text: str) -> list[str]:
    with pytest.raises(UserError) as raised:
        read(folder, text)
    return str(raised.value).replace(f"{folder}/", "").splitlines()


def test_the_workflow_s_own_file_is_read_as_it_is(tmp_path: Path) -> None:
    found = read(tmp_path, SPEC)
    assert (found.method, found.metric.name, found.metric.goal) == ("bayes", "validation/win_rate", "maximize")
    assert [(each.name, each.distribution.words()) for each in found.parameters] == [
        ("learning_rate", "1e-07 to 1e-05 (log_uniform_values)"),
        ("beta", "0.05 to 0.3 (uniform)"),
        ("batch_size", "one of 2, 4, 8"),
        ("warmup_ratio", "0.05 to 0.15 (uniform)"),
    ]
    assert found.ignored == ("program is ignored: trials are DPO runs of this program",)
    assert (found.run_cap, found.hyperband) == (None, None)


def test_the_template_and_the_demo_s_say_the_same_of_their_form(tmp_path: Path) -> None:
    template = read_sweep(templates() / "sweep_config.yaml")
    spec = read(tmp_path, SPEC)
    assert [(e.name, e.distribution) for e in template.parameters] == [
        (e.name, e.distribution) for e in spec.parameters
    ]
    assert template.metric == spec.metric
    demo = read_sweep(Path(_demo.__file__).parent / "sweep_config.yaml")
    assert demo.run_cap == 12


def test_what_w_and_b_takes_where_no_distribution_is_named(tmp_path: Path) -> None:
    text = """\
method: random
parameters:
  a: {min: 1, max: 8}
  b: {min: 1.0, max: 8.0}
  c: {values: [1, 2]}
  d: {values: [1, 2], probabilities: [0.25, 0.75]}
  e: {value: 3}
  f: {min: 1, max: 8.0}
  training:
    parameters:
      beta: {min: 1e-3, max: 1}
"""
    found = read(tmp_path, text)
    assert {each.name: each.distribution.kind for each in found.parameters} == {
        "a": "int_uniform", "b": "uniform", "c": "categorical", "d": "categorical_w_probabilities", "e": "constant",
        "f": "uniform", "training.beta": "uniform",
    }  # fmt: skip


def test_hyperband_and_the_rest_of_the_schema(tmp_path: Path) -> None:
    text = """\
name: nightly
description: words
project: p
entity: e
command: ["${program}"]
run_cap: 30
method: random
metric: {name: eval_loss, target: 0.2}
early_terminate: {type: hyperband, max_iter: 27, s: 2}
parameters:
  beta: {distribution: normal, mu: 0.2, sigma: 0.02}
"""
    found = read(tmp_path, text)
    assert (found.name, found.run_cap, found.metric.goal, found.metric.target) == ("nightly", 30, "minimize", 0.2)
    assert not found.metric.given
    assert (found.hyperband.max_iter, found.hyperband.s, found.hyperband.eta) == (27, 2, 3.0)
    assert not found.hyperband.strict
    assert len(found.ignored) == 4


def test_every_error_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
metod: bayes
method: baies
metric: {nane: x, goal: up}
run_cap: 0
parameters:
  learning_rate:
    distribution: log_uniform_value
    min: 1e-7
  beta: {min: 0.3, max: 0.05}
  rank: {values: []}
  alpha: {distribution: uniform, min: a, max: 2, q: 1}
  dropout: {distribution: log_uniform_values, min: 0, max: 1}
  num_layers: {values: [1, 2], probabilities: [0.5, 0.6]}
  seed: 3
  weight_decay: {}
early_terminate: {type: median, max_iter: 3, eta: 1}
"""
    assert errors(tmp_path, text) == [
        "sweep.yaml:1: metod: is no key of a sweep file: did you mean method?",
        "sweep.yaml:2: method: must be bayes, random or grid, not 'baies'",
        "sweep.yaml:3: metric.nane: is unknown here: did you mean name?",
        "sweep.yaml:3: metric.name: must be the name of a metric, not nothing",
        "sweep.yaml:3: metric.goal: must be minimize or maximize, not 'up'",
        "sweep.yaml:4: run_cap: must be a whole number ≥ 1, not '0'",
        "sweep.yaml:7: parameters.learning_rate.distribution: 'log_uniform_value' is none: did you mean"
        " log_uniform_values?",
        "sweep.yaml:9: parameters.beta.min: 0.3 is above max 0.05: swap them",
        "sweep.yaml:10: parameters.rank.values: must be a list of values, not a list",
        "sweep.yaml:11: parameters.alpha.q: has no meaning for uniform, which takes min, max",
        "sweep.yaml:11: parameters.alpha.min: must be a number, not 'a'",
        "sweep.yaml:12: parameters.dropout.min: must be > 0, because log_uniform_values takes its logarithm, not 0",
        "sweep.yaml:13: parameters.num_layers.probabilities: add up to 1.1, not to 1",
        "sweep.yaml:14: parameters.seed: must be a section with keys (value, values, probabilities, distribution, min,"
        " max, q, mu, sigma, a, b, parameters), not '3'",
        "sweep.yaml:15: parameters.weight_decay: says nothing to draw from: give value, values, or min and max",
        "sweep.yaml:16: early_terminate.type: must be hyperband, the only one there is, not 'median'",
        "sweep.yaml:16: early_terminate.s: is missing: max_iter needs the number of bands",
        "sweep.yaml:16: early_terminate.eta: must be a number > 1, not 1",
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("method: grid\nparameters: {beta: {min: 0.1, max: 0.2}}", "has no end of values (uniform), and grid tries"),
        ("method: bayes\nparameters: {beta: {min: 0.1, max: 0.2}}", "metric: is missing: bayes learns from it"),
        ("method: random\nparameters: {}", "must be a section with a name for each parameter"),
        ("method: random\nmetrics: [{name: a}]\nparameters: {beta: {value: 1}}", "several metrics at once"),
        ("method: random\nparameters: {beta: {distribution: log_uniform, min: 0, max: 1000}}", "log_uniform_values"),
        ("method: random\nparameters: {beta: {min: .inf, max: 1}}", "must be a number, not 'inf'"),
        ("method: random\nrun_cap: .inf\nparameters: {beta: {value: 1}}", "run_cap: must be a whole number"),
        ("- a\n", "sections with keys are expected"),
        ("method: random\nparameters: {beta: {value: 1, parameters: {a: {value: 1}}}}", "nothing beside them"),
    ],
)
def test_what_makes_no_sweep(tmp_path: Path, text: str, word: str) -> None:
    assert word in "\n".join(errors(tmp_path, text))


# Parameters and keys


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("training.beta", "training.beta"),
        ("learning_rate", "training.learning_rate"),
        ("batch_size", "training.batch_size"),
        ("rank", "adapter.rank"),
        ("lora_r", "adapter.rank"),
        ("lr", "training.learning_rate"),
        ("per_device_train_batch_size", "training.batch_size"),
        ("lr_scheduler_type", "optimization.lr_scheduler"),
        ("warmup_ratio", "warmup_ratio"),
        ("training.warmup_ratio", "warmup_ratio"),
        ("kl_guard.action", "kl_guard.action"),
    ],
)
def test_a_parameter_is_a_key(name: str, key: str) -> None:
    assert key_of(tuple(name.split("."))) == (key, "")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("betta", "did you mean training.beta?"),
        ("learning_rte", "did you mean training.learning_rate?"),
        ("num_train_epochs", "training.max_steps counts optimizer steps"),
        ("output_dir", "every trial has a folder and a name of its own"),
        ("kl_target", "limits judge the trials"),
        ("validation_file", "compared on the same validation pairs"),
        ("xyz", "'dpotui config explain dpo' lists them"),
    ],
)
def test_a_name_that_is_no_key_says_what_is(name: str, word: str) -> None:
    key, why = key_of((name,))
    assert key == ""
    assert word in why


def test_warmup_ratio_becomes_steps_of_the_trial_s_own_length() -> None:
    base = {"training": {"max_steps": 1000, "warmup_steps": 5, "beta": 0.1}}
    assert set_keys(base, {"warmup_ratio": 0.1, "training.max_steps": 200}) == {
        "training.warmup_steps": 20, "training.max_steps": 200,
    }  # fmt: skip
    assert applied(base, {"training.beta": 0.3})["training"] == {"max_steps": 1000, "warmup_steps": 5, "beta": 0.3}
    assert base["training"]["beta"] == 0.1
    assert [warmup_steps(ratio, 3) for ratio in (0.0, 0.2, 0.99)] == [0, 1, 2]
