"""`dpotui runs stop|pause|checkpoint|resume`: things asked of a run, and what its engine answered."""

from __future__ import annotations

import getpass
import time
from pathlib import Path

import click

from core.engine.client import ensure_engine
from core.errors import UserError
from core.store import commands, runs
from core.store.commands import Verb
from core.text import printable
from dpotui.commands.distributed import chosen, distributed_options
from dpotui.commands.runs.common import opened, workspace_option

# How long to wait for the engine's answer before leaving it to `runs show`. A step of a large model takes seconds.
PATIENCE = 10.0


def _ask(verb: Verb, run_id: str, folder: Path) -> None:
    """Send a command and wait a little for the engine's answer."""
    with opened(folder) as (_, db):
        sent = commands.send(db, run_id, verb, getpass.getuser())
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            (answered,) = [command for command in commands.of_run(db, run_id) if command.id == sent]
            if answered.obeyed is not None:
                click.echo(f"{run_id}: {printable(answered.answer or 'done')}")
                return
            time.sleep(0.1)
        click.echo(f"{run_id}: asked to {verb}; it answers after the step it is in ('dpotui runs show {run_id}')")


@click.command()
@click.argument("run_id", metavar="RUN")
@workspace_option
def stop(run_id: str, folder: Path) -> None:
    """Stop RUN after the step it is in, with a checkpoint; take a queued one out of the queue."""
    _ask("stop", run_id, folder)


@click.command()
@click.argument("run_id", metavar="RUN")
@workspace_option
def pause(run_id: str, folder: Path) -> None:
    """Hold RUN after the step it is in."""
    _ask("pause", run_id, folder)


@click.command()
@click.argument("run_id", metavar="RUN")
@workspace_option
def checkpoint(run_id: str, folder: Path) -> None:
    """Have RUN write a checkpoint now."""
    _ask("checkpoint", run_id, folder)


@click.command()
@click.argument("run_id", metavar="RUN")
@distributed_options
@workspace_option
def resume(run_id: str, hosts: str | None, backend: str | None, shares: str | None, folder: Path) -> None:
    """Go on with RUN: one that is paused, or one that stopped, failed or lost its engine, from its last checkpoint.

    With --hosts it goes on with those machines, however many trained it before; --hosts none: on this one alone.
    """
    with opened(folder) as (workspace, db):
        run = runs.get(db, run_id)
        options = chosen(workspace, hosts, backend, shares)
        if options and run.state not in runs.RESUMABLE:
            raise UserError(f"{run_id} is {run.state}: stop it first to let it go on with other hosts")
        if options:
            from core.experiments.distributed import resume_on

            resume_on(db, workspace, run, options)
        if run.state != "paused":
            runs.requeue(db, run_id)
            ensure_engine(workspace)
            click.echo(f"{run_id}: queued; 'dpotui runs show {run_id}' or 'dpotui' watches it")
            return
    _ask("resume", run_id, folder)
