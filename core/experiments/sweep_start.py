"""Queue a sweep. Loads neither MLX nor Optuna."""

from __future__ import annotations

from pathlib import Path

from core.engine.client import submit
from core.experiments.sweep_plan import Plan
from core.store import Database, runs
from core.store.runs import Run
from core.workspace import Workspace


def start_sweep(workspace: Workspace, db: Database, plan: Plan, path: Path) -> Run:
    """
    Raises:
        UserError: files that every trial reads are not there.
    """
    run = submit(workspace, db, "sweep", plan.config, name=plan.file.name, config_path=str(path))
    runs.update(db, run.id, seed=plan.config.base.training.seed, steps=plan.config.trials)
    return runs.get(db, run.id)
