"""What a command on data measured, written into the workspace: a finished run with its facts."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from core.errors import UserError
from core.store import facts, files, open_store, runs, transaction
from core.store.facts import Fact
from core.text import printable
from core.workspace import Workspace, open_workspace


def workspace_of(folder: str | None, *, needed: bool) -> Workspace | None:
    """The workspace that was named, or the one around here; None where there is none and none is needed."""
    try:
        return open_workspace(Path(folder or "."))
    except UserError:
        if needed or folder is not None:
            raise
        return None


def hashes(workspace: Workspace, paths: Sequence[Path]) -> dict[str, str]:
    """What files hold now, as the inputs of a fact."""
    db = open_store(workspace.database)
    try:
        return files.fingerprints(db, workspace, *(workspace.relative(path.absolute()) for path in paths))
    finally:
        db.close()


def unchanged(workspace: Workspace, paths: Sequence[Path], before: dict[str, str]) -> None:
    """Refuse to speak of files that are not what they were when they were read.

    Raises:
        UserError: one of them changed.
    """
    if hashes(workspace, paths) != before:
        names = " or ".join(printable(path.name) for path in paths)
        raise UserError(f"{names} changed while it was read: run it again")


def record(workspace: Workspace, verb: str, file: Path, found: Sequence[Fact], started: float) -> str:
    """Write a finished run of kind data_check and its facts at once; no engine ever sees it queued. Gives its id."""
    name = workspace.relative(file.absolute())
    inputs = {path: digest for fact in found for path, digest in fact.inputs.items()}
    db = open_store(workspace.database)
    try:
        with transaction(db):
            config = {"data": {"train_file": name, "validation_file": None}}
            run = runs.create(db, "data_check", config=config, name=f"{verb} {name}", steps=1)
            facts.record(db, *(replace(fact, run=run.id, time=started) for fact in found))
            runs.update(db, run.id, state="finished", step=1, inputs=inputs, started=started, ended=time.time())
        return run.id
    finally:
        db.close()


class Ticker:
    """How far a command is, on one line of the terminal; nothing where stderr is none."""

    def __init__(self, what: str) -> None:
        self._what, self._next, self._shown = what, 0.0, False
        self._terminal = sys.stderr.isatty()

    def __call__(self, done: int, of: int | None = None, what: str | None = None) -> None:
        if not self._terminal or time.monotonic() < self._next:
            return
        self._next, self._shown = time.monotonic() + 0.25, True
        share = f" of {of}" if of else ""
        click.echo(f"\r\x1b[K{what or self._what}: {done}{share}", err=True, nl=False)

    def __enter__(self) -> Ticker:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """The line is needed for something else."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._shown = False
