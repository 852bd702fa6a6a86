"""Two ranks at 65/35 against one process: real processes over MLX's ring, a tiny model, few steps.

All three kinds are trained by one pair of processes, for it is their start that costs.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from core.engine.client import submit
from core.engine.jobs import JOBS
from core.store import Database, commands, facts, metrics, ranks, runs
from core.training import checkpoints
from core.workspace import Workspace
from tests.core.training import tiny
from tests.core.training.test_resume import execute

ROOT = Path(__file__).parents[3]
SHARES = (0.65, 0.35)
STEPS = 6

# What mlx.launch would start, without it and without an engine.
CHILD = """
import contextlib, json, sys, threading
from pathlib import Path
from core import blas
from core.experiments import rank
from core.store import open_store, runs
from core.training.ranks import Ranks
import mlx.core as mx

group = mx.distributed.init(strict=True, backend="ring")
space = rank.Workspace(Path(sys.argv[1]))
number = group.rank()
for run in json.loads(sys.argv[2]):
    ranks = Ranks(group, (0.65, 0.35), ("a", "b"), "given")
    db = open_store(space.database)
    found = runs.get(db, run)
    job = {"run": run, "kind": found.kind, "config": found.config, "seed": found.seed, "steps": found.steps,
           "prune": False}
    leaving, loss = threading.Event(), rank.Loss(number)
    with contextlib.ExitStack() as stack:
        context = (
            rank._first(space, job, None, leaving, ranks, stack) if number == 0
            else stack.enter_context(rank._other(space, job, leaving, ranks))
        )
        said = rank._execute(context, loss)
    (space.root / f"{run}-{number}.json").write_text(json.dumps(said))
"""


def together(space: Workspace, ids: list[str]) -> None:
    """Execute runs by two processes that meet over the ring."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        hosts = [[f"127.0.0.1:{found.getsockname()[1]}"] for found in (one, other)]
    file = space.root / "ring.json"
    file.write_text(json.dumps(hosts))
    started = []
    for rank in range(2):
        more = {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(file), "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", CHILD, str(space.root), json.dumps(ids)]
        started.append(
            subprocess.Popen(
                command, env={**os.environ, **more}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    try:
        output = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(output)


def said(space: Workspace, run: str, rank: int) -> dict[str, str]:
    """How a run ended for a rank."""
    found: dict[str, str] = json.loads((space.root / f"{run}-{rank}.json").read_text())
    return found


def weights(space: Workspace, db: Database, run: str, step: int) -> dict[str, mx.array]:
    folder = space.path(str(runs.get(db, run).output_dir))
    found = mx.load(str(folder / checkpoints.name(step) / checkpoints.WEIGHTS))
    assert isinstance(found, dict)
    return {name: value for name, value in found.items() if name.startswith("weights.")}


def furthest(one: dict[str, mx.array], other: dict[str, mx.array]) -> float:
    assert one.keys() == other.keys()
    return max(float(mx.abs(one[name] - other[name]).max()) for name in one)


def differences(db: Database, one: str, other: str, name: str) -> list[float]:
    found = [metrics.since(db, run, name) for run in (one, other)]
    assert len(found[0]) == len(found[1]) > 1, name
    return [abs(a.value - b.value) / max(1.0, abs(a.value)) for a, b in zip(*found, strict=True)]


Config = Callable[..., Any]
PAIRS = (
    "loss", "rewards/margins", "rewards/accuracies", "grad_norm", "eval_loss", "eval_rewards/margins", "kl_divergence",
)  # fmt: skip
# what is special, and metrics that must be those of one process
CASES: dict[str, tuple[Config, dict[str, Any], tuple[str, ...]]] = {
    "dpo": (tiny.dpo_config, {"adapter_num_layers": 1, "training_kl_samples": 2}, PAIRS),
    # The reference's log-probs are computed before, each rank a part of them.
    "dpo, every weight": (tiny.dpo_config, {"adapter_type": "full", "training_kl_samples": 2}, PAIRS),
    "sft": (tiny.sft_config, {}, ("loss", "grad_norm", "eval_loss", "eval_perplexity")),
    "reward": (
        tiny.reward_config,
        {"training_batch_size": 3},
        ("loss", "accuracy", "margin", "eval_loss", "eval_accuracy", "eval_min_reward"),
    ),
}  # fmt: skip


@pytest.mark.slow
def test_two_ranks_are_one_process(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "a workspace")
    ids: dict[str, tuple[str, str]] = {}
    for case, (make, changes, _) in CASES.items():
        kind = case.split(",")[0]
        config = make(
            adapter_dropout=0.0, training_max_steps=STEPS, training_save_steps=3, training_eval_steps=3,
            training_logging_steps=1, **changes,
        )  # fmt: skip
        one, two = (submit(space, db, kind, config).id for _ in range(2))
        ids[case] = one, two
        execute(space, db, one, JOBS[kind], None)
    asked = submit(space, db, "dpo", tiny.dpo_config()).id
    runs.update(db, asked, state="running")
    stop = commands.send(db, asked, "stop", "somebody")
    together(space, [*(two for _, two in ids.values()), asked])
    # A stop of rank 0 is one of both, before the first sum that they would have made.
    assert [said(space, asked, rank) for rank in range(2)] == [{"end": "stopped"}, {"end": "ended"}]
    (command,) = [one for one in commands.of_run(db, asked) if one.id == stop]
    assert command.answer == "stopped after step 0, checkpoint-0 written"
    for kind, (one, two) in ids.items():
        for name in CASES[kind][2]:
            assert [said(space, two, rank) for rank in range(2)] == [{"end": "finished"}, {"end": "ended"}]
            found = differences(db, one, two, name)
            assert max(found) < 5e-6, (kind, name, found)
        for step in (3, STEPS):
            # One step of Adam is 1e-3 long.
            assert furthest(weights(space, db, one, step), weights(space, db, two, step)) < 2e-5, (kind, step)
        parts = ranks.of_run(db, two)
        assert len(parts) == 2 * STEPS and {part.host for part in parts} == {"a", "b"}
        batch = runs.get(db, two).config["training"]["batch_size"]
        assert sum(part.pairs for part in parts) <= 2 * batch * STEPS
        taken = sum(part.pairs for part in parts if part.rank == 0) / sum(part.pairs for part in parts)
        assert math.isclose(taken, 0.65, abs_tol=0.06), kind
        assert metrics.tail(db, two, "rank/1/examples_per_second", 1)[0].value > 0
    told = facts.of_run(db, ids["dpo"][1])["dpo.distribution"]
    assert (told.text, told.source) == ("65/35 over 2 hosts, given", "65/35: a, b")
    assert facts.of_run(db, ids["dpo"][0])["dpo.distribution"].text == "one machine"
    # What only rank 0 does is done once: the gate's KL, the model.
    kl = [facts.of_run(db, run)["dpo.kl_divergence"].value for run in ids["dpo"]]
    assert kl[0] == pytest.approx(kl[1], abs=1e-5)
