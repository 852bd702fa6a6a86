"""`dpotui sweep`: hyperparameters tried by W&B's sweep file; how it stands, and its best trial written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.config import missing_files
from core.engine.client import reap
from core.errors import UserError
from core.store import Database, open_store, runs
from core.store.runs import Run
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui.commands.launch import launch, launch_options, refuse_both, requeue, workspace_of

if TYPE_CHECKING:
    from core.experiments.sweep_plan import Plan
    from core.experiments.sweep_standing import Standing

CONFIG = "configs/sweep_config.yaml"

_FOLDER = click.option(
    "-w", "--workspace", "folder", type=click.Path(path_type=Path), default=Path(), help="Default: here."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group("sweep", invoke_without_command=True)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help=f"W&B's sweep file ({CONFIG}).")
@click.option("--base", type=click.Path(path_type=Path), help="dpo_config.yaml of every trial (configs/).")
@click.option("--trials", type=int, help="At most so many (default: run_cap of the file, else 12; of a grid all).")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of --base.")
@click.option("--resume", metavar="RUN", help="Go on with a stopped, failed or interrupted sweep.")
@launch_options
@click.option("--dry-run", is_flag=True, help="Say what would be drawn and what that sets; start nothing.")
@click.pass_context
def command(
    ctx: click.Context,
    config_path: Path | None,
    base: Path | None,
    trials: int | None,
    overrides: tuple[str, ...],
    resume: str | None,
    detach: bool,
    in_process: bool,
    as_json: bool,
    folder: Path,
    dry_run: bool,
) -> None:
    """Try hyperparameters of DPO as a sweep file of Weights & Biases asks for, trial by trial.

    Each trial is a run of its own; values are drawn with Optuna, which learns from the trials before. `sweep show`
    tells how it stands, `sweep promote` writes the best values into a configuration.
    """
    if ctx.invoked_subcommand is not None:
        return
    workspace = workspace_of(config_path, folder)
    refuse_both(detach, in_process)
    db = open_store(workspace.database)
    reap(workspace, db)
    if resume is not None:
        anew = bool(overrides) or any(option is not None for option in (config_path, base, trials))
        run = requeue(db, resume, "sweep", anew=anew, dry_run=dry_run)
    else:
        from core.experiments.sweep_plan import plan_sweep
        from core.experiments.sweep_start import start_sweep

        path = config_path.absolute() if config_path is not None else workspace.path(CONFIG)
        plan = plan_sweep(workspace, path, base=base.absolute() if base else None, overrides=overrides, trials=trials)
        if dry_run:
            _print_plan(workspace, plan, as_json)
            return
        for note in plan.notes:
            click.echo(printable(note), err=True)
        run = start_sweep(workspace, db, plan.config, path)
    launch(workspace, db, run.id, from_start=resume is None, detach=detach, in_process=in_process, as_json=as_json)


def _print_plan(workspace: Workspace, plan: Plan, as_json: bool) -> None:
    """What would be done; what is missing first."""
    from core.experiments.sweep_plan import as_document

    missing = missing_files(plan.config, workspace)
    if as_json:
        click.echo(json.dumps({**as_document(plan), "missing": missing}, indent=2, ensure_ascii=True))
        return
    for sentence in missing:
        click.echo(f"missing: {sentence}")
    for line in plan_lines(plan):
        click.echo(printable(line))


def plan_lines(plan: Plan) -> list[str]:
    """A plan as a person reads it."""
    from core.experiments.sweep_plan import as_document

    told = as_document(plan)
    lines = [f"{told['trials']} trials, {told['method']}: {plan.metric.goal} {told['metric']['means']}"]
    if plan.metric.target is not None:
        lines.append(f"ends when a trial within the KL limit reaches {plan.metric.target:g}")
    rows = []
    for parameter in told["parameters"]:
        becomes = f" = {parameter['becomes']}" if parameter["becomes"] else ""
        draws = ", ".join(_said(value) for value in parameter["draws"][:3])
        constant = parameter["distribution"] == "constant"
        rows.append((parameter["name"], f"{parameter['key']}{becomes}", parameter["words"], "" if constant else draws))
    lines += _columns(("parameter", "sets", "drawn from", "such as"), rows)
    low, high = plan.steps
    steps = f"{low}" if low == high else f"{low} to {high}"
    amount = f"a trial takes {steps} steps"
    if plan.pairs is not None:
        few, many = plan.pairs
        amount += f" of together {few:,} pairs" if few == many else f" of together {few:,} to {many:,} pairs"
        amount += f"; all of them at most {many * plan.config.trials:,} pairs"
    lines.append(amount)
    if plan.config.evaluate is not None:
        lines.append(f"after each trial an evaluation measures {', '.join(plan.config.evaluate.parts)}")
    return [*lines, *(f"note: {note}" for note in plan.notes)]


def _said(value: Any) -> str:
    from core.config.sweep_distributions import said

    return said(value)


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]


def _sweep(db: Database, run_id: str | None) -> Run:
    """That sweep, or the newest one.

    Raises:
        UserError: there is none.
    """
    if run_id is None:
        found = runs.listing(db, kind="sweep", limit=1)
        if not found:
            raise UserError("there is no sweep yet: 'dpotui sweep --config FILE' starts one")
        return found[0]
    run = runs.get(db, run_id)
    if run.kind != "sweep" and run.part_of is not None:
        run = runs.get(db, run.part_of)
    if run.kind != "sweep":
        raise UserError(f"{run_id} is a run of kind {run.kind}, not a sweep: 'dpotui runs show {run_id}'")
    return run


@command.command("show")
@click.argument("run_id", metavar="[RUN]", required=False)
@_JSON
@_FOLDER
def show(run_id: str | None, as_json: bool, folder: Path) -> None:
    """How a sweep stands, the newest one by default: its trials, the best, and which parameters matter."""
    from core.experiments.sweep_standing import as_document, standing

    workspace = workspace_of(None, folder)
    db = open_store(workspace.database)
    reap(workspace, db)
    found = standing(db, _sweep(db, run_id))
    if as_json:
        click.echo(json.dumps(as_document(found), indent=2, ensure_ascii=True))
        return
    for line in standing_lines(found):
        click.echo(printable(line))


def standing_lines(of: Standing) -> list[str]:
    """A sweep as a person reads it."""
    from core.experiments.sweep_standing import seconds

    run, best = of.sweep, of.best
    lines = [f"{run.id} {run.state}, {run.step} of {run.steps} trials: {of.metric.goal} {of.measure.asked}"]
    rows = []
    for trial in of.ranked():
        mark = "*" if best is not None and trial.number == best.number else ""
        kl = "" if trial.kl is None else f"{trial.kl:.4g}{'' if of.within(trial) else ' beyond'}"
        took = seconds(trial)
        values = ", ".join(f"{name} {_said(value)}" for name, value in trial.parameters.items())
        of_trial = of.runs.get(trial.number)
        measured = "" if trial.value is None else f"{trial.value:.4g}{of.measure.unit}"
        rows.append((
            f"{mark}{trial.number}", of.state(trial), measured, kl, "" if took is None else f"{took:.0f} s",
            of_trial.id if of_trial else "", values,
        ))  # fmt: skip
    lines += _columns(("trial", "state", of.measure.asked, "KL", "took", "run", "parameters"), rows)
    lines += [
        f"trial {trial.number} {trial.state}: {one_line(trial.reason, 200)}" for trial in of.trials if trial.reason
    ]
    if of.importances:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in of.importances.items())
        lines.append(f"what made the difference (PED-ANOVA): {shares}")
    if best is not None:
        beyond = "" if of.within(best) else f", though beyond the KL limit {of.kl_limit:g}, as all others"
        lines.append(f"* the best: trial {best.number}{beyond}; 'dpotui sweep promote {run.id}' writes its values")
    return lines


@command.command("promote")
@click.argument("run_id", metavar="RUN")
@click.option("--trial", "number", type=int, help="That trial instead of the best one.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file (configs/dpo_config.yaml).")
@click.option("--dry-run", is_flag=True, help="Say what would change; write nothing.")
@_JSON
@_FOLDER
def promote(run_id: str, number: int | None, output: Path | None, dry_run: bool, as_json: bool, folder: Path) -> None:
    """Write the values of a sweep's best trial into a DPO configuration; its comments stay."""
    from core.experiments.sweep_plan import BASE
    from core.experiments.sweep_promote import chosen, promotion, write
    from core.experiments.sweep_standing import standing

    workspace = workspace_of(None, folder)
    db = open_store(workspace.database)
    of = standing(db, _sweep(db, run_id))
    trial = chosen(of, number)
    path = output.absolute() if output is not None else workspace.path(BASE)
    found = promotion(of, trial, path)
    if not dry_run:
        write(found)
    if as_json:
        told = {
            "sweep": of.sweep.id,
            "trial": trial.number,
            "run": trial.run,
            "file": str(path),
            "written": not dry_run and bool(found.changes),
            "changes": [{"key": each.key, "before": each.before, "after": each.after} for each in found.changes],
            "notes": list(found.notes),
        }
        click.echo(json.dumps(told, indent=2, ensure_ascii=True))
        return
    shown = printable(workspace.relative(path))
    if not found.changes:
        click.echo(f"{shown} has the values of trial {trial.number} already")
    for change in found.changes:
        click.echo(printable(f"{change.key}: {_said(change.before)} → {_said(change.after)}"))
    if found.changes:
        verb = "would be written" if dry_run else "written"
        click.echo(f"{verb} to {shown}: the values of trial {trial.number} of {of.sweep.id}")
    for note in found.notes:
        click.echo(f"note: {printable(note)}", err=True)
