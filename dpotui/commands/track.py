"""`dpotui track`: send runs to W&B, MLflow or TensorBoard, afterwards or while they go on; how each stands."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from core.config.trackers import TRACKERS, install_line, installed, secret_in
from core.errors import UserError
from core.store import Database, runs, tracked
from core.store.tracked import ON, TITLES, Tracked
from core.text import printable
from core.tracking import feeding
from core.tracking.start import spawn
from core.workspace import Workspace
from dpotui.commands.runs.common import json_option, opened, print_json, workspace_option


@click.command("track")
@click.argument("run_ids", metavar="[RUN...]", nargs=-1)
@click.option("--to", "trackers", type=click.Choice(TRACKERS), multiple=True, help="Where to; may be given again.")
@click.option("--project", help="Project of W&B, experiment of MLflow (default: wandb_project, else dpotui).")
@click.option(
    "--offline/--online", default=None, help="W&B: write a folder that 'wandb sync' sends (default: wandb_mode)."
)
@click.option("--uri", help="MLflow: a server or database (default: MLFLOW_TRACKING_URI, else outputs/mlflow).")
@click.option("--dir", "folder_of_events", metavar="DIR", help="TensorBoard: default outputs/tensorboard.")
@click.option("--anew", is_flag=True, help="Send all of it once more, as another run there.")
@click.option("--detach", is_flag=True, help="Leave it to a process in the background.")
@json_option
@workspace_option
def command(
    run_ids: tuple[str, ...],
    trackers: tuple[str, ...],
    project: str | None,
    offline: bool | None,
    uri: str | None,
    folder_of_events: str | None,
    anew: bool,
    detach: bool,
    as_json: bool,
    folder: Path,
) -> None:
    """Send each RUN to trackers, from runs.db; of a run that goes on all that comes until it ends.

    What was sent is not sent again, whatever came between. Keys come from the environment alone: WANDB_API_KEY,
    MLFLOW_TRACKING_TOKEN. docs/trackers.md says what leaves this machine. Without --to: how trackers stand.

    \b
    dpotui track dpo-003 --to tensorboard
    dpotui track dpo-003 --to wandb --offline
    dpotui track

    Exit status: 0 all was sent, 1 something was not, 2 wrong use.
    """
    options = {
        "project": project,
        "mode": None if offline is None else "offline" if offline else "online",
        "uri": uri,
        "folder": folder_of_events,
    }
    given = {name: value for name, value in options.items() if value is not None}
    with opened(folder) as (workspace, db):
        ids = [runs.get(db, run).id for run in dict.fromkeys(run_ids)]
        if not trackers:
            if given or anew or detach:
                raise UserError(f"where to? --to {'|'.join(TRACKERS)}")
            _show(workspace, db, ids, as_json)
            return
        if not ids:
            raise UserError("which run? 'dpotui runs' lists them: dpotui track RUN --to " + trackers[0])
        _refuse(trackers, given)
        wanted = [(run, tracker) for run in ids for tracker in dict.fromkeys(trackers)]
        for run, tracker in wanted if anew else ():
            feeding.anew(db, run, tracker)
        if detach:
            for run, tracker in wanted:
                feeding.begun(workspace, db, runs.get(db, run), tracker, given)
            for run in ids:
                spawn(workspace, run, tuple(dict.fromkeys(trackers)))
            _show(workspace, db, ids, as_json)
            return
        with _interruptible() as leaving:
            found = [_send(workspace, db, run, tracker, given, leaving, quiet=as_json) for run, tracker in wanted]
    if as_json:
        print_json([_document(one) for one in found])
    raise SystemExit(0 if all(one.state == "done" for one in found) else 130 if leaving.is_set() else 1)


def _refuse(trackers: tuple[str, ...], given: dict[str, Any]) -> None:
    missing = [each for each in dict.fromkeys(trackers) if not installed(each)]
    if missing:
        raise UserError(f"{' and '.join(TITLES[each] for each in missing)} not installed: {install_line(missing[0])}")
    for name, value in given.items():
        reason = secret_in(value)
        if reason:
            raise UserError(f"--{'dir' if name == 'folder' else name} {reason}")


def _send(
    workspace: Workspace,
    db: Database,
    run: str,
    tracker: str,
    given: dict[str, Any],
    leaving: threading.Event,
    *,
    quiet: bool,
) -> Tracked:
    shown = ""

    def say(one: Tracked) -> None:
        nonlocal shown
        words = f"{run}: {printable(one.words)}"
        if words != shown and not quiet:
            shown = words
            click.echo(words, err=True)

    found = feeding.Feeder(workspace, db, run, tracker, given, say=say, stopping=leaving.is_set).feed()
    if not quiet:
        click.echo(f"{run}: {printable(found.words)}")
        for line in _next(found):
            click.echo(f"  → {printable(line)}")
    return found


def _next(one: Tracked) -> Iterator[str]:
    """How to look at it."""
    if one.state != "done":
        return
    if one.tracker == "tensorboard":
        yield f"tensorboard --logdir '{Path(one.place).parent}'"
    elif one.tracker == "mlflow" and "://" not in one.place:
        yield f"mlflow ui --backend-store-uri 'sqlite:///{one.place}'"
    elif one.tracker == "wandb" and "://" not in one.place:
        yield f"wandb sync '{one.place}'"


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C leaves between two calls: what was sent is not sent again."""
    leaving = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: leaving.set())
    try:
        yield leaving
    finally:
        signal.signal(signal.SIGINT, before)


# How they stand


def _show(workspace: Workspace, db: Database, ids: list[str], as_json: bool) -> None:
    found = [one for run in ids for one in tracked.of_run(db, run)] if ids else tracked.newest(db)
    found = [_known(workspace, one) for one in found]
    if as_json:
        print_json([_document(one) for one in found])
        return
    if not found:
        there = [TITLES[each] for each in TRACKERS if installed(each)]
        click.echo(f"nothing was sent yet; installed: {', '.join(there) or 'no tracker'}")
    for one in found:
        click.echo(f"{one.run:<15} {printable(one.words)}")


def _known(workspace: Workspace, one: Tracked) -> Tracked:
    """A process that was ended by force could not say so."""
    if one.state not in ON or feeding.is_fed(workspace, one.run, one.tracker):
        return one
    return replace(one, state="waiting", error=f"no process is at it: dpotui track {one.run} --to {one.tracker}")


def _document(one: Tracked) -> dict[str, Any]:
    return {
        "run": one.run,
        "tracker": one.tracker,
        "state": one.state,
        "place": one.place,
        "key": one.key,
        "rows": one.position.rows,
        "error": one.error,
        "time": one.time,
    }
