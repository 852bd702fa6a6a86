"""`python -m tests.benchmarks.line`: measure dpotui, and what is named, at both sizes; one JSON file of results."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from core.store import metrics, open_store, runs, transaction
from core.workspace import create_workspace, open_workspace
from tests.benchmarks import machine
from tests.benchmarks.environments import ROOT
from tests.benchmarks.line.watch import Client, until

SIZES = ((80, 24), (200, 60))
FEED = Path(__file__).with_name("feed.py")
OPEN = (sys.executable, "-m", "dpotui")
UP_AND_DOWN = ("\x1b[B", "\x1b[A")
MODES = ("2", "3", "4", "1")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.line", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="for how long each is watched")
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--wandb", type=Path, help="the Python of an environment with wandb, for LEET")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--results", type=Path, default=ROOT / ".bench" / "results" / "line")
    arguments = parser.parse_args()
    here = machine.describe("cpu")
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": here,
        "commit": machine.commit(),
        "rows": [],
    }
    psutil.cpu_percent()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in SIZES:
            found["rows"].append({"program": "dpotui", "size": size, **_ours(folder, size, arguments)})
            found["rows"].append({"program": "bare Textual", "size": size, **_bare(size, arguments)})
            if arguments.wandb:
                found["rows"].append({"program": "LEET (wandb)", "size": size, **_leet(folder, size, arguments)})
        found["huge"] = _huge(folder, arguments)
    found["others"] = psutil.cpu_percent()
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / f"{machine.slug(here)}.json"
    path.write_text(json.dumps(found, indent=1), "utf-8")
    print(json.dumps(found, indent=1))
    print(f"wrote {path}: 'python -m tests.benchmarks --profile none' writes the document")


def _feeding(python: Path | str, kind: str, folder: Path) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen([python, FEED, kind, folder, "10"], cwd=ROOT, stdout=quiet, stderr=quiet)


def _figures(client: Client, arguments: argparse.Namespace, keys: tuple[str, ...]) -> dict[str, Any]:
    client.watched(3)
    sent, processor = client.watched(arguments.seconds)
    answers = client.answers(keys, arguments.keys)
    return {"bytes": sent, "cpu": processor, **_answers(answers)}


def _answers(answers: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(answers, n=100)
    return {"p50": cuts[49], "p99": cuts[98], "keys": len(answers)}


def _paint(command: tuple[str, ...], size: tuple[int, int], words: str) -> float:
    """The median of five starts; the first of them fills the system's caches and is left out."""
    taken = []
    for _ in range(6):
        client = Client(command, *size)
        taken.append(client.first_paint(words))
        client.leave()
    return statistics.median(taken[1:])


def _ours(folder: Path, size: tuple[int, int], arguments: argparse.Namespace) -> dict[str, Any]:
    root = folder / f"ours-{size[0]}"
    workspace = create_workspace(root)
    open_store(workspace.database, create=True).close()
    command = (*OPEN, str(root))
    painted = _paint(command, size, "[ ]")
    client = Client(command, *size)
    client.first_paint("[ ]")
    client.answers(("1",), 1)  # away from the first look
    client.watched(5)
    idle, idle_processor = client.watched(arguments.seconds)
    feeder = _feeding(sys.executable, "ours", root)
    try:
        client.first_paint("dpo-001")
        client.terminal.press("2")
        client.first_paint("5 DPO")
        if size[0] < 120:
            client.terminal.press("\t")
        client.first_paint("loss 0.")
        figures = _figures(client, arguments, UP_AND_DOWN if size[0] >= 120 else ("\t", "\x1b[Z"))
        first = max(client.answers(MODES, len(MODES)))
        modes = _answers(client.answers(MODES, arguments.keys))
    finally:
        client.leave()
        feeder.kill()
        feeder.wait()
    return {
        "paint": painted,
        "idle": idle,
        "idle_cpu": idle_processor,
        **figures,
        "modes": {**modes, "first": first},
    }


def _bare(size: tuple[int, int], arguments: argparse.Namespace) -> dict[str, Any]:
    command = (sys.executable, "-m", "tests.benchmarks.line.bare")
    painted = _paint(command, size, "line 3")
    client = Client(command, *size)
    client.first_paint("line 3")
    figures = _figures(client, arguments, UP_AND_DOWN)
    client.leave()
    return {"paint": painted, **figures}


def _leet(folder: Path, size: tuple[int, int], arguments: argparse.Namespace) -> dict[str, Any]:
    root = folder / f"leet-{size[0]}"
    root.mkdir()
    feeder = _feeding(arguments.wandb, "wandb", root)
    try:
        until(lambda: bool(list(root.glob("wandb/offline-*/*.wandb"))), 30)
        time.sleep(3)
        run = next(root.glob("wandb/offline-*/*.wandb"))
        command = (str(arguments.wandb.with_name("wandb")), "leet", "run", str(run))
        painted = _paint(command, size, "loss")
        client = Client(command, *size)
        client.first_paint("loss")
        figures = _figures(client, arguments, ("d", "a"))  # from chart to chart
        client.leave()
    finally:
        feeder.kill()
        feeder.wait()
    return {"paint": painted, **figures}


def _huge(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Thousands of runs, and one with millions of rows, while it trains."""
    root = folder / "huge"
    workspace = create_workspace(root)
    with closing(open_store(workspace.database, create=True)) as db:
        run = runs.create(db, "dpo", config={})
        with transaction(db):
            db.execute(
                "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                " INSERT INTO runs (id, kind, name, state, config, seed, inputs, created)"
                " SELECT printf('dpo-%03d', i), kind, name, 'finished', config, seed, inputs, created + i FROM runs, n",
                [arguments.runs],
            )
        run = runs.get(db, f"dpo-{arguments.runs:03d}")
        for first in range(0, arguments.rows, 100_000):
            with transaction(db):
                metrics.write(
                    db, ((run.id, n, "loss", (n * 37 % 997) / 997, 0.0) for n in range(first, first + 100_000))
                )
        runs.update(db, run.id, state="finished", step=arguments.rows, steps=arguments.rows)
    assert open_workspace(root)
    command, size = (*OPEN, str(root)), (200, 60)
    painted = _paint(command, size, "[ ]")
    client = Client(command, *size)
    client.first_paint("[ ]")
    client.watched(3)
    client.answers(MODES, len(MODES))
    modes = client.answers(MODES, arguments.keys)
    client.answers(("4",), 1)
    rows = client.answers(("\x1b[6~", "\x1b[B", "\x1b[F", "\x1b[H"), arguments.keys)
    began = time.perf_counter()
    client.answers(("2", "]", "]", "]", "]", "]"), 6)
    client.first_paint("loss 0.")
    charts = time.perf_counter() - began
    client.leave()
    return {
        "runs": arguments.runs,
        "rows": arguments.rows,
        "paint": painted,
        "charts": charts,
        "modes": {**_answers(modes), "most": max(modes)},
        "list": {**_answers(rows), "most": max(rows)},
    }


if __name__ == "__main__":
    main()
