"""A workspace with a run that reported, measured and wrote something."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.store import Database, artifacts, facts, metrics, open_store, runs, transaction
from core.store.facts import Fact
from core.workspace import Workspace, create_workspace
from tests.core.tracking import packages
from tests.core.tracking.packages import Package

# When the first report was made; far enough back to be settled.
THEN = 1_760_000_000.25


def report(db: Database, run: str, first: int, last: int, then: float = THEN) -> None:
    """A report a step, and an evaluation after every tenth."""
    rows = []
    for step in range(first, last + 1):
        rows += [
            (run, step, "loss", 1 / step + 1e-9, then + step),
            (run, step, "rewards/margins", step / 3, then + step),
        ]
        if step % 10 == 0:
            rows.append((run, step, "eval_loss", math.nan if step == 20 else 2 / step, then + step + 0.5))
    with transaction(db):
        metrics.write(db, rows)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = create_workspace(tmp_path / "work")
    open_store(found.database, create=True).close()
    return found


@pytest.fixture
def db(workspace: Workspace) -> Iterator[Database]:
    opened = open_store(workspace.database)
    yield opened
    opened.close()


@pytest.fixture
def run(db: Database) -> str:
    """One of 45 rows."""
    config = {"training": {"beta": 0.1}, "logging": {"wandb_project": "zoo", "output_dir": "outputs/x"}}
    found = runs.create(db, "dpo", config=config, name="first try", seed=7)
    runs.update(db, found.id, state="finished", started=THEN, ended=THEN + 50, step=40, steps=40, tags=("good",))
    report(db, found.id, 1, 40)
    facts.record(db, Fact("dpo.kl_divergence", 0.05, "nats/token", found.id, low=0.04, high=0.06, n=32))
    artifacts.record(db, found.id, "model", "outputs/x", "ab" * 32, 100)
    artifacts.record(db, found.id, "checkpoint", "outputs/x/checkpoint-40", "cd" * 32, 100, 40)
    return found.id


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    return packages.put(tmp_path / "packages", monkeypatch)
