"""`dpotui train sft|reward|dpo|init`: start a run from a configuration, or resume one, and watch it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from core.config import CONFIGS, TrainingConfig, answers, load_config, missing_files
from core.config.models import AUTO
from core.engine.client import reap, submit
from core.errors import UserError
from core.experiments.distributed import hosts_of, resume_on
from core.experiments.hosts import Hosts
from core.store import open_store, runs
from core.store.runs import Kind
from core.text import printable
from core.training.forecast import Forecast, forecast, model_of
from core.workspace import Workspace
from dpotui.commands.distributed import chosen, distributed_options
from dpotui.commands.launch import launch, launch_options, refuse_both, requeue, start_time, workspace_of

KINDS: dict[str, Kind] = {"sft": "sft", "reward": "reward", "dpo": "dpo", "init": "init_check"}


@click.command("train")
@click.argument("what", type=click.Choice(list(KINDS)))
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="YAML file of the run.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: training.beta=0.2")
@click.option("--resume", metavar="RUN", help="Go on with a stopped, failed or interrupted run.")
@distributed_options
@launch_options
@click.option("--dry-run", is_flag=True, help="Say what would be done and what memory it takes; start nothing.")
@click.option("--force", is_flag=True, help="Start also where the memory of this machine would not do.")
def command(
    what: str,
    config_path: Path | None,
    overrides: tuple[str, ...],
    resume: str | None,
    hosts: str | None,
    backend: str | None,
    shares: str | None,
    detach: bool,
    in_process: bool,
    dry_run: bool,
    force: bool,
    as_json: bool,
    folder: Path,
) -> None:
    """Train: `sft`, `reward` or `dpo`; `init` checks the policy that DPO would start from (stage 3).

    The run is executed by a detached engine: closing this terminal does not end it. Ctrl-C stops it at the next step
    with a checkpoint.
    """
    kind = KINDS[what]
    workspace = workspace_of(config_path, folder)
    options = chosen(workspace, hosts, backend, shares)
    refuse_both(detach, in_process)
    db = open_store(workspace.database)
    reap(workspace, db)
    if resume is not None:
        anew = bool(overrides) or config_path is not None
        if options:
            resume_on(db, workspace, runs.get(db, resume), options)
        run = requeue(db, resume, kind, anew=anew, dry_run=dry_run)
    else:
        read = "dpo" if what == "init" else what
        path = config_path.absolute() if config_path is not None else workspace.configs / f"{read}_config.yaml"
        config: TrainingConfig = load_config(path, CONFIGS[read], (*overrides, *options))
        # What is wrong with the hosts is said here, and not when the run begins.
        spread = hosts_of(workspace, config) if kind != "init_check" else None
        if dry_run:
            _print_plan(workspace, kind, config, spread, as_json)
            return
        _look_at_memory(workspace, kind, config, force)
        if detach and not as_json:
            # Who stays reads them in the run's log.
            for sentence in answers(config):
                click.echo(sentence, err=True)
        run = submit(workspace, db, kind, config, config_path=str(path), not_before=start_time())
        if force:
            runs.update(db, run.id, forced=1)
    launch(workspace, db, run.id, from_start=resume is None, detach=detach, in_process=in_process, as_json=as_json)


def _print_plan(workspace: Workspace, kind: Kind, config: TrainingConfig, hosts: Hosts | None, as_json: bool) -> None:
    """What would be done: lacks first, then what keys become here, then the memory."""
    missing = missing_files(config, workspace)
    found, unknown = _forecast(workspace, config)
    training = config.training
    if as_json:
        document = {
            "kind": kind,
            "config": config.model_dump(mode="json"),
            "answers": answers(config),
            "missing": missing,
            "hosts": hosts.as_json() if hosts else None,
            "memory": found.as_json() if found else None,
            "memory_unknown": unknown,
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=True))
        return
    for sentence in missing:
        click.echo(f"missing: {sentence}")
    size = "auto" if training.batch_size == AUTO else str(training.batch_size)
    click.echo(
        f"{kind}: {printable(model_of(config))}, {config.adapter.type}, {printable(config.data.train_file)}:"
        f" {training.max_steps} steps of {training.gradient_accumulation_steps} x {size}"
    )
    for sentence in answers(config):
        click.echo(printable(sentence))
    if hosts is not None:
        click.echo(f"{len(hosts)} ranks over {hosts.backend}: {', '.join(hosts.names)}")
    click.echo(printable(found.sentence()) if found else f"memory: {unknown}")
    if found is not None and found.mend():
        click.echo(f"  → {found.mend()}")


def _look_at_memory(workspace: Workspace, kind: Kind, config: TrainingConfig, force: bool) -> None:
    """Warn of a run that is too large, and refuse one that cannot be; its log will say what memory it takes."""
    if kind == "init_check":
        return
    found, _ = _forecast(workspace, config)
    if found is None or found.verdict != "TOO LARGE":
        return
    words = f"{printable(found.sentence())}; {found.mend()}"
    if found.impossible and not force:
        raise UserError(f"{words}; --force starts it all the same")
    click.echo(f"warning: {words}", err=True)


def _forecast(workspace: Workspace, config: TrainingConfig) -> tuple[Forecast | None, str]:
    """The memory of a run, or why it is not known: the model may yet be made or fetched."""
    try:
        return forecast(workspace, config), ""
    except UserError as error:
        return None, printable(str(error))
