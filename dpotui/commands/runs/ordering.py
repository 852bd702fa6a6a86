"""`dpotui runs rename|tag|untag|note|archive|unarchive|undo`: putting runs in order, and back."""

from __future__ import annotations

import getpass
from pathlib import Path

import click

from core.runs import order
from core.text import one_line, printable
from dpotui.commands.runs.common import opened, workspace_option

_runs = click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("name")
@workspace_option
def rename(run_id: str, name: str, folder: Path) -> None:
    """Give RUN a NAME; "" takes it away."""
    with opened(folder) as (_, db):
        run = order.rename(db, run_id, name, getpass.getuser())
        click.echo(f"{run.id}: {printable(run.name)}")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("tags", metavar="TAG...", nargs=-1, required=True)
@workspace_option
def tag(run_id: str, tags: tuple[str, ...], folder: Path) -> None:
    """Add each TAG to RUN."""
    with opened(folder) as (_, db):
        run = order.tag(db, run_id, tags, getpass.getuser())
        click.echo(f"{run.id}: {printable(' '.join(run.tags))}")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("tags", metavar="TAG...", nargs=-1, required=True)
@workspace_option
def untag(run_id: str, tags: tuple[str, ...], folder: Path) -> None:
    """Take each TAG off RUN."""
    with opened(folder) as (_, db):
        run = order.untag(db, run_id, tags, getpass.getuser())
        click.echo(f"{run.id}: {printable(' '.join(run.tags)) or 'no tags'}")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("text")
@workspace_option
def note(run_id: str, text: str, folder: Path) -> None:
    """Write a note on RUN; 'dpotui runs show' has all of them."""
    with opened(folder) as (_, db):
        run = order.note(db, run_id, text, getpass.getuser())
        click.echo(f"{run.id}: noted: {one_line(text, 80)}")


@click.command()
@_runs
@workspace_option
def archive(run_ids: tuple[str, ...], folder: Path) -> None:
    """Put each RUN out of sight; nothing of it is lost."""
    with opened(folder) as (_, db):
        for run_id in run_ids:
            click.echo(f"{order.archive(db, run_id, getpass.getuser()).id}: archived")


@click.command()
@_runs
@workspace_option
def unarchive(run_ids: tuple[str, ...], folder: Path) -> None:
    """Bring each RUN back into the list."""
    with opened(folder) as (_, db):
        for run_id in run_ids:
            click.echo(f"{order.unarchive(db, run_id, getpass.getuser()).id}: in the list again")


@click.command()
@workspace_option
def undo(folder: Path) -> None:
    """Take back the last name, tags or archiving that you changed."""
    with opened(folder) as (_, db):
        change = order.undo(db, getpass.getuser())
        if change is None:
            click.echo("there is nothing to take back")
        else:
            click.echo(f"{change.run}: taken back: {printable(order.said(change))}")
