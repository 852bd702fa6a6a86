"""Whose results stand there, where they are not of the model that the run in hand evaluates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import UserError
from core.store import Database, runs
from core.store.runs import Run
from core.text import one_line


def of_another(db: Database, run: Run | None, shown: str | None) -> str | None:
    """In words, where results of the run `shown` stand before those of `run`; None where the model is the same."""
    if run is None or shown is None or shown == run.id:
        return None
    try:
        other = _model(runs.get(db, shown))
    except UserError:
        return None
    own = _model(run)
    if own is None or other is None or own.rstrip("/") == other.rstrip("/"):
        return None
    return f"of {one_line(other, 40)}: another model than {one_line(own, 40)}, which {run.id} evaluates"


def _model(run: Run) -> str | None:
    """What an evaluation measures."""
    models, evaluation = run.config.get("model"), run.config.get("evaluation")
    if run.kind != "evaluate" or not isinstance(models, Mapping) or not isinstance(evaluation, Mapping):
        return None
    found: Any = models.get(str(evaluation.get("subject")))
    return found if isinstance(found, str) else None
