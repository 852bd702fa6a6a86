"""The environment of a run: kept with it, told once, put back; an engine that began otherwise makes way for another."""

from __future__ import annotations

import signal
from pathlib import Path

import mlx.core as mx
import pytest

from core import environment
from core.config import DPOConfig
from core.engine import host
from core.engine.client import submit
from core.engine.host import Engine, InProcessEngine
from core.store import environments, facts, log, runs
from tests.core.engine.test_engine import ended, wait
from tests.core.training import tiny


def _config() -> DPOConfig:
    config = tiny.dpo_config(training_max_steps=3)
    wanted = {"metal_preallocate": True, "tokenizers_parallelism": False, "cache_limit_gb": 1.5}
    compute = config.compute.model_validate({**config.compute.model_dump(), "environment": wanted})
    return config.model_copy(update={"compute": compute})


def test_a_run_has_its_own_and_says_what_acts(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    cache = mx.set_cache_limit(10**9)
    run = submit(space, db, "dpo", _config())
    engine = InProcessEngine(space)
    engine.start()
    wait(lambda: ended(db, run.id))
    engine.stop()
    assert runs.get(db, run.id).state == "finished", runs.get(db, run.id).error
    assert mx.set_cache_limit(cache) == 10**9

    latest = environments.latest(db)
    assert latest is not None and latest[0] == run.id
    found = {one.name: one for one in latest[1]}
    assert (found["cache limit"].value, found["cache limit"].effect) == ("1.5 GB", "effective")
    assert (found["TOKENIZERS_PARALLELISM"].value, found["TOKENIZERS_PARALLELISM"].by) == ("false", "configuration")
    assert found["MLX_METAL_PREALLOCATE"].effect == "without effect"
    said = [line.text for line in log.everything(db, run.id)]
    assert len([line for line in said if line.startswith("cache limit: 1.5 GB (configuration): effective")]) == 1
    assert not [line for line in said if line.startswith("MLX_METAL_FAST_SYNCH")]

    fact = facts.latest(db)["dpo.environment"]
    assert (fact.value, fact.run) == (1.0, run.id)
    assert fact.text is not None and "PREALLOCATE without effect in MLX" in fact.text
    db.close()


def test_an_engine_that_began_otherwise_makes_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "dpo", tiny.dpo_config(training_max_steps=3))
    asked: list[object] = []
    monkeypatch.setattr(environment, "began_otherwise", lambda wanted: True)
    monkeypatch.setattr(host, "ensure_engine", lambda space, environment: asked.append(environment))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        host.serve_detached(space, 30.0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert asked == [environment.as_started()]
    assert runs.get(db, run.id).state == "queued"
    assert "starts anew" in [line.text for line in log.everything(db, run.id)][-1]
    # One that a program hosts stays what it is, and the run is told.
    assert not Engine(space, "in-process", None)._needs_another_process(run)
    db.close()
