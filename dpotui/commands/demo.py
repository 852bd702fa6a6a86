"""`dpotui demo`: make the demo's workspace, start its stages, and open the workbench on them or print how they go."""

from __future__ import annotations

import getpass
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
    """A run of the demo. `name` is the run's own, by which it is found again."""

    name: str
    kind: Kind
    title: str
    config: str
    overrides: tuple[str, ...] = ()


# What the demo runs, in this order, each when the one before has finished.
STEPS = (
    Step("sft", "sft", "stage 1: a model that knows nothing learns the animals and four ways to answer", "sft"),
    Step(
        "baseline", "evaluate", "stage 1: how much of it does the model know now?", "eval",
        ("evaluation.subject=baseline",),
    ),
    Step("responses", "generate", "stage 2: the model answers some prompts in several ways", "generate"),
    Step("pairs", "data_check", "stage 2: are the preference pairs fit to learn from?", "dpo"),
    Step("start", "init_check", "stage 3: does the policy start where its reference stands?", "dpo"),
    Step("taste", "reward", "stage 4: a reward model learns what visitors like", "reward"),
    Step("verdicts", "judge", "stage 2 again: the reward model chooses among the model's own answers", "judge"),
    Step("in a hurry", "dpo", "stage 5: the policy learns which answers visitors like, in too much of a hurry", "dpo"),
    Step("after the hurry", "evaluate", "stage 7: what it still knows, and whether its answers please better", "eval"),
    Step("rounds", "iterate", "stage 6: rounds in smaller steps, and back from the one that goes too far", "iterate"),
)  # fmt: skip

# Pairs that are shown before DPO learns from them.
SAMPLES = 3


@click.command("demo")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("dpotui-demo"))
@click.option("--headless", is_flag=True, help="Print how it goes instead of opening the workbench.")
def command(folder: Path, headless: bool) -> None:
    """Run the stages on a small model and data, made on the spot in FOLDER (default: dpotui-demo).

    Fine-tuning and what the model knows then, several responses to some prompts, a check of the data, a check of the
    policy, a reward model that judges those responses, DPO, what came of it, calmer rounds of it, and the report: about
    two minutes on two cores. A demo that stands there already goes on where it was; nothing of it is overwritten.
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
    """The runs of the steps in order, resumed where they can be, or new ones."""
    known = {run.name: run for run in reversed(runs.listing(db))}
    found: list[str] = []
    for step in STEPS:
        run = known.get(step.name)
        if run is None:
            path = workspace.configs / f"{step.config}_config.yaml"
            config = load_config(path, RUN_CONFIGS[step.config], step.overrides)
            parent = found[-1] if found else None
            run = submit(workspace, db, step.kind, config, name=step.name, config_path=str(path), parent=parent)
        elif run.state in runs.RESUMABLE:
            runs.requeue(db, run.id)
        found.append(run.id)
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
    _results(workspace, db, results)
    _write_report(workspace, db)
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


def _results(workspace: Workspace, db: Database, results: list[GateResult]) -> None:
    measured = [result for result in results if result.verdict != "UNKNOWN"]
    click.echo("\nGates")
    table(measured)
    unknown = [f"{result.gate.stage} {result.gate.title}" for result in results if result.verdict == "UNKNOWN"]
    if unknown:
        click.echo(f"UNKNOWN, because nothing here measures them: {', '.join(unknown)}")
    click.echo("\nChecklist items that filled themselves")
    for line in _filled(workspace, db):
        click.echo(line)


def _write_report(workspace: Workspace, db: Database) -> None:
    """The report, and what a person would have to know to decide."""
    from core.report import Sources, build, written
    from core.report.save import save, usual

    sources = Sources(db, workspace)
    paths = usual(workspace)
    save(build(sources), paths)
    written(db, workspace, paths, getpass.getuser())
    gates_ = [each for each in sources.criteria if each.name.startswith("gate.")]
    click.echo(f"\nReport: {', '.join(printable(workspace.relative(path)) for path in paths)}")
    click.echo(f"Of the {len(gates_)} gates of stage 7 the model meets {sum(each.met for each in gates_)}:")
    for each in gates_:
        click.echo(f"  {'met' if each.met else 'not met':8} {each.title}: {each.by}")
    click.echo("Whether it is deployed, you decide:")
    click.echo(f'  {_program()} report -w {_quoted(workspace)} --decide iterate --note "why"')


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
