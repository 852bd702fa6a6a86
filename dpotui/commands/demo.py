"""`dpotui demo`: make the demo's workspace, start its stages, and open the workbench on them or print how they go."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click

from core import checklist, gates
from core.config import RUN_CONFIGS, load_config
from core.data.pairs import Pair, read_pairs
from core.demo import MODEL, is_demo, make_demo
from core.engine.client import ensure_engine, reap, submit
from core.errors import UserError
from core.gates import GateResult
from core.store import Database, open_store, runs
from core.store.runs import Kind, Run
from core.text import one_line, printable
from core.workspace import Workspace, create_workspace, is_workspace
from dpotui.commands import checklist_view
from dpotui.commands.follow import closing_line, follow
from dpotui.commands.gates import table
from dpotui.commands.open import no_terminal


@dataclass(frozen=True, slots=True)
class Step:
    """A run of the demo."""

    kind: Kind
    stage: int
    title: str
    config: str = "dpo"
    overrides: tuple[str, ...] = ()


# What the demo runs, in this order, each when the one before has finished.
STEPS = (
    Step("sft", 1, "stage 1: a model that knows nothing learns the animals and four ways to answer", "sft"),
    Step("evaluate", 1, "stage 1: how much of it does the model know now?", "eval", ("evaluation.subject=baseline",)),
    Step("generate", 2, "stage 2: the model answers some prompts in several ways", "generate"),
    Step("data_check", 2, "stage 2: are the preference pairs fit to learn from?"),
    Step("init_check", 3, "stage 3: does the policy start where its reference stands?"),
    Step("reward", 4, "stage 4: a reward model learns what visitors like", "reward"),
    Step("judge", 2, "stage 2 again: the reward model chooses among the model's own answers", "judge"),
    Step("dpo", 5, "stage 5: the policy learns which answers visitors like"),
    Step("evaluate", 7, "stage 7: what it still knows, and whether its answers are liked better", "eval"),
)

# Pairs that are shown before DPO learns from them.
SAMPLES = 3

# What makes the KL gate pass that the demo's own configuration fails.
CALMER = "--set training.learning_rate=5e-4 --set training.beta=0.1"


@click.command("demo")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("dpotui-demo"))
@click.option("--headless", is_flag=True, help="Print how it goes instead of opening the workbench.")
def command(folder: Path, headless: bool) -> None:
    """Run the stages on a small model and data, made on the spot in FOLDER (default: dpotui-demo).

    Fine-tuning, what the model knows then, several responses to some prompts, a check of the data, a check of the
    policy, a reward model that judges those responses, DPO, and what came of it: about a minute and a half on two
    cores. A demo that stands there already goes on where it
    was; nothing of it is overwritten.
    """
    reason = None if headless else no_terminal()
    if reason is not None:
        raise UserError(f"{reason}: the workbench needs a terminal; 'dpotui demo --headless' prints instead")
    workspace = _workspace(folder)
    with closing(open_store(workspace.database)) as db:
        reap(workspace, db)
        before = {run.id for run in runs.listing(db, states=("finished",))}
        queued = _queue(workspace, db)
        if not set(queued) <= before:
            ensure_engine(workspace)
        if headless:
            _watch(workspace, db, queued, before)
            return
    from dpotui.app import open_workbench

    open_workbench(workspace)


def _workspace(folder: Path) -> Workspace:
    """The demo's workspace, made where it is not there yet. A folder of other things is left alone."""
    root = folder.expanduser().absolute()
    if root.is_dir() and any(root.iterdir()) and not is_demo(Workspace(root)):
        if is_workspace(root):
            raise UserError(f"{root} is a workspace of its own: name another folder for the demo")
        if not (root / MODEL).is_dir():  # else its making was interrupted
            raise UserError(f"{root} is not empty and no demo: name another folder, such as {root / 'demo'}")
    workspace = create_workspace(folder)
    make_demo(workspace)
    open_store(workspace.database, create=True).close()
    return workspace


