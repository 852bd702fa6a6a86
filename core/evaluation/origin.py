"""Where a model comes from: the DPO run that wrote it, and with it β, the reference and the pairs of its training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.config import DPOConfig
from core.errors import UserError
from core.store import Database, runs
from core.store.runs import Run
from core.text import one_line, printable
from core.workspace import Workspace

METRICS = "training_metrics.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """`run` and `config` are of the DPO run that wrote the model; `why` is why they are not known."""

    run: Run | None
    config: DPOConfig | None
    why: str = ""


def origin(workspace: Workspace, db: Database, model: str) -> Origin:
    """The DPO run that wrote a model folder: the one its training_metrics.json names, or whose output folder it is."""
    folder = workspace.path(model)
    shown = printable(model)
    if not folder.is_dir():
        return Origin(None, None, f"{shown} was not trained in this workspace: which run wrote it is not known")
    named = run_named(folder)
    known = {run.id: run for run in runs.listing(db, kind="dpo")}
    found = known.get(named) if named is not None else None
    if found is None:
        places = {place.resolve() for place in (folder, folder.parent)}
        found = next((run for run in known.values() if _folder(workspace, run) in places), None)
    if found is None:
        why = f"{METRICS} in {shown} names no run" if named is None else f"{one_line(named, 40)}, which wrote {shown},"
        rest = ", and no DPO run has its output there" if named is None else " is no DPO run of this workspace"
        if named is None and not (folder / METRICS).is_file():
            why = f"{shown} has no {METRICS}"
        return Origin(None, None, f"{why}{rest}")
    try:
        return Origin(found, DPOConfig.model_validate(found.config))
    except ValidationError:
        return Origin(found, None, f"the configuration of {found.id} cannot be read any more")


def run_named(folder: Path) -> str | None:
    """The id of the run that a model folder's training_metrics.json names."""
    try:
        written: Any = json.loads((folder / METRICS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    named = written.get("run") if isinstance(written, dict) else None
    return named if isinstance(named, str) else None


def changed_since(run: Run, now: dict[str, str]) -> Iterator[str]:
    """The files among `now` that are not what the run read."""
    return (path for path, digest in now.items() if run.inputs.get(path, digest) != digest)


def _folder(workspace: Workspace, run: Run) -> Path | None:
    try:
        return None if run.output_dir is None else workspace.path(run.output_dir).resolve()
    except (OSError, UserError):
        return None
