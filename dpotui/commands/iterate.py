"""`dpotui iterate`: rounds of DPO, what they came to, and the decision after each."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import click

from core.config import IterateConfig, load_config
from core.engine.client import reap, submit
from core.errors import UserError
from core.experiments.iterate_decide import decide, standing
from core.experiments.iterate_judgement import converged, gains
from core.experiments.iterate_plan import Plan, read_plan
from core.store import Database, facts, iterations, open_store, runs
from core.store.iterations import Choice, Decided, Iteration
from core.store.runs import Run
from core.text import one_line, printable
from core.workspace import open_workspace
from dpotui.commands.launch import launch, launch_options, refuse_both, requeue, start_time, workspace_of
from dpotui.commands.runs.common import json_option, workspace_option
from dpotui.iterations_table import COLUMNS, cells
from dpotui.lazy import LazyGroup

_HERE = "dpotui.commands.iterate"


@click.group(
    cls=LazyGroup,
    default="start",
    table={
        "start": (f"{_HERE}:start", "Start rounds, or resume them (the default)."),
        "show": (f"{_HERE}:show", "The rounds of a run: scores, convergence, weaknesses, decisions."),
        "decide": (f"{_HERE}:decide_", "Say what follows a round: continue, stop or rollback."),
    },
)
def command() -> None:
    """Iterative training (stage 6). Without a command: start."""


@click.command("start")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Default: configs/iterate_config.yaml.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: decision.by=rule")
@click.option(
    "--setting", "settings", multiple=True, metavar="KEY=VALUE", help="A key of every round: dpo.training.beta=0.2"
)
@click.option("--resume", metavar="RUN", help="Go on with a stopped, failed or interrupted run.")
@click.option("--dry-run", is_flag=True, help="Say what rounds would do; start nothing.")
@launch_options
def start(
    config_path: Path | None,
    overrides: tuple[str, ...],
    settings: tuple[str, ...],
    resume: str | None,
    dry_run: bool,
    detach: bool,
    in_process: bool,
    as_json: bool,
    folder: Path,
) -> None:
    """Start rounds of DPO: each goes on from the policy of the one before it, is measured, and is decided on.

    Where a person decides (decision.by: person), the run ends after each round and waits for 'dpotui iterate decide'.
    """
    workspace = workspace_of(config_path, folder)
    refuse_both(detach, in_process)
    with closing(open_store(workspace.database)) as db:
        reap(workspace, db)
        if resume is not None:
            anew = bool(overrides or settings) or config_path is not None
            run = requeue(db, resume, "iterate", anew=anew, dry_run=dry_run)
        else:
            path = config_path.absolute() if config_path is not None else workspace.configs / "iterate_config.yaml"
            config = load_config(path, IterateConfig, overrides)
            if settings:
                every = [*config.iteration.settings, *settings]
                shown = ", ".join(json.dumps(one, ensure_ascii=False) for one in every)
                config = load_config(path, IterateConfig, [*overrides, f"iteration.settings=[{shown}]"])
            plan = read_plan(workspace, config)
            if dry_run:
                _print_plan(plan, as_json)
                return
            if plan.evaluate is not None:
                from core.evaluation import consent

                for line in consent.told(workspace, plan.evaluate):
                    click.echo(printable(line), err=True)
            run = submit(workspace, db, "iterate", config, config_path=str(path), not_before=start_time())
        launch(workspace, db, run.id, from_start=resume is None, detach=detach, in_process=in_process, as_json=as_json)


def _print_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plan.snapshot(), indent=2, ensure_ascii=True))
        return
    config, dpo = plan.config, plan.dpo
    click.echo(f"up to {config.iteration.max_iterations} iterations from {printable(dpo.model.policy_model)}, each:")
    if plan.generate is not None and plan.judge is not None:
        generation = plan.generate.generation
        click.echo(
            f"  {generation.responses_per_prompt} answers of the policy to each prompt of"
            f" {printable(plan.generate.data.prompts_file)}, judged by {printable(', '.join(plan.judge.judges))}"
        )
    held = "the policy it starts from" if config.iteration.reference == "previous" else dpo.model.reference_model
    training = dpo.training
    pairs = f"{config.data.train_on} pairs" if config.data.on_policy else dpo.data.train_file
    click.echo(
        f"  DPO: {training.max_steps} steps on {printable(pairs)}, learning rate {training.learning_rate:g}, beta"
        f" {training.beta:g}, held to {printable(held)}"
    )
    if plan.evaluate is not None:
        click.echo(f"  evaluation: {', '.join(plan.evaluate.parts)}")
    click.echo(
        f"compared by {printable(config.score.fact)} ({config.score.goal}), decided by a {config.decision.by}; what"
        f" stands goes to {printable(config.logging.model_dir)}"
    )


@click.command("show")
@click.argument("run_id", metavar="RUN", required=False)
@json_option
@workspace_option
def show(run_id: str | None, as_json: bool, folder: Path) -> None:
    """The rounds of RUN (default: the newest): what each started from, its score, and what was decided."""
    workspace = open_workspace(folder)
    with closing(open_store(workspace.database)) as db:
        reap(workspace, db)
        run = _run(db, run_id)
        if as_json:
            click.echo(json.dumps(document(db, run), indent=2, ensure_ascii=True))
            return
        rounds = iterations.listing(db, run.id)
        click.echo(f"{run.id}  {run.state}" + (f"  {printable(run.phase)}" if run.phase else ""))
        _table([COLUMNS, *(cells(db, run, one) for one in rounds)])
        for one in rounds:
            for weak in one.weaknesses:
                click.echo(f"iteration {one.number} is weak: {printable(str(weak['text']))}")
        for decided in iterations.decisions(db, run.id):
            click.echo(f"iteration {decided.number}: {_said(decided)}")
        if run.state in ("stopped", "failed") and run.hint:
            click.echo(printable(run.hint))


def _run(db: Database, run_id: str | None) -> Run:
    if run_id is not None:
        found = runs.get(db, run_id)
        if found.kind != "iterate":
            raise UserError(f"{found.id} is a run of kind {found.kind}: 'dpotui runs show {found.id}' shows it")
        return found
    newest = runs.listing(db, kind="iterate", limit=1)
    if not newest:
        raise UserError("there are no iterations yet: 'dpotui iterate' starts some")
    return newest[0]


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _said(decided: Decided) -> str:
    to = (
        ""
        if decided.target == decided.number
        else f" to {'iteration ' * bool(decided.target)}{decided.target or 'the start'}"
    )
    then = ", then another" if decided.choice == "rollback" and decided.goes_on else ""
    settings = f" with {', '.join(decided.settings)}" if decided.settings else ""
    done = "" if decided.done is not None else " (not yet carried out)"
    return printable(f"{decided.choice}{to}{then}{settings}, by {decided.who}: {decided.reason}{done}")


def document(db: Database, run: Run) -> dict[str, Any]:
    """All that is known of the rounds, as JSON."""
    rounds = iterations.listing(db, run.id)
    known: dict[str, Any] = {"advice": None, "converged": None, "convergence": ""}
    by: dict[int, Any] = {}
    try:
        plan, done, advice = standing(db, run)
    except UserError:
        pass
    else:
        at_end, words = converged(done, plan.config)
        known = {
            "advice": {"choice": advice.choice, "target": advice.target, "reason": advice.reason},
            "converged": at_end, "convergence": words,
        }  # fmt: skip
        by = {number: {"value": got.value, "by_chance": got.noise} for number, got in gains(done, plan.config)}
    decided = {one.number: one for one in iterations.decisions(db, run.id)}
    return {
        "id": run.id,
        "state": run.state,
        "score": run.config.get("score"),
        **known,
        "iterations": [_row(db, one, by.get(one.number), decided.get(one.number)) for one in rounds],
    }


def _row(db: Database, one: Iteration, gain: Any, decided: Decided | None) -> dict[str, Any]:
    measured: dict[str, Any] = {}
    for run in (one.dpo, one.evaluation):
        found = facts.of_run(db, run) if run is not None else {}
        measured |= {name: fact.value for name, fact in found.items()}
    return {
        "number": one.number, "policy": one.policy, "reference": one.reference, "train_file": one.train_file,
        "model": one.model, "dpo": one.dpo, "evaluation": one.evaluation, "score": one.score,
        "interval": None if one.low is None else [one.low, one.high], "n": one.n, "unit": one.unit, "source": one.why,
        "gain": gain, "broken": list(one.broken), "weaknesses": list(one.weaknesses), "facts": measured,
        "decision": None if decided is None else {
            "choice": decided.choice, "target": decided.target, "goes_on": decided.goes_on, "reason": decided.reason,
            "who": decided.who, "time": decided.time, "done": decided.done, "settings": list(decided.settings),
        },
    }  # fmt: skip


@click.command("decide")
@click.argument("run_id", metavar="RUN")
@click.argument("choice", type=click.Choice(get_args(Choice)))
@click.option("--note", default="", metavar="WHY", help="Why; kept with the decision.")
@click.option("--to", type=int, metavar="N", help="Of rollback: the iteration to go back to; 0 is the start.")
@click.option("--go-on", is_flag=True, help="Of rollback: then another iteration from there.")
@click.option(
    "--setting", "settings", multiple=True, metavar="KEY=VALUE", help="From here on other: dpo.training.beta=0.2"
)
@launch_options
def decide_(
    run_id: str,
    choice: Choice,
    note: str,
    to: int | None,
    go_on: bool,
    settings: tuple[str, ...],
    detach: bool,
    in_process: bool,
    as_json: bool,
    folder: Path,
) -> None:
    """Decide what follows the last iteration of RUN; it is carried out at once.

    continue: another iteration from here. stop: this model stands. rollback: an earlier one does, the best one unless
    --to says which; its files and what was measured of it are put back in place.
    """
    workspace = open_workspace(folder)
    refuse_both(detach, in_process)
    with closing(open_store(workspace.database)) as db:
        reap(workspace, db)
        run = runs.get(db, run_id)
        if not note.strip():
            raise UserError("--note: a decision needs a reason: say why")
        made = decide(db, run, choice, note, getpass.getuser(), to=to, goes_on=go_on, settings=settings)
        if not as_json:
            click.echo(f"{run.id}, iteration {made.number}: {one_line(_said(made), 400)}", err=True)
        launch(workspace, db, run.id, from_start=False, detach=detach, in_process=in_process, as_json=as_json)
