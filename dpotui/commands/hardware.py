"""`dpotui hardware`: the memory that a run may take here, and which batch size is fastest, by measurement."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from core import environment, hardware, monitor
from core.config import CONFIGS, TrainingConfig, load_config, this_platform
from core.config.environment import Environment
from core.engine.client import ensure_engine, reap, submit
from core.errors import UserError
from core.hardware import MemoryLimit
from core.monitor import Reading
from core.store import Database, calibrations, environments, open_store, runs
from core.store.calibrations import Calibration, Size
from core.store.environments import Setting
from core.store.runs import Run
from core.text import one_line, printable
from core.workspace import Workspace, open_workspace
from dpotui.commands.follow import closing_line, follow
from dpotui.gauge_lines import amount

# Calibrations that are listed.
SHOWN = 10

_COLUMNS = ("batch size", "pairs/s", "peak memory", "verdict", "")


@click.command("hardware")
@click.option("--calibrate", is_flag=True, help="Measure which batch size is the fastest for a configuration.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="YAML file: tell its memory too.")
@click.option(
    "--for", "kind", type=click.Choice(list(CONFIGS)), help="What the file configures (default: by its name)."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the configuration.")
@click.option("--in-process", is_flag=True, help="Calibrate from this process instead of a detached engine.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", "folder", type=click.Path(path_type=Path), default=Path(), help="Default: here.")
def command(
    calibrate: bool,
    config_path: Path | None,
    kind: str | None,
    overrides: tuple[str, ...],
    in_process: bool,
    as_json: bool,
    folder: Path,
) -> None:
    """What this machine has for training, and what was measured on it.

    `--calibrate` doubles the batch size until it is slower or does not fit, each size in a child process on the rows
    of the configuration. What it finds is remembered, and used where `training.batch_size` is `auto`.
    """
    if config_path is not None and folder == Path() and config_path.exists():
        workspace: Workspace | None = open_workspace(config_path.absolute().parent)
    elif calibrate or config_path is not None:
        workspace = open_workspace(folder)
    else:
        workspace = _workspace(folder)
    config = None
    if calibrate or config_path is not None:
        assert workspace is not None
        kind = kind or _kind_by_name(config_path)
        path = config_path.absolute() if config_path is not None else workspace.configs / f"{kind}_config.yaml"
        config = load_config(path, CONFIGS[kind], overrides)
        if calibrate:
            _calibrate(workspace, config, path, in_process, as_json)
            return
    elif overrides or kind:
        raise UserError("--set and --for go with --config: name a configuration")
    _show(workspace, config, as_json)


def _workspace(folder: Path) -> Workspace | None:
    """The machine can be looked at without one."""
    try:
        return open_workspace(folder)
    except UserError:
        if folder == Path():
            return None
        raise


def _kind_by_name(path: Path | None) -> str:
    """`sft_config.yaml` configures SFT; what has another name is DPO's."""
    return next((name for name in CONFIGS if path is not None and path.name.startswith(name)), "dpo")


# The machine


def _show(workspace: Workspace | None, config: TrainingConfig | None, as_json: bool) -> None:
    here = hardware.look(workspace.root if workspace else Path.cwd())
    device: Any = "gpu" if this_platform().accelerator else "cpu"
    limit = hardware.memory_limit(device)
    now = monitor.once()
    found: list[Calibration] = []
    last: tuple[str, list[Setting]] | None = None
    wanted = config.compute.environment if config else environment.configured(workspace.root) if workspace else None
    around = environment.planned(wanted or Environment(), os.environ)
    if workspace is not None:
        with closing(open_store(workspace.database)) as db:
            found = calibrations.listing(db, SHOWN)
            last = environments.latest(db)
    forecast = None
    if workspace is not None and config is not None:
        # Only where a configuration is named: it reads the model's files.
        from core.training.forecast import forecast as foresee

        forecast = foresee(workspace, config)
    if as_json:
        document = {
            "machine": asdict(here),
            "memory": {"device": device, **asdict(limit)},
            "now": {one.key: _reading(one) for one in now.shown()},
            "starting_point": hardware.STARTING_POINTS.get(here.chip),
            "environment": [asdict(one) for one in around],
            "environment_of_last_run": {"run": last[0], "settings": [asdict(one) for one in last[1]]} if last else None,
            "calibrations": [as_document(one) for one in found],
            "forecast": forecast.as_json() if forecast else None,
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=True))
        return
    for line in _lines(here, limit, now, found):
        click.echo(line)
    for line in _environment(around, last):
        click.echo(line)
    if forecast is not None:
        click.echo(printable(forecast.sentence()))
        if forecast.mend():
            click.echo(f"  → {forecast.mend()}")


def _reading(one: Reading) -> dict[str, Any]:
    """A reading for programs; what could not be read has no value and a reason."""
    return {
        "value": one.value,
        "unit": one.unit or None,
        "text": one.text or None,
        "limit": one.limit,
        "source": one.source or None,
        "reason": one.reason or None,
        "parts": list(one.parts) or None,
    }


