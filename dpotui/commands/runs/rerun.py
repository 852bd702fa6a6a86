"""`dpotui runs rerun`: a run once more, with changes."""

from __future__ import annotations

from pathlib import Path

import click

from core.config import RUN_CONFIGS, load_config
from core.engine.client import submit
from core.runs.again import again
from core.store import runs
from core.text import one_line, printable
from dpotui.commands.launch import launch, launch_options, refuse_both
from dpotui.commands.runs.common import opened


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Another value: training.beta=0.2")
@launch_options
def command(
    run_id: str, overrides: tuple[str, ...], detach: bool, in_process: bool, as_json: bool, folder: Path
) -> None:
    """Start RUN once more: with its configuration file as it is now, and the keys in which the run's own differs.

    RUN and what it wrote stay as they are: the new run writes beside that. --set changes keys further.
    """
    refuse_both(detach, in_process)
    with opened(folder) as (workspace, db):
        run = runs.get(db, run_id)
        found = again(workspace, run)
        every = [*found.overrides, *overrides]
        config = load_config(workspace.path(found.config), RUN_CONFIGS[found.kind], every)
        if found.gone:
            click.echo(f"{printable(found.gone)} is gone: {found.config} is read in its place", err=True)
        if found.left:
            shown = ", ".join(one_line(key, 60) for key in found.left[:5])
            click.echo(f"warning: keys that are not as they were then: {shown}", err=True)
        for each in every if not as_json else ():
            click.echo(f"  --set {one_line(each, 100)}", err=True)
        made = submit(workspace, db, run.kind, config, config_path=found.config)
        launch(workspace, db, made.id, from_start=True, detach=detach, in_process=in_process, as_json=as_json)
