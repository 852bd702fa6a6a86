from __future__ import annotations

import math
from pathlib import Path

import pytest

from core.store import Database, commands, gradients, open_store, runs, samples
from core.store.samples import Sample


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return open_store(tmp_path / "runs.db", create=True)


def _sample(run: str, step: int, line: int, text: str, model: samples.Model = "policy") -> Sample:
    return Sample(run, step, model, line, f"prompt {line}", text, "stop", len(text))


def test_samples_by_step(db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    samples.record(db, [_sample(run, 0, 1, "r", "reference"), _sample(run, 0, 2, "s", "reference")])
    samples.record(db, [_sample(run, 20, 2, "b"), _sample(run, 20, 1, "a"), _sample(run, 40, 1, "c")])
    assert samples.steps(db, run) == [20, 40]
    assert [(s.line, s.text) for s in samples.at(db, run, 20)] == [(1, "a"), (2, "b")]
    assert [s.text for s in samples.reference(db, run)] == ["r", "s"]
    assert samples.at(db, run, 30) == []


def test_a_step_that_is_computed_again_replaces_its_samples(db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    samples.record(db, [_sample(run, 20, 1, "old")])
    samples.record(db, [_sample(run, 20, 1, "new \ud800")])
    (found,) = samples.at(db, run, 20)
    assert found.text.startswith("new ")
    assert found.time > 0


def test_gradient_norms_keep_the_order_of_the_model(db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    assert gradients.at(db, run, 5) is None
    gradients.record(db, run, 5, {"layers.10.q": 0.5, "layers.2.q": math.inf})
    found = gradients.at(db, run, 5)
    assert found is not None
    assert list(found.modules) == ["layers.10.q", "layers.2.q"]
    assert found.modules["layers.10.q"] == 0.5
    assert math.isnan(found.modules["layers.2.q"])
    assert gradients.steps(db, run) == [5]


def test_gradients_can_be_asked_of_a_run(db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    runs.update(db, run, state="running")
    commands.send(db, run, "gradients", "ana")
    assert [command.verb for command in commands.pending(db, run)] == ["gradients"]
    runs.update(db, run, tags=("good", "kept"), archived=5.0)
    assert (runs.get(db, run).tags, runs.get(db, run).archived) == (("good", "kept"), 5.0)
