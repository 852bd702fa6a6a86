"""`dpotui generate`: several responses to each prompt, sampled from a model; a run like any other."""

from __future__ import annotations

import json
from pathlib import Path

import click

from core.config import GenerateConfig, load_config, missing_files
from core.config.models import AUTO
from core.data.prompts import Prompts, load_prompts
from core.engine.client import reap, submit
from core.store import open_store
from core.text import printable
from core.workspace import Workspace
from dpotui.commands.launch import launch, launch_options, refuse_both, requeue, start_time, workspace_of
from dpotui.commands.spread import hosts_options, over_hosts

# Bad rows of the prompts file that a plan names.
_SHOWN = 5


@click.command("generate")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="YAML file of the run.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: generation.max_tokens=256"
)
@hosts_options
@click.option("--resume", metavar="RUN", help="Go on with a stopped, failed or interrupted run.")
@launch_options
@click.option("--dry-run", is_flag=True, help="Say what would be done; start nothing.")
def command(
    config_path: Path | None,
    overrides: tuple[str, ...],
    hosts: str | None,
    shares: str | None,
    resume: str | None,
    detach: bool,
    in_process: bool,
    dry_run: bool,
    as_json: bool,
    folder: Path,
) -> None:
    """Write several responses to each prompt, of which 'dpotui judge' and people make preference pairs.

    The run is executed by a detached engine: closing this terminal does not end it. What is finished is kept at once;
    Ctrl-C stops the run, and --resume goes on with the prompts that are left.
    """
    workspace = workspace_of(config_path, folder)
    overrides += over_hosts(workspace, hosts, shares)
    refuse_both(detach, in_process)
    db = open_store(workspace.database)
    reap(workspace, db)
    if resume is not None:
        anew = bool(overrides) or config_path is not None
        run = requeue(db, resume, "generate", anew=anew, dry_run=dry_run)
    else:
        path = config_path.absolute() if config_path is not None else workspace.configs / "generate_config.yaml"
        config = load_config(path, GenerateConfig, overrides)
        if dry_run:
            _print_plan(workspace, config, as_json)
            return
        run = submit(workspace, db, "generate", config, config_path=str(path), not_before=start_time())
    launch(workspace, db, run.id, from_start=resume is None, detach=detach, in_process=in_process, as_json=as_json)


def _print_plan(workspace: Workspace, config: GenerateConfig, as_json: bool) -> None:
    """What would be done: lacks first, then the prompts and their responses."""
    missing = missing_files(config, workspace)
    options, data = config.generation, config.data
    path = workspace.path(data.prompts_file)
    found = load_prompts(path, data.limit, _SHOWN) if path.is_file() else None
    if as_json:
        document = {
            "kind": "generate",
            "config": config.model_dump(mode="json"),
            "missing": missing,
            "prompts": _counted(found) if found else None,
            "responses": len(found.prompts) * options.responses_per_prompt if found else None,
            "recipes": options.counts(),
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=True))
        return
    for sentence in missing:
        click.echo(f"missing: {sentence}")
    if found is not None:
        for row in found.examples:
            click.echo(f"left out: {printable(data.prompts_file)}:{row.line}: {row.reason}")
        counted = _counted(found)
        more = [f"{counted[name]} {words}" for name, words in _WORDS.items() if counted[name]]
        click.echo(
            f"{printable(data.prompts_file)}: {len(found.prompts)} different prompts"
            f"{' (' + ', '.join(more) + ')' if more else ''}"
        )
    many = f" = {len(found.prompts) * options.responses_per_prompt} responses" if found else ""
    size = "auto" if options.batch_size == AUTO else str(options.batch_size)
    click.echo(
        f"generate: {options.responses_per_prompt} responses a prompt{many}, at most {options.max_tokens} tokens each,"
        f" {size} at a time -> {printable(data.output_file)}"
    )
    for name, count in options.counts().items():
        recipe = options.recipes.get(name)
        model = recipe.model if recipe is not None and recipe.model else config.model.base_model
        click.echo(f"  {name}: {count} from {printable(model)}")


_WORDS = {"duplicates": "rows repeat one of them", "beyond": "more are beyond data.limit", "bad": "rows left out"}


def _counted(found: Prompts) -> dict[str, int]:
    return {
        "rows": found.rows,
        "prompts": len(found.prompts),
        "duplicates": found.duplicates,
        "beyond": found.beyond,
        "bad": sum(found.errors.values()),
    }
