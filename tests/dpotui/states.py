"""Workspaces in the states in which screens are looked at: one where all went wrong, and one that is very large."""

from __future__ import annotations

import json
import random
from pathlib import Path

from core.store import Database, facts, runs, transaction
from core.store.facts import Fact
from core.workspace import Workspace
from tests.dpotui import scene

_TRACEBACK = """Traceback (most recent call last):
  File "core/engine/host.py", line 118, in _execute
    JOBS[run.kind](context)
  File "core/training/dpo_run.py", line 74, in train
    outcome = fit(objective, plan, context, folder)
RuntimeError: [metal::malloc] Attempting to allocate 19327352832 bytes which is greater than the maximum"""


def add_pairs(workspace: Workspace, count: int, words: int = 12) -> Path:
    """A file of preference pairs with scores, from a seed."""
    chance = random.Random(7)
    path = workspace.data / "preference_pairs_train.jsonl"
    vocabulary = ["owl", "river", "sleeps", "under", "the", "old", "bridge", "and", "eats", "mice", "at", "night"]
    with path.open("w", encoding="utf-8") as file:
        for index in range(count):
            chosen = " ".join(chance.choice(vocabulary) for _ in range(words))
            row = {
                "prompt": f"Question {index}: what does the owl do?",
                "chosen": chosen,
                "rejected": chosen.replace("owl", "cat") + " perhaps",
                "chosen_score": round(0.6 + chance.random() * 0.4, 3),
                "rejected_score": round(chance.random() * 0.6, 3),
            }
            file.write(json.dumps(row) + "\n")
    return path


def failed(workspace: Workspace, db: Database) -> None:
    """Runs that failed, lost their engine and were stopped; gates that FAIL; a file and a configuration that cannot be
    read."""
    scene.add_run(
        db, "sft", state="stopped", step=120, steps=300, created=scene.NOW - 9000, started=scene.NOW - 8990,
        ended=scene.NOW - 8000,
    )  # fmt: skip
    scene.add_run(
        db, "reward", state="interrupted", step=40, steps=200, created=scene.NOW - 7000, started=scene.NOW - 6990,
        ended=scene.NOW - 6000, error="the engine ended while this run was on",
    )  # fmt: skip
    run = scene.add_run(
        db, "dpo", state="failed", step=31, steps=1000, ended=scene.NOW - 100,
        error="out of memory: 19.3 GB were asked for at once, and 17.2 GB are the most that Metal gives",
        hint="lower training.batch_size to 2, or set compute.gradient_checkpointing: true",
    )  # fmt: skip
    scene.add_metrics(db, run, 31)
    scene.add_log(db, run, *(f"step {step} loss 0.6931" for step in range(20, 31)))
    scene.add_log(db, run, "out of memory: 19.3 GB were asked for at once", _TRACEBACK, level="error")
    facts.record(
        db,
        Fact("sft.finished", 0.0, time=scene.NOW - 8000),
        Fact("data.pairs", 214.0, "pairs", time=scene.NOW - 8000, n=214, source="data/pairs.jsonl"),
        Fact("dpo.kl_divergence", 2.713, run=run, time=scene.NOW - 120, low=2.5, high=2.9, n=32, source="sampled"),
        Fact("eval.retention", 52.0, "%", time=scene.NOW - 60, low=45.7, high=58.7, n=373, source="3 benchmarks"),
    )
    (workspace.configs / "dpo_config.yaml").write_text("model:\n  base_model: models/base\ntraining: [oops\n")
    (workspace.data / "pairs.jsonl").write_text('{"prompt": "p", "chosen": "c"}\nno json at all\n')


def huge(workspace: Workspace, db: Database) -> str:
    """Thousands of runs, hundreds of items, long names and lines, wide characters. Returns the id of the live run."""
    items = "".join(
        f"- [ ] Item {index} of a list that somebody went on and on with, far beyond the width of any screen that there"
        f" is: _____ (target ≥{index}) <!-- id: plan.extra{index} -->\n"
        for index in range(400)
    )
    with (workspace.checklists / "0-planning.md").open("a", encoding="utf-8") as file:
        file.write("\n## Very many things\n\n" + items)
    chance = random.Random(11)
    states = ("finished", "finished", "finished", "failed", "stopped")
    with transaction(db):
        db.conn.executemany(
            "INSERT INTO runs (id, kind, name, state, config, seed, step, steps, created, started, ended, tags)"
            " VALUES (?, ?, ?, ?, ?, 42, ?, 1000, ?, ?, ?, ?)",
            [
                (
                    f"dpo-{number:04d}",
                    "dpo",
                    f"learning rate {chance.choice((1e-6, 3e-6, 1e-5)):g} 漢字 and a name without end {number}",
                    states[number % 5],
                    json.dumps({**scene.CONFIG, "training": {"beta": chance.choice((0.05, 0.1, 0.2))}}),
                    1000 - number % 7,
                    scene.NOW - 10 * (5000 - number) - 1000,
                    scene.NOW - 10 * (5000 - number) - 990,
                    scene.NOW - 10 * (5000 - number) - 300,
                    json.dumps(["sweep-7"] if number % 3 else []),
                )
                for number in range(1, 3001)
            ],
        )
        db.conn.executemany(
            "INSERT INTO facts (name, value, run, time) VALUES ('dpo.kl_divergence', ?, ?, ?)",
            [(chance.random() / 5, f"dpo-{number:04d}", scene.NOW - 900) for number in range(1, 3001)],
        )
    run = scene.add_run(
        db, "dpo", state="running", step=18000, steps=1_000_000, phase="training", created=scene.NOW - 1
    )
    runs.update(db, run, name="漢字" * 60)
    scene.add_metrics(db, run, 18_000)
    scene.add_log(db, run, *(f"step {step} loss 0.5012 margin 0.193" for step in range(17_000, 18_000)))
    scene.add_log(db, run, "a line without end " * 5000, level="warning")
    add_pairs(workspace, 5000, words=400)
    return run
