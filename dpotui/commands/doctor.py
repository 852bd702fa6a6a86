"""`dpotui doctor`: what this machine has and lacks for this program, each lack with its mend."""

from __future__ import annotations

import codecs
import json
import locale
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click

from core import blas, hardware
from core.config.trackers import TRACKERS, installed
from core.engine.client import engine_alive, reap
from core.errors import UserError
from core.hardware import Hardware
from core.store import engines, open_store, runs, tracked
from core.text import one_line
from core.workspace import Workspace, open_workspace

State = Literal["ok", "note", "problem"]

# Checkpoints, adapters and caches of one run of a small model.
_LITTLE_DISK = 5e9


class Finding(NamedTuple):
    """One thing looked at. A problem keeps the program from doing its work; a note is worth knowing."""

    name: str
    state: State
    text: str
    mend: str = ""


@click.command("doctor")
@click.option("--full", is_flag=True, help="Load MLX too and measure it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", "folder", type=click.Path(path_type=Path), default=Path(), help="Default: here.")
def command(full: bool, as_json: bool, folder: Path) -> None:
    """What this machine has, and what it lacks.

    Exit status: 0 nothing is in the way, 1 there is a problem.
    """
    here = hardware.look(folder if folder.is_dir() else Path.cwd())
    measured = hardware.measure() if full else None
    findings = [
        *_python(here),
        *_mlx(here, measured),
        *_blas(here),
        *_environment(os.environ),
        *_terminal(os.environ),
        *_trackers(),
        *_disk(here),
        *_workspace(folder),
    ]
    if as_json:
        document: dict[str, Any] = {
            "machine": asdict(here),
            "versions": hardware.versions(),
            "measured": measured,
            "findings": [finding._asdict() for finding in findings],
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=True))
    else:
        for line in _lines(here, findings):
            click.echo(line)
    sys.exit(1 if any(finding.state == "problem" for finding in findings) else 0)


def _lines(here: Hardware, findings: list[Finding]) -> Iterator[str]:
    cores = f"{here.cores} cores"
    if here.performance_cores:
        cores += f" ({here.performance_cores} fast)"
    memory = f"{here.memory / 2**30:.0f} GiB memory ({here.memory_available / 2**30:.0f} free)"
    yield f"{one_line(here.chip, 60)}, {cores}, {memory}, {one_line(here.system, 60)}"
    marks = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}
    for finding in findings:
        yield f"{marks[finding.state]}  {finding.name:<10} {one_line(finding.text, 1000)}"
        if finding.mend:
            yield f"{'':19} → {one_line(finding.mend, 1000)}"


def _python(here: Hardware) -> Iterator[Finding]:
    if hardware.translated():
        yield Finding(
            "python",
            "problem",
            f"Python {here.python} is an Intel build under Rosetta: MLX has nothing for it",
            "install an arm64 Python (brew install python, or uv python install) and reinstall dpotui with it",
        )
    else:
        yield Finding("python", "ok", f"{here.python} at {sys.executable}")


def _mlx(here: Hardware, measured: dict[str, Any] | None) -> Iterator[Finding]:
    found = hardware.versions()
    missing = [name for name in ("mlx", "mlx-lm") if found[name] is None]
    if missing:
        yield Finding("mlx", "problem", f"{' and '.join(missing)} not installed", "reinstall dpotui: make test, or pip")
        return
    where = {"metal": "the GPU (Metal)", "cuda": "the GPU (CUDA)", None: "the CPU"}[here.accelerator]
    text = f"mlx {found['mlx']}, mlx-lm {found['mlx-lm']}; computes on {where}"
    if measured is None:
        yield Finding("mlx", "ok", f"{text}; --full loads and measures it")
    elif "error" in measured:
        yield Finding("mlx", "problem", f"{text}; does not load: {measured['error']}", "reinstall mlx for this machine")
    else:
        yield Finding(
            "mlx",
            "ok",
            f"{text}; loads in {measured['load_seconds']:.2f} s, Metal {'yes' if measured['metal'] else 'no'},"
            f" {measured['gflops_float32']:,.0f} GFLOP/s in float32, {measured['gflops_bfloat16']:,.0f} in bfloat16"
            f" ({measured['matmul_size']}² matmul)",
        )


def _blas(here: Hardware) -> Iterator[Finding]:
    if here.accelerator is not None or not sys.platform.startswith("linux"):
        return
    if here.openblas:
        yield Finding("openblas", "ok", f"{here.openblas} is loaded ahead of MLX's own BLAS")
    else:
        yield Finding("openblas", "note", "not found: training on this CPU is about 20 times slower", blas.INSTALL)


