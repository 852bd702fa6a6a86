"""`dpotui evaluate`: benchmarks, perplexity, win rate and the final gates of a model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from core.config import EvalConfig, load_config, standing
from core.engine.client import reap, submit
from core.errors import UserError
from core.store import Database, open_store, runs
from core.text import printable
from core.workspace import Workspace
from dpotui.commands.launch import launch, launch_options, refuse_both, requeue, start_time, workspace_of
from dpotui.commands.spread import hosts_options, over_hosts


@click.command("evaluate")
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Default: configs/eval_config.yaml, else .py."
)
@click.option("--baseline", is_flag=True, help="Measure the model that DPO starts from, not the final one.")
@click.option("--only", "parts", multiple=True, metavar="PART", help="Only this part; may be given several times.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: evaluation.seed=7")
@hosts_options
@click.option("--resume", metavar="RUN", help="Go on with a stopped, failed or interrupted run.")
@click.option("--recount", metavar="RUN", help="Count the votes of people on the answers of an evaluation, and leave.")
@click.option(
    "--sandbox", is_flag=True, help="Say how code that a model wrote would be run on this machine, and leave."
)
@launch_options
def command(
    config_path: Path | None,
    baseline: bool,
    parts: tuple[str, ...],
    overrides: tuple[str, ...],
    hosts: str | None,
    shares: str | None,
    resume: str | None,
    recount: str | None,
    sandbox: bool,
    detach: bool,
    in_process: bool,
    as_json: bool,
    folder: Path,
) -> None:
    """Measure what a model can do and whether its answers are preferred.

    Parts: benchmarks, perplexity, samples; of the final model also preference, win_rate and final. Results are on disk
    item by item: a run that was stopped or killed goes on where it was. Ctrl-C stops it.
    """
    if sandbox:
        _sandbox(as_json)
        return
    workspace = workspace_of(config_path, folder)
    refuse_both(detach, in_process)
    db = open_store(workspace.database)
    if recount is not None:
        if resume is not None or config_path is not None or baseline or parts or overrides:
            raise UserError("--recount counts votes on what a run has written: it takes no other option but --json")
        _recount(workspace, db, recount, as_json)
        return
    reap(workspace, db)
    given = [*overrides, *over_hosts(workspace, hosts, shares)]
    if baseline:
        given.append("evaluation.subject=baseline")
    if parts:
        given.append(f"evaluation.parts=[{', '.join(parts)}]")
    if resume is not None:
        run = requeue(db, resume, "evaluate", anew=bool(given) or config_path is not None)
    else:
        path = config_path.absolute() if config_path is not None else standing(workspace.configs / "eval_config.yaml")
        config = load_config(path, EvalConfig, given)
        from core.evaluation import consent

        for line in consent.told(workspace, config):
            click.echo(printable(line), err=True)
        run = submit(workspace, db, "evaluate", config, config_path=str(path), not_before=start_time())
    launch(workspace, db, run.id, from_start=resume is None, detach=detach, in_process=in_process, as_json=as_json)


def _sandbox(as_json: bool) -> None:
    """What is enforced on this machine, found by trying it. Exit code 1 where nothing isolates."""
    from core.evaluation.sandbox import probe

    found = probe()
    if as_json:
        document = {
            "kind": found.kind, "isolates": found.isolates, "enforced": found.enforced, "missing": found.missing,
            "refused": found.refused,
        }  # fmt: skip
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(f"sandbox: {found.kind}")
        for title, lines in (
            ("enforced, each thing was tried", found.enforced),
            ("NOT enforced on this machine", found.missing),
            ("better ways that do not work here", found.refused),
        ):
            if lines:
                click.echo(f"{title}:\n" + "\n".join(f"  {printable(line)}" for line in lines))
        click.echo("code runs only where capability_benchmarks.humaneval.run_generated_code is true")
    if not found.isolates:
        raise SystemExit(1)


def _recount(workspace: Workspace, db: Database, wanted: str, as_json: bool) -> None:
    """What the votes on an evaluation's answers come to now."""
    from core.evaluation import win_rate_people, win_rate_results

    run = runs.get(db, wanted)
    lines = win_rate_people.recount(db, workspace, run)
    if as_json:
        assert run.output_dir is not None
        click.echo(json.dumps(win_rate_results.read_figures(workspace.path(run.output_dir)), indent=2))
    else:
        click.echo("\n".join(map(printable, lines)))
