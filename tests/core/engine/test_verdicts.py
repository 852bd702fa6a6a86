"""The engine keeps the verdicts that a run's facts led to, when it has ended and whether or not anybody looked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core import gates
from core.engine import jobs
from core.engine.host import InProcessEngine
from core.store import facts, runs
from core.store.facts import Fact
from tests.core.engine.test_engine import ended, wait
from tests.core.training import tiny


def test_a_run_that_measured_leaves_verdicts_even_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    values = iter([0.3, 0.02])
    during: list[int] = []

    def job(context: Any) -> None:
        value = next(values)
        facts.record(context.db, Fact("dpo.kl_divergence", value, run=context.run.id))
        gates.record(context.db, gates.evaluate(context.db, context.workspace))
        during.append(len(gates.history(context.db, 5, "kl_divergence")))
        if value == 0.3:
            raise RuntimeError("no")

    monkeypatch.setitem(jobs.JOBS, "dpo", job)
    made = [runs.create(db, "dpo", config={}, seed=1).id for _ in range(2)]
    engine = InProcessEngine(space)
    engine.start()
    try:
        wait(lambda: all(ended(db, run) for run in made))
        wait(lambda: len(gates.history(db, 5, "kl_divergence")) == 2)
    finally:
        engine.stop()
    found = [(one.verdict, one.value, one.run) for one in gates.history(db, 5, "kl_divergence")]
    assert found == [("PASS", 0.02, made[1]), ("FAIL", 0.3, made[0])]
    assert during == [0, 1]
    db.close()
