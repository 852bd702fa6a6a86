"""Watch a run from the command line: a progress line on a terminal, one line per report elsewhere."""

from __future__ import annotations

import getpass
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from core.engine.client import engine_alive, reap
from core.errors import UserError
from core.store import Database, commands, log, metrics, runs
from core.store.runs import Run
from core.text import printable
from core.workspace import Workspace

LOOK = 0.25
# A run that is queued while an engine starts must not read as lost.
GRACE = 5.0


def follow(
    workspace: Workspace,
    db: Database,
    run_id: str,
    *,
    from_start: bool = False,
    table: Callable[[Run], RenderableType] | None = None,
) -> Run:
    """Show a run until it ends, from here on or with all it has said; returns it as it ended.

    The first Ctrl-C asks the engine to stop at the next step with a checkpoint, and says so; the second leaves the run
    to the engine.

    Args:
        table: on a terminal, what stands in the place of the progress line and of all lines but warnings.
    """
    first_line = 0 if from_start else _last_line(db, run_id)
    console = Console(stderr=True, highlight=False)
    with _interrupts() as interrupts, _display(console, table) as display:
        progress = display if isinstance(display, Progress) else None
        task = progress.add_task(run_id, total=None, what="waiting") if progress else None
        obeyed = 0
        started = time.monotonic()
        while True:
            run = runs.get(db, run_id)
            level: log.Level = "warning" if isinstance(display, Live) else "info"
            for line in log.lines(db, run_id, after=first_line, level=level):
                first_line = line.id
                _print(display.console if display else console, line)
            if progress is not None and task is not None:
                _draw(progress, task, db, run)
            if isinstance(display, Live) and table is not None:
                display.update(table(run), refresh=True)
            if run.state not in (*runs.LIVE, "queued"):
                return run
            if interrupts.count > obeyed:
                obeyed = interrupts.count
                if obeyed > 1:
                    console.print(f"left {run_id} to the engine; 'dpotui runs show {run_id}' tells how it went")
                    return run
                commands.send(db, run_id, "stop", getpass.getuser())
                console.print(
                    f"stopping {run_id} at the next step, with a checkpoint (Ctrl-C again leaves it to the engine)"
                )
            if time.monotonic() - started > GRACE:
                reap(workspace, db)
                if run.state == "queued" and not engine_alive(workspace):
                    raise UserError(f"{run_id} is queued and no engine lives: 'dpotui engine {workspace.root}' runs it")
            time.sleep(LOOK)


def closing_line(run: Run) -> str:
    """One sentence on how a run ended and what can be done next."""
    match run.state:
        case "finished":
            return f"{run.id} finished: {run.output_dir or ''}".rstrip(": ")
        case "failed":
            return f"{run.id} failed: {printable(run.error or 'no word')}" + (f" {run.hint}" if run.hint else "")
        case "stopped" if waits_for_a_person(run):
            return f"{run.id}: {printable(run.hint or '')}"
        case "stopped" | "interrupted":
            return f"{run.id} {run.state} at step {run.step}: 'dpotui runs resume {run.id}' goes on from there"
        case _:
            return f"{run.id} is {run.state}"


def waits_for_a_person(run: Run) -> bool:
    """Whether a run did what it was to do and goes on when somebody has decided."""
    return run.kind == "iterate" and run.state == "stopped" and bool(run.hint)


class _Interrupts:
    count = 0


@contextmanager
def _interrupts() -> Iterator[_Interrupts]:
    seen = _Interrupts()

    def count(number: int, frame: FrameType | None) -> None:
        seen.count += 1

    before = signal.signal(signal.SIGINT, count)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _display(console: Console, table: Callable[[Run], RenderableType] | None) -> Iterator[Progress | Live | None]:
    """What changes in place on a terminal; nothing does elsewhere."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    if table is not None:
        with Live(console=console, auto_refresh=False) as live:
            yield live
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[what]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as progress:
        yield progress


def _print(console: Console, line: log.Line) -> None:
    clock = time.strftime("%H:%M:%S", time.localtime(line.time))
    mark = "" if line.level == "info" else f"{line.level}: "
    console.print(Text(f"{clock} {mark}{printable(line.text)}"), soft_wrap=True)


def _draw(progress: Progress, task: TaskID, db: Database, run: Run) -> None:
    what = printable(run.phase or run.state)
    if run.phase.startswith("training") and run.step:
        rate = metrics.tail(db, run.id, "examples_per_second", 1)
        seconds = remaining(db, run)
        what = f"{rate[0].value:.3g} ex/s " if rate else ""
        what += f"ETA {clock_time(seconds)}" if seconds is not None else ""
    progress.update(task, completed=run.step, total=run.steps or None, what=what)


def remaining(db: Database, run: Run) -> float | None:
    """Seconds to the last step at the pace of the latest reports, evaluations included; None before there is one."""
    points = db.execute(
        "SELECT step, time FROM metrics WHERE series = (SELECT id FROM series WHERE run = ? AND name = 'loss')"
        " ORDER BY step DESC LIMIT 20",
        [run.id],
    ).fetchall()
    if len(points) < 2 or points[0][0] == points[-1][0]:
        return None
    pace = (points[0][1] - points[-1][1]) / (points[0][0] - points[-1][0])
    return max(0.0, float(pace) * (run.steps - run.step))


def clock_time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def _last_line(db: Database, run_id: str) -> int:
    row = db.execute("SELECT max(id) FROM log WHERE run = ?", [run_id]).fetchone()
    return int(row[0] or 0)


def finish(run: Run, detached: bool = False) -> None:
    """Print the closing line and leave with the exit status that a script reads."""
    click.echo(closing_line(run), err=run.state == "failed")
    sys.exit(0 if run.state == "finished" or waits_for_a_person(run) else 1)
