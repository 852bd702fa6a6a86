"""A run that trains without a model: `python feed.py ours|wandb FOLDER STEPS_A_SECOND` writes until it is ended.

Of W&B's run it is executed by the Python that has wandb, which need not have what dpotui needs.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def steps(rate: float) -> Iterator[tuple[int, dict[str, float]]]:
    """What a DPO run measures, at an even pace."""
    chance, began = random.Random(3), time.monotonic()
    step = 0
    while True:
        step += 1
        margin = 0.25 * (1 - math.exp(-step / 900))
        yield (
            step,
            {
                "loss": 0.693 * math.exp(-margin * 1.2) + chance.gauss(0, 0.03),
                "rewards/margins": margin + chance.gauss(0, 0.04),
                "rewards/accuracies": min(1.0, 0.5 + margin * 1.7 + chance.gauss(0, 0.03)),
                "examples_per_second": 11.8 + chance.gauss(0, 0.4),
            },
        )
        time.sleep(max(0.0, began + step / rate - time.monotonic()))


def ours(folder: Path, rate: float) -> None:
    from contextlib import closing

    from core.engine.lock import engine_lock
    from core.store import metrics, open_store, runs, transaction
    from core.workspace import open_workspace

    workspace = open_workspace(folder)
    with closing(open_store(workspace.database)) as db, engine_lock(workspace.engine_lock):
        run = runs.create(db, "dpo", config={"constraints": {"kl_target": 0.1}}, steps=100_000)
        runs.update(db, run.id, state="running", phase="training", started=time.time())
        for step, values in steps(rate):
            with transaction(db):
                metrics.write(db, ((run.id, step, name, value, time.time()) for name, value in values.items()))
                db.execute("UPDATE runs SET step = ? WHERE id = ?", [step, run.id])
                if step % 10 == 0:
                    line = f"step {step} loss {values['loss']:.4f} margin {values['rewards/margins']:.3f}"
                    db.execute(
                        "INSERT INTO log (run, time, level, text) VALUES (?, ?, 'info', ?)", [run.id, time.time(), line]
                    )


def wandb_run(folder: Path, rate: float) -> None:
    import wandb  # type: ignore[import-not-found,unused-ignore]

    settings = wandb.Settings(console="off", x_disable_stats=True, silent=True)
    run = wandb.init(mode="offline", project="line", dir=str(folder), settings=settings)
    for _, values in steps(rate):
        run.log(values)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    {"ours": ours, "wandb": wandb_run}[sys.argv[1]](Path(sys.argv[2]), float(sys.argv[3]))
