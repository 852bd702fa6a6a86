"""How long a run will take: what was measured here says it, or nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from core import hardware
from core.config import DPOConfig
from core.config.files import template_of
from core.config.source import read_source
from core.store import Database, calibrations, engines, metrics, open_store, runs, transaction
from core.store.calibrations import Size
from core.training.calibration import subject_of
from core.training.duration import expected
from core.training.forecast import lengths_of
from core.workspace import Workspace, create_workspace


class Place(NamedTuple):
    workspace: Workspace
    db: Database


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    workspace = create_workspace(tmp_path / "w")
    db = open_store(workspace.database, create=True)
    yield Place(workspace, db)
    db.close()


def configured(**training: Any) -> DPOConfig:
    value = read_source(template_of("dpo")).document.value
    value["training"] |= training
    return DPOConfig.model_validate(value)


def measured(place: Place, config: DPOConfig, *rates: float, chip: str = "") -> str:
    """A run on this machine, or on another, that was as fast."""
    there = hardware.provenance() | ({"chip": chip} if chip else {})
    engine = engines.register(place.db, "detached", "1", there)
    run = runs.create(place.db, "dpo", config=config.model_dump(mode="json"))
    runs.update(place.db, run.id, engine=engine)
    with transaction(place.db):
        metrics.write(place.db, [(run.id, 10 * i, "examples_per_second", rate, 0.0) for i, rate in enumerate(rates, 1)])
    return run.id


def test_nothing_measured_is_not_known(place: Place) -> None:
    assert expected(place.workspace, place.db, "dpo", configured()) is None


def test_a_run_with_the_same_sizes_says_it(place: Place) -> None:
    run = measured(place, configured(), 1.0, 2.0, 2.0)
    # What does not change the speed may differ.
    found = expected(place.workspace, place.db, "dpo", configured(beta=0.5, max_steps=30, warmup_steps=3))
    assert found is not None
    assert found.examples == 30 * 4 * 4
    assert found.rate == pytest.approx(3 / 2)
    assert found.seconds == pytest.approx(480 / 1.5)
    assert run in found.sentence()
    assert "evaluations and saving come on top" in found.sentence()


@pytest.mark.parametrize("other", [{"batch_size": 8}, {"batch_tokens": 999}])
def test_other_sizes_say_nothing(place: Place, other: dict[str, Any]) -> None:
    measured(place, configured(), 1.0, 2.0, 2.0)
    assert expected(place.workspace, place.db, "dpo", configured(**other)) is None


def test_other_lengths_models_and_machines_say_nothing(place: Place) -> None:
    config = configured()
    longer = config.model_copy(update={"data": config.data.model_copy(update={"max_response_length": 2048})})
    larger = config.model_copy(update={"model": config.model.model_copy(update={"policy_model": "models/large"})})
    measured(place, longer, 1.0, 2.0, 2.0)
    measured(place, larger, 1.0, 2.0, 2.0)
    measured(place, config, 1.0, 2.0, 2.0, chip="Apple M9")
    measured(place, config, 1.0)  # too short to say anything
    assert expected(place.workspace, place.db, "dpo", config) is None


def test_auto_takes_the_size_of_a_run_before(place: Place) -> None:
    measured(place, configured(batch_size=16), 4.0, 4.0, 4.0)
    found = expected(place.workspace, place.db, "dpo", configured(batch_size="auto", max_steps=200))
    assert found is not None
    assert found.examples == 200 * 4 * 16


def test_batch_sizes_that_were_measured_say_it_where_no_run_does(place: Place) -> None:
    config = configured(batch_size="auto", max_steps=200)
    subject = subject_of(place.db, place.workspace, "dpo", config, lengths_of(place.workspace, config))
    made = calibrations.begin(
        place.db, run=None, kind="dpo", chip=subject["chip"], subject=subject, limit=1, limit_source="x"
    )
    for size, rate in ((4, 8.0), (8, 10.0)):
        calibrations.add(place.db, made, Size(size, "FITS", rate, 1, 1.0))
    calibrations.finish(place.db, made, 8, "the fastest")
    found = expected(place.workspace, place.db, "dpo", config)
    assert found is not None
    assert (found.rate, found.examples) == (10.0, 200 * 4 * 8)
    assert "batch sizes measured on 20" in found.sentence()
    found = expected(place.workspace, place.db, "dpo", configured(batch_size=4))
    assert found is not None
    assert found.rate == 8.0
