"""Queue a sweep. Loads neither MLX nor Optuna."""

from __future__ import annotations

from pathlib import Path

from core.config.sweep import SweepConfig
from core.engine.client import submit
from core.store import Database, runs
from core.store.runs import Run
from core.workspace import Workspace


def start_sweep(
    workspace: Workspace, db: Database, config: SweepConfig, path: Path | str, *, not_before: float | None = None
) -> Run:
    """
    Args:
        not_before: it is not started earlier (Unix seconds).

    Raises:
        UserError: files that every trial reads are not there.
    """
    run = submit(workspace, db, "sweep", config, name=config.asked.name, config_path=str(path), not_before=not_before)
    runs.update(db, run.id, seed=config.base.training.seed, steps=config.trials)
    return runs.get(db, run.id)
