"""`dpotui train sft|reward|dpo|init`: start a run from a configuration, or resume one, and watch it."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import click

from core.config import CONFIGS, TrainingConfig, answers, load_config
from core.engine.client import ensure_engine, reap, submit
from core.errors import UserError
from core.store import open_store, runs
from core.store.runs import Kind
from core.workspace import open_workspace
from dpotui.commands.follow import finish, follow

KINDS: dict[str, Kind] = {"sft": "sft", "reward": "reward", "dpo": "dpo", "init": "init_check"}


@click.command("train")
@click.argument("what", type=click.Choice(list(KINDS)))
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="YAML file of the run.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: training.beta=0.2")
@click.option("--resume", metavar="RUN", help="Go on with a stopped, failed or interrupted run.")
@click.option("--detach", is_flag=True, help="Print the run's id and return at once.")
@click.option("--in-process", is_flag=True, help="Train in this process instead of a detached engine.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the run as JSON when it ended (or started, with --detach)."
)
@click.option("-w", "--workspace", "folder", type=click.Path(path_type=Path), default=Path(), help="Default: here.")
def command(
    what: str,
    config_path: Path | None,
    overrides: tuple[str, ...],
    resume: str | None,
    detach: bool,
    in_process: bool,
    as_json: bool,
    folder: Path,
) -> None:
    """Train: `sft`, `reward` or `dpo`; `init` checks the policy that DPO would start from (stage 3).

    The run is executed by a detached engine: closing this terminal does not end it. Ctrl-C stops it at the next step
    with a checkpoint.
    """
    kind = KINDS[what]
    # A configuration named by its path may lie in the workspace while we stand elsewhere.
    if config_path is not None and folder == Path() and config_path.exists():
        workspace = open_workspace(config_path.absolute().parent)
    else:
        workspace = open_workspace(folder)
    if detach and in_process:
        raise UserError("--detach and --in-process exclude each other: choose one")
    db = open_store(workspace.database)
    reap(workspace, db)
    if resume is not None:
        if overrides or config_path is not None:
            raise UserError("--resume goes on with the run's own configuration: leave out --config and --set")
        run = runs.get(db, resume)
        if run.kind != kind:
            raise UserError(f"{resume} is a run of kind {run.kind}: 'dpotui runs resume {resume}' takes any kind")
        runs.requeue(db, resume)
    else:
        read = "dpo" if what == "init" else what
        path = config_path.absolute() if config_path is not None else workspace.configs / f"{read}_config.yaml"
        config: TrainingConfig = load_config(path, CONFIGS[read], overrides)
        if detach and not as_json:
            # Who stays reads them in the run's log.
            for sentence in answers(config):
                click.echo(sentence, err=True)
        run = submit(workspace, db, kind, config, config_path=str(path))
    if in_process:
        from core.engine.host import InProcessEngine

        engine = InProcessEngine(workspace)
        engine.start()
        try:
            run = follow(workspace, db, run.id, from_start=resume is None)
        finally:
            engine.stop(hand_over=runs.get(db, run.id).state in runs.LIVE)
    else:
        ensure_engine(workspace)
        if not detach:
            run = follow(workspace, db, run.id, from_start=resume is None)
    if as_json:
        click.echo(
            json.dumps({"id": run.id, "kind": run.kind, "state": run.state, "step": run.step, "steps": run.steps})
        )
        if detach:
            return
        raise SystemExit(0 if run.state == "finished" else 1)
    if detach:
        click.echo(run.id)
        click.echo(f"started by {getpass.getuser()}; 'dpotui runs show {run.id}' or 'dpotui' watches it", err=True)
        return
    finish(run)
