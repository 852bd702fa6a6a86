from __future__ import annotations

from typing import Any

import pytest

from core.store import Database, facts, notes, runs, transaction
from core.store.facts import Fact

NOW = 1_790_000_000.0
DAY = 86400.0


def add(db: Database, kind: runs.Kind = "dpo", config: dict[str, Any] | None = None, **columns: Any) -> str:
    """A run with these columns; an hour older than the one before."""
    (count,) = db.execute("SELECT count(*) FROM runs").fetchone()
    run = runs.create(db, kind, config=config or {"training": {"beta": 0.1, "learning_rate": 1e-6}})
    runs.update(db, run.id, **{"created": NOW - 100 * 3600 + 3600 * count, **columns})
    return run.id


def measure(db: Database, run: str, **values: float | None) -> None:
    facts.record(db, *(Fact(name.replace("__", "."), value, run=run, time=NOW) for name, value in values.items()))


@pytest.fixture
def several(db: Database) -> Database:
    """sft-001, dpo-001 to dpo-004, evaluate-001."""
    add(db, "sft", {"training": {"learning_rate": 2e-5, "packing": True}, "model": {"base_model": "models/base"}},
        state="finished", started=NOW - 5000, ended=NOW - 4000)  # fmt: skip
    for beta, state in ((0.1, "finished"), (0.2, "failed"), (0.5, "finished"), (0.1, "running")):
        add(
            db, config={"training": {"beta": beta, "learning_rate": 1e-6}, "data": {"train_file": "data/p_1.jsonl"}},
            state=state, parent="sft-001", started=NOW - 700, step=50, steps=100,
        )  # fmt: skip
    add(db, "evaluate", {"evaluation": {"subject": "baseline"}}, state="finished", created=NOW - 3 * DAY)
    runs.update(db, "dpo-001", tags=("good", "persona"), name="first try", ended=NOW - 100)
    runs.update(db, "dpo-003", tags=("good",), archived=NOW)
    measure(db, "dpo-001", dpo__kl_divergence=0.08, dpo__preference_gap=0.2)
    measure(db, "dpo-002", dpo__kl_divergence=0.5)
    measure(db, "dpo-002", dpo__kl_divergence=0.15)  # measured again: the newest counts
    measure(db, "dpo-004", dpo__kl_divergence=None)
    with transaction(db):
        notes.add(db, "run:dpo-002", "diverged at 50 %", "ana")
    return db
