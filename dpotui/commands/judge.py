"""`dpotui judge`: have responses judged by models, and make preference pairs of the verdicts."""

from __future__ import annotations

from pathlib import Path

import click

from core.config import JudgeConfig, load_config
from core.engine.client import reap, submit
from core.store import open_store
from dpotui.commands.launch import launch, launch_options, refuse_both, requeue, start_time, workspace_of


@click.command("judge")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Default: configs/judge_config.yaml.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: pairing.strategy=all")
@click.option("--resume", metavar="RUN", help="Go on with a stopped, failed or interrupted run.")
@launch_options
def command(
    config_path: Path | None,
    overrides: tuple[str, ...],
    resume: str | None,
    detach: bool,
    in_process: bool,
    as_json: bool,
    folder: Path,
) -> None:
    """Compare or score responses by a local model, a reward model or an endpoint, and make preference pairs.

    Every verdict is on disk before it counts: a run that was stopped or killed goes on where it was. Ctrl-C stops it.
    The key of an endpoint is read from the environment variable that the configuration names, where the run is
    executed.
    """
    workspace = workspace_of(config_path, folder)
    refuse_both(detach, in_process)
    db = open_store(workspace.database)
    reap(workspace, db)
    if resume is not None:
        anew = bool(overrides) or config_path is not None
        run = requeue(db, resume, "judge", anew=anew)
    else:
        path = config_path.absolute() if config_path is not None else workspace.configs / "judge_config.yaml"
        config = load_config(path, JudgeConfig, overrides)
        run = submit(workspace, db, "judge", config, config_path=str(path), not_before=start_time())
    launch(workspace, db, run.id, from_start=resume is None, detach=detach, in_process=in_process, as_json=as_json)
