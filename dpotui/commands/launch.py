"""From a queued run to its end: executed by a detached engine or here, watched or left alone."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from core.engine.client import ensure_engine
from core.errors import UserError
from core.runs.queue import moment_of
from core.store import Database, runs
from core.store.runs import Kind, Run
from core.workspace import Workspace, open_workspace
from dpotui.commands.follow import finish, follow, waits_for_a_person

# Under this name --at is kept in the context of a command.
_AT = "dpotui.at"


def launch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that starts a run: detach, in_process, as_json, and folder, the workspace."""
    for option in reversed(
        (
            click.option("--detach", is_flag=True, help="Print the run's id and return at once."),
            click.option(
                "--at",
                expose_value=False,
                callback=lambda ctx, option, said: ctx.meta.update({_AT: said}),
                metavar="WHEN",
                help="Not before: 22:00, +2h, 'tomorrow 6:30'. The engine waits for it.",
            ),
            click.option("--in-process", is_flag=True, help="Execute it in this process instead of a detached engine."),
            click.option(
                "--json",
                "as_json",
                is_flag=True,
                help="Print the run as JSON when it ended (or started, with --detach).",
            ),
            click.option(
                "-w", "--workspace", "folder", type=click.Path(path_type=Path), default=Path(), help="Default: here."
            ),
        )
    ):
        command = option(command)
    return command


def start_time() -> float | None:
    """What --at says: the run is not started earlier.

    Raises:
        UserError: it is no moment to come.
    """
    said = click.get_current_context().meta.get(_AT)
    return None if said is None else moment_of(said, time.time())


def workspace_of(config_path: Path | None, folder: Path) -> Workspace:
    """The workspace a command is for: a configuration named by its path may lie in one while we stand elsewhere."""
    if config_path is not None and folder == Path() and config_path.exists():
        return open_workspace(config_path.absolute().parent)
    return open_workspace(folder)


def requeue(db: Database, run_id: str, kind: Kind, *, anew: bool, dry_run: bool = False) -> Run:
    """Put a run back in the queue for `--resume`.

    Args:
        anew: options were given that are for a new run.

    Raises:
        UserError: it is of another kind or cannot be resumed, or the options exclude each other.
    """
    if anew:
        raise UserError("--resume goes on with the run's own configuration: leave out --config and --set")
    if dry_run:
        raise UserError("--dry-run is for a run that is not there yet: leave out --resume")
    run = runs.get(db, run_id)
    if run.kind != kind:
        raise UserError(f"{run_id} is a run of kind {run.kind}: 'dpotui runs resume {run_id}' takes any kind")
    runs.requeue(db, run_id)
    return run


def refuse_both(detach: bool, in_process: bool) -> None:
    """A run cannot be left alone in the process that executes it.

    Raises:
        UserError: both were asked for.
    """
    if detach and in_process:
        raise UserError("--detach and --in-process exclude each other: choose one")


def launch(
    workspace: Workspace,
    db: Database,
    run_id: str,
    *,
    from_start: bool,
    detach: bool,
    in_process: bool,
    as_json: bool,
) -> None:
    """Execute a queued run, and watch it unless it is detached.

    Raises:
        SystemExit: 1 where it was watched and did not finish.
    """
    at = start_time()
    if at is not None and runs.get(db, run_id).state == "queued":
        runs.update(db, run_id, not_before=at)
    if in_process:
        from core.engine.host import InProcessEngine

        engine = InProcessEngine(workspace)
        engine.start()
        try:
            follow(workspace, db, run_id, from_start=from_start)
        finally:
            engine.stop(hand_over=runs.get(db, run_id).state in runs.LIVE)
    else:
        ensure_engine(workspace)
        if not detach:
            follow(workspace, db, run_id, from_start=from_start)
    run = runs.get(db, run_id)
    if as_json:
        told = {name: getattr(run, name) for name in ("id", "kind", "state", "step", "steps")}
        click.echo(json.dumps({**told, "output": run.output_dir}))
        if detach:
            return
        raise SystemExit(0 if run.state == "finished" or waits_for_a_person(run) else 1)
    if detach:
        click.echo(run.id)
        click.echo(f"queued by {getpass.getuser()}; 'dpotui runs show {run.id}' or 'dpotui' watches it", err=True)
        return
    finish(run)
