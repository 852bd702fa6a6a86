"""MLflow and Weights & Biases themselves, where they are installed."""

from __future__ import annotations

import math

import pytest

from core.config.trackers import installed
from core.store import Database
from core.store.tracked import Position
from core.tracking.feeding import Feeder
from core.tracking.reading import rows_behind
from core.workspace import Workspace


@pytest.mark.skipif(not installed("mlflow"), reason="mlflow-skinny, sqlalchemy and alembic are not all installed")
def test_mlflow_has_what_runs_db_has(workspace: Workspace, db: Database, run: str) -> None:
    from mlflow import MlflowClient

    found = Feeder(workspace, db, run, "mlflow").feed()
    assert found.words == "MLflow in outputs/mlflow/mlflow.db (all sent, 44 rows sent)"
    client = MlflowClient(f"sqlite:///{workspace.outputs}/mlflow/mlflow.db")
    told = client.get_run(found.key)
    assert (told.info.status, told.info.run_name, told.data.params["training.beta"]) == ("FINISHED", "first try", "0.1")
    assert told.data.tags["gate.kl_divergence"] == "PASS"
    rows = rows_behind(db, run, Position(), ended=True)
    for name in ("loss", "rewards/margins", "eval_loss"):
        history = sorted((m.step, m.timestamp, m.value) for m in client.get_metric_history(found.key, name))
        wanted = [(row.step, int(row.time * 1000), row.values[name]) for row in rows if name in row.values]
        assert [point[:2] for point in history] == [point[:2] for point in wanted]
        assert all(
            a[2] == b[2] or (math.isnan(a[2]) and math.isnan(b[2])) for a, b in zip(history, wanted, strict=True)
        )


@pytest.mark.skipif(not installed("wandb"), reason="wandb is not installed")
def test_wandb_writes_a_folder(workspace: Workspace, db: Database, run: str) -> None:
    found = Feeder(workspace, db, run, "wandb", {"mode": "offline"}).feed()
    assert (found.state, found.position.rows) == ("done", 44)
    assert len(list((workspace.root / found.place).glob("run-*.wandb"))) == 1