def _lines(here: hardware.Hardware, limit: MemoryLimit, now: monitor.Sample, found: list[Calibration]) -> Iterator[str]:
    yield f"{one_line(here.chip, 60)}, {here.cores} cores, {here.memory / 1e9:.1f} GB memory"
    yield f"memory for a run    {limit.bytes / 1e9:.1f} GB: {limit.source}"
    for reading in now.shown():
        if reading.present:
            yield f"{reading.label + ' now':<19} {amount(reading)}  ({one_line(reading.source, 60)})"
    known = hardware.STARTING_POINTS.get(here.chip)
    others = ", ".join(f"{chip} {size}" for chip, size in hardware.STARTING_POINTS.items())
    yield f"starting point      {known if known else f'none for this chip ({others})'}"
    if not found:
        yield "no batch size was measured yet: 'dpotui hardware --calibrate --config FILE' does"
    for one in found:
        yield summary(one)


def _environment(around: list[Setting], last: tuple[str, list[Setting]] | None) -> Iterator[str]:
    yield "environment of a run that starts now"
    for one in around:
        yield f"  {_setting(one)}"
    told = [one for one in last[1] if one.asked or one.effect is not None] if last else []
    if last is not None and told:
        yield f"environment of {last[0]}, the last run"
        for one in told:
            yield f"  {_setting(one)}"


def _setting(one: Setting) -> str:
    value = "not set" if one.value is None else f"{one_line(one.value, 24)} ({one.by})"
    return f"{one.name:<31} {value:<22} {one.effect + ': ' if one.effect else ''}{one.why}"


def summary(one: Calibration) -> str:
    """A calibration on one line."""
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.started))
    chosen = f"batch size {one.chosen}" if one.chosen else "nothing chosen" if one.ended else "measuring"
    return f"{day}  {one.kind:<6} {chosen:<15} {one_line(one.reason, 120)}".rstrip()


# Calibrating


def _calibrate(workspace: Workspace, config: TrainingConfig, path: Path, in_process: bool, as_json: bool) -> None:
    with closing(open_store(workspace.database)) as db:
        reap(workspace, db)
        run = submit(workspace, db, "calibrate", config, config_path=str(path))
        if in_process:
            from core.engine.host import InProcessEngine

            engine = InProcessEngine(workspace)
            engine.start()
            try:
                run = follow(workspace, db, run.id, from_start=True, table=lambda run: _table(db, run))
            finally:
                engine.stop(hand_over=runs.get(db, run.id).state in runs.LIVE)
        else:
            ensure_engine(workspace)
            run = follow(workspace, db, run.id, from_start=True, table=lambda run: _table(db, run))
        found = calibrations.of_run(db, run.id)
        if as_json:
            document = as_document(found) if found else {"run": run.id, "chosen": None, "sizes": []}
            click.echo(json.dumps({**document, "state": run.state, "error": run.error}, indent=2, ensure_ascii=True))
        elif run.state == "finished" and found is not None:
            for line in _plain_table(found):
                click.echo(line)
            click.echo(f"batch size {found.chosen}: {found.reason}")
        else:
            click.echo(closing_line(run), err=True)
    raise SystemExit(0 if run.state == "finished" else 1)


def _table(db: Database, run: Run) -> Table:
    """What was measured so far, for a terminal."""
    found = calibrations.of_run(db, run.id)
    table = Table(*_COLUMNS, title=f"{run.id}  {one_line(run.phase or run.state, 60)}", title_justify="left")
    for size in found.sizes if found else ():
        table.add_row(*cells(size, found.chosen if found else None))
    return table


def _plain_table(found: Calibration) -> Iterator[str]:
    rows = [_COLUMNS, *(cells(size, found.chosen) for size in found.sizes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        shown = (cell.rjust(w) if i < 3 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(shown).rstrip()


def cells(size: Size, chosen: int | None) -> tuple[str, ...]:
    """A size as the words of a row."""
    return (
        str(size.size),
        f"{size.rate:.3g}" if size.rate is not None else "—",
        f"{size.peak / 1e9:.2f} GB" if size.peak is not None else "—",
        size.verdict,
        "chosen" if size.size == chosen else one_line(size.note, 60),
    )


def as_document(one: Calibration) -> dict[str, Any]:
    """A calibration for programs."""
    return {
        "run": one.run,
        "kind": one.kind,
        "chip": one.chip,
        "chosen": one.chosen,
        "reason": one.reason,
        "limit_bytes": one.limit,
        "limit_source": one.limit_source,
        "started": one.started,
        "ended": one.ended,
        "subject": one.subject,
        "sizes": [
            {
                "batch_size": size.size,
                "verdict": size.verdict,
                "pairs_per_second": size.rate,
                "peak_bytes": size.peak,
                "seconds": size.seconds,
                "note": size.note,
            }
            for size in one.sizes
        ],
    }