def _environment(environment: Any) -> Iterator[Finding]:
    if "MLX_METAL_PREALLOCATE" in environment:
        version = hardware.versions()["mlx"]
        yield Finding(
            "mlx", "note", f"MLX_METAL_PREALLOCATE is set and has no effect in MLX {version}: no version of it reads it"
        )


def _terminal(environment: Any) -> Iterator[Finding]:
    term = environment.get("TERM", "")
    if not sys.stdout.isatty():
        yield Finding("terminal", "note", "standard output is no terminal: the workbench needs one")
    elif term in ("", "dumb"):
        yield Finding("terminal", "note", f"TERM is '{term}': the workbench cannot be drawn", "TERM=xterm-256color")
    else:
        size = shutil.get_terminal_size()
        true = environment.get("COLORTERM", "") in ("truecolor", "24bit")
        colours = "24-bit colour" if true else "256 colours" if "256" in term else "16 colours"
        if environment.get("NO_COLOR"):
            colours = "no colours (NO_COLOR)"
        inside = [name for name, key in (("tmux", "TMUX"), ("screen", "STY"), ("SSH", "SSH_TTY")) if key in environment]
        text = f"{term}, {colours}, {size.columns}x{size.lines}" + (f", in {' in '.join(inside)}" if inside else "")
        if size.columns < 80 or size.lines < 24:
            yield Finding("terminal", "note", text, "make it at least 80x24")
        else:
            yield Finding("terminal", "ok", text)
    encoding = locale.getencoding()
    if codecs.lookup(encoding).name != "utf-8":
        yield Finding("locale", "note", f"the encoding is {encoding}: charts and marks need UTF-8", "LC_ALL=C.UTF-8")


def _trackers() -> Iterator[Finding]:
    there = [f"{tracked.TITLES[name]} ({_version(name)})" for name in TRACKERS if installed(name)]
    lacking = [name for name in TRACKERS if not installed(name)]
    text = f"{', '.join(there) or 'none installed'}; a configuration's logging.trackers says which are told"
    mend = f"pip install 'dpotui[{','.join(lacking)}]'"
    yield Finding(
        "trackers", "ok", text, f"{mend} brings {', '.join(tracked.TITLES[name] for name in lacking)}" * bool(lacking)
    )


def _version(tracker: str) -> str:
    package = {"mlflow": "mlflow-skinny", "tensorboard": "tensorboardX"}.get(tracker, tracker)
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


def _disk(here: Hardware) -> Iterator[Finding]:
    free = f"{here.disk_free / 1e9:.0f} GB free"
    yield Finding("disk", "note" if here.disk_free < _LITTLE_DISK else "ok", free)


def _workspace(folder: Path) -> Iterator[Finding]:
    try:
        workspace = open_workspace(folder)
    except UserError as error:
        yield Finding("workspace", "note", str(error))
        return
    yield _privacy(workspace)
    try:
        with closing(open_store(workspace.database)) as db:
            interrupted = reap(workspace, db)
            alive = engine_alive(workspace)
            engine = engines.latest(db)
            count = {state: len(runs.listing(db, states=(state,))) for state in ("running", "paused", "queued")}
            waiting = [run.id for run in runs.listing(db, states=("interrupted",))]
    except UserError as error:
        yield Finding("store", "problem", str(error))
        return
    said = ", ".join(f"{number} {state}" for state, number in count.items() if number) or "nothing to do"
    if alive and engine is not None:
        silent = time.time() - engine.heartbeat
        text = f"lives, pid {engine.pid} on {engine.host}, {engine.hosting}, heard {silent:.0f} s ago; {said}"
        yield Finding("engine", "note" if silent > 30 else "ok", text)
    elif count["queued"]:
        yield Finding("engine", "note", f"none lives; {said}", f"dpotui engine '{workspace.root}'")
    else:
        yield Finding("engine", "ok", f"none lives; {said}: starting a run starts one")
    if waiting:
        was = " (just found so)" if interrupted else ""
        yield Finding("runs", "note", f"interrupted{was}: {', '.join(waiting)}", f"dpotui runs resume {waiting[0]}")


def _privacy(workspace: Workspace) -> Finding:
    """Whether others on this machine can read what is in the workspace."""
    if stat.S_IMODE(workspace.root.stat().st_mode) & 0o077 == 0:
        return Finding("workspace", "ok", f"{workspace.root}, private")
    names = (workspace.database, workspace.configs, workspace.data, workspace.checkpoints, workspace.outputs)
    open_ = [path.name for path in names if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    if not open_:
        return Finding("workspace", "ok", f"{workspace.root}, private")
    return Finding(
        "workspace",
        "note",
        f"{workspace.root}: others on this machine can read {', '.join(open_)}",
        f"chmod -R go= '{workspace.root}'",
    )