def _queue(workspace: Workspace, db: Database) -> list[str]:
    """The runs of the stages in order: the newest of each kind, resumed where it can be, or a new one."""
    found: list[str] = []
    for step in STEPS:
        newest = next((run for run in runs.listing(db, kind=step.kind) if run.stage == step.stage), None)
        if newest is None:
            path = workspace.configs / f"{step.config}_config.yaml"
            config = load_config(path, RUN_CONFIGS[step.config], step.overrides)
            parent = found[-1] if found else None
            newest = submit(workspace, db, step.kind, config, config_path=str(path), parent=parent)
        elif newest.state in runs.RESUMABLE:
            runs.requeue(db, newest.id)
        found.append(newest.id)
    return found


# Headless


def _watch(workspace: Workspace, db: Database, queued: list[str], before: set[str]) -> None:
    """Follow the runs one after the other; those that had finished `before` this call are named only."""
    started = time.monotonic()
    click.echo(f"workspace  {one_line(str(workspace.root), 200)}")
    for step, run_id in zip(STEPS, queued, strict=True):
        run = runs.get(db, run_id)
        click.echo(f"\n{run_id}  {step.title}")
        if run_id in before:
            click.echo(f"{closing_line(run)} (before)")
        else:
            if run.kind == "dpo":
                _show_pairs(workspace.path(run.config["data"]["train_file"]))
            run = follow(workspace, db, run_id, from_start=True)
            click.echo(f"{closing_line(run)}{_took(run)}")
        if run.state != "finished":
            raise SystemExit(1)
    seconds = time.monotonic() - started
    results = gates.evaluate(db, workspace)
    gates.record(db, results)
    _report(workspace, db, results)
    took = "" if before >= set(queued) else f"{seconds:.0f} s in all. "
    click.echo(f"\n{took}Look around: {_program()} {_quoted(workspace)}")


def _show_pairs(path: Path) -> None:
    """What the policy is about to learn from, as a person reads it."""
    for pair in islice((row for row in read_pairs(path) if isinstance(row, Pair)), SAMPLES):
        for label, text, score in (
            ("visitor", pair.prompt, None),
            ("chosen", pair.chosen, pair.chosen_score),
            ("rejected", pair.rejected, pair.rejected_score),
        ):
            mark = "" if score is None else f"  ({score:.2f})"
            click.echo(f"  {label:<9} {one_line(str(text), 200)}{mark}")
        click.echo()


def _took(run: Run) -> str:
    return f" ({run.ended - run.started:.0f} s)" if run.started is not None and run.ended is not None else ""


def _quoted(workspace: Workspace) -> str:
    return shlex.quote(printable(str(workspace.root)))


def _program() -> str:
    """How the person can call this program: by its name where the shell finds it, else by this Python."""
    return "dpotui" if shutil.which("dpotui") else f"{shlex.quote(sys.executable)} -m dpotui"


def _report(workspace: Workspace, db: Database, results: list[GateResult]) -> None:
    measured = [result for result in results if result.verdict != "UNKNOWN"]
    click.echo("\nGates")
    table(measured)
    unknown = [f"{result.gate.stage} {result.gate.title}" for result in results if result.verdict == "UNKNOWN"]
    if unknown:
        click.echo(f"UNKNOWN, because nothing here measures them: {', '.join(unknown)}")
    click.echo("\nChecklist items that filled themselves")
    for line in _filled(workspace, db):
        click.echo(line)
    if any(result.gate.fact == "dpo.kl_divergence" and result.verdict == "FAIL" for result in measured):
        click.echo("\nThe KL gate FAILs: the policy went too far from its reference. A calmer run passes:")
        click.echo(f"  {_program()} train dpo -w {_quoted(workspace)} {CALMER}")


def _filled(workspace: Workspace, db: Database) -> Iterator[str]:
    """Each stage with those of its items that facts ticked."""
    roots = checklist.load_tree(workspace)
    states = checklist.states(db, workspace, roots)
    for root in roots:
        by_facts = [
            item
            for item in checklist.by_id([root]).values()
            if item.leaf and states[item.id].by == "fact" and states[item.id].state == "done"
        ]
        if by_facts:
            yield checklist_view.line(root, states[root.id])
            yield from (checklist_view.line(item, states[item.id], depth=1) for item in by_facts)
