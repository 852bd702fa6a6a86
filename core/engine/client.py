"""What the terminal and the command line ask of the engine. Loads no MLX."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.engine.lock import no_engine
from core.engine.lost import mark_lost
from core.errors import UserError
from core.store import Database, calibrations, runs
from core.store.runs import Kind, Run
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.config import RunConfig

START_SECONDS = 20.0

# Kinds whose configuration says how many steps they take.
_TRAINED = ("sft", "reward", "dpo")


def submit(
    workspace: Workspace,
    db: Database,
    kind: Kind,
    config: RunConfig,
    *,
    name: str = "",
    config_path: str | None = None,
    parent: str | None = None,
    part_of: str | None = None,
    part: str = "",
    not_before: float | None = None,
) -> Run:
    """Queue a run with a snapshot of its configuration. With a parent it waits until that one has finished.

    Args:
        part_of: the run that executes it, as its part of this name.
        not_before: it is not started earlier (Unix seconds).

    Raises:
        UserError: files that it reads are not there, and no run is on that could still bring them.
    """
    # pydantic and YAML are not needed to open the terminal.
    from core.config import missing_files
    from core.config.kinds import kind_of

    missing = missing_files(config, workspace)
    if kind == "data_check":
        missing = [sentence for sentence in missing if sentence.startswith("data.")]
    coming = parent is not None or (part_of is None and runs.listing(db, states=(*runs.LIVE, "queued"), limit=1))
    if missing and not coming:
        raise UserError("\n".join(f"{sentence}: put it there, or name another" for sentence in missing))
    snapshot = config.model_dump(mode="json")
    if kind == "calibrate":
        snapshot[calibrations.FOR] = kind_of(config)
    training = snapshot.get("training", {}) if kind in _TRAINED else {}
    sampling = snapshot.get("generation") or snapshot.get("evaluation") or {}
    logging = snapshot.get("logging", {})
    return runs.create(
        db,
        kind,
        config=snapshot,
        name=name or ((logging.get("wandb_run_name") or "") if kind in _TRAINED else ""),
        config_path=workspace.relative(workspace.path(config_path)) if config_path else None,
        seed=training.get("seed", sampling.get("seed", 0)),
        steps=training.get("max_steps", 0),
        parent=parent,
        part_of=part_of,
        part=part,
        not_before=not_before,
    )


def engine_alive(workspace: Workspace) -> bool:
    with no_engine(workspace.engine_lock) as none:
        return not none


def reap(workspace: Workspace, db: Database) -> list[str]:
    """Mark runs whose engine is gone as interrupted; returns their ids. Nothing happens while an engine lives."""
    with no_engine(workspace.engine_lock) as none:
        return mark_lost(db) if none and runs.listing(db, states=runs.LIVE) else []


def ensure_engine(workspace: Workspace, environment: Mapping[str, str] | None = None) -> None:
    """Start a detached engine unless one lives: its own session, no terminal, output to engine.log.

    Args:
        environment: what it begins with, instead of this process's.

    Raises:
        UserError: it did not come up; the last line of its log says why.
    """
    if engine_alive(workspace):
        return
    log = os.open(workspace.engine_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # -P: a folder 'core' in the workspace must not be taken for the program.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.engine", str(workspace.root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=workspace.root,
            start_new_session=True,
            env=environment,
        )
    finally:
        os.close(log)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if engine_alive(workspace):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    lines = workspace.engine_log.read_text("utf-8", "replace").strip().splitlines()
    raise UserError(f"the engine did not start ({lines[-1] if lines else 'no word'}): see {workspace.engine_log}")
