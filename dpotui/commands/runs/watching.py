"""`dpotui runs gradients|samples`: what a run in training shows beside its metrics, measured or written on the way."""

from __future__ import annotations

import getpass
import math
import time
from pathlib import Path
from typing import Any

import click

from core.errors import UserError
from core.store import Database, commands, gradients, runs, samples
from core.store.gradients import Norms
from core.store.runs import Run
from core.store.samples import Sample
from core.text import one_line, printable
from dpotui import say
from dpotui.commands.runs.common import json_option, opened, print_json, table, workspace_option
from dpotui.gradients import Module, Order, Table
from dpotui.gradients import table as ordered

# A step of a large model takes seconds, one with many batches minutes.
PATIENCE = 120.0


@click.command("gradients")
@click.argument("run_id", metavar="RUN")
@click.option("--step", type=click.IntRange(min=0), help="A step that was measured, instead of asking.")
@click.option("--sort", "order", type=click.Choice(["layer", "norm"]), default="layer", help="Default: layer.")
@click.option(
    "--wait", type=click.FloatRange(min=0), default=PATIENCE, show_default=True, help="Seconds to wait for the step."
)
@json_option
@workspace_option
def gradients_(run_id: str, step: int | None, order: Order, wait: float, as_json: bool, folder: Path) -> None:
    """Norms of the gradient by module: of the next step of a run in training, else of the newest that was measured."""
    with opened(folder) as (_, db):
        run = runs.get(db, run_id)
        asks = step is None and run.state in runs.LIVE
        found = _ask(db, run, wait) if asks else _measured(db, run, step)
        shown = ordered(found.modules)
        if as_json:
            print_json(_document(run, found, shown))
            return
        click.echo(_headline(found, shown))
        for line in table("by module", _rows(shown, order)):
            click.echo(line)


def _ask(db: Database, run: Run, wait: float) -> Norms:
    """Have the next step measured, and wait for it.

    Raises:
        UserError: no step was measured, in the run's own words or for want of time.
    """
    sent = commands.send(db, run.id, "gradients", getpass.getuser())
    deadline = time.monotonic() + wait
    while True:
        (answered,) = [command for command in commands.of_run(db, run.id) if command.id == sent]
        if answered.answer is not None:
            break
        if time.monotonic() >= deadline:
            paused = runs.get(db, run.id).state == "paused"
            why = f"is paused: 'dpotui runs resume {run.id}'" if paused else "is still in a step"
            raise UserError(f"{run.id} {why}; what was asked stays asked, and --wait waits longer than {wait:g} s")
        time.sleep(0.1)
    found = [norms for step in gradients.steps(db, run.id) if (norms := gradients.at(db, run.id, step)) is not None]
    newest = max(found, key=lambda norms: norms.time, default=None)
    if newest is None or newest.time < answered.time:
        raise UserError(f"{run.id}: {answered.answer}")
    return newest


def _measured(db: Database, run: Run, step: int | None) -> Norms:
    steps = gradients.steps(db, run.id)
    if not steps:
        raise UserError(f"{run.id} is {run.state}, and none of its steps was measured: ask while it trains")
    found = gradients.at(db, run.id, steps[-1] if step is None else step)
    if found is None:
        raise UserError(f"--step {step}: not measured; those that were: {one_line(', '.join(map(str, steps)), 200)}")
    return found


def _headline(found: Norms, shown: Table) -> str:
    if lost := shown.lost:
        return f"step {found.step}: no number in {len(lost)} of {len(shown.modules)} modules"
    return f"step {found.step}: norm {say.number(shown.total)} of {len(shown.modules)} modules, before clipping"


def _rows(shown: Table, order: Order) -> list[tuple[str, ...]]:
    def row(module: Module) -> tuple[str, ...]:
        share = "" if module.share is None else f"{100 * module.share:.1f}%"
        return printable(module.name), "NaN" if module.lost else say.number(module.norm), share

    return [row(module) for module in shown.ordered(order)]


def _document(run: Run, found: Norms, shown: Table) -> dict[str, Any]:
    return {
        "run": run.id,
        "step": found.step,
        "time": found.time,
        "norm": shown.total if math.isfinite(shown.total) else None,
        "modules": [
            {
                "name": module.name,
                "layer": module.layer,
                "kind": module.kind,
                "norm": None if module.lost else module.norm,
                "share": module.share,
            }
            for module in shown.modules
        ],
    }


@click.command("samples")
@click.argument("run_id", metavar="RUN")
@click.option("--step", type=click.IntRange(min=0), help="An evaluation by its step (default: the newest).")
@json_option
@workspace_option
def samples_(run_id: str, step: int | None, as_json: bool, folder: Path) -> None:
    """What RUN wrote to validation prompts at an evaluation, and what the reference wrote to them."""
    with opened(folder) as (_, db):
        run = runs.get(db, run_id)
        steps = samples.steps(db, run.id)
        if not steps:
            raise UserError(
                f"{run.id} has no samples: it writes some at evaluations if training.sample_prompts is not 0"
            )
        at = steps[-1] if step is None else step
        if at not in steps:
            raise UserError(f"--step {at}: no samples; there are some of {one_line(', '.join(map(str, steps)), 200)}")
        theirs = {sample.line: sample for sample in samples.reference(db, run.id)}
        pairs = [(sample, theirs.get(sample.line)) for sample in samples.at(db, run.id, at)]
        if as_json:
            print_json(
                {
                    "run": run.id,
                    "step": at,
                    "steps": steps,
                    "samples": [
                        {
                            "line": ours.line,
                            "prompt": ours.prompt,
                            "policy": _response(ours),
                            "reference": _response(reference) if reference is not None else None,
                        }
                        for ours, reference in pairs
                    ],
                }
            )
            return
        for ours, reference in pairs:
            click.echo(f"line {ours.line}, step {at}\n{_indented(ours.prompt)}")
            for who, sample in (("policy", ours), ("reference", reference)):
                if sample is not None:
                    ended = "cut" if sample.finish == "length" else "ended"
                    click.echo(f"  {who} ({sample.tokens} tokens, {ended})\n{_indented(sample.text or '(nothing)')}")


def _response(sample: Sample) -> dict[str, Any]:
    return {"text": sample.text, "finish": sample.finish, "tokens": sample.tokens}


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in printable(text).split("\n"))
