"""A run that was killed with SIGKILL at bad moments and resumed is, to the bit, the run that was not.

Dropout is on (the tiny configuration's adapter has it), three micro-batches make an update and eight an epoch, and the
process dies between two micro-batches of one update: in the first epoch, before anything was trained that is on disk,
and in the middle of the third.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.engine.client import submit
from core.engine.jobs import JOBS
from core.store import metrics, runs
from core.training import checkpoints
from tests.core.training import tiny
from tests.core.training.test_resume import digest, execute, values

ROOT = Path(__file__).parents[3]
ACCUMULATED = 3

CHILD = """
import os, signal, sys
from pathlib import Path
from core.engine.jobs import JOBS
from core.store import open_store, runs
from core.training import loop
from core.workspace import open_workspace
from tests.core.training.test_resume import execute

space = open_workspace(Path(sys.argv[1]))
db = open_store(space.database)

class Dying(loop.BatchStream):
    taken = 0

    def take(self):
        if Dying.taken == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        Dying.taken += 1
        return super().take()

loop.BatchStream = Dying
execute(space, db, sys.argv[2], JOBS[runs.get(db, sys.argv[2]).kind], None)
"""


def killed_after(space: Any, run_id: str, micro_batches: int) -> None:
    """Run in a process of its own, which dies when it has taken so many micro-batches."""
    assert micro_batches % ACCUMULATED, "this would be between two updates"
    command = [sys.executable, "-c", CHILD, str(space.root), run_id, str(micro_batches)]
    child = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert child.returncode == -signal.SIGKILL, child.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("dpo", {"adapter_type": "full"}),
        # LoRA, as the next.
        ("dpo", {"training_loss_type": ["aot", "sft"], "training_beta_schedule": "cosine", "training_beta_end": 0.5}),
        # Rolls back on the way.
        ("dpo", {"training_learning_rate": 0.02, "training_eval_steps": 2, "kl_guard_action": "rollback"}),
        ("sft", {}),
    ],
    ids=["full", "scheduled", "guarded", "sft"],
)
def test_killed_in_the_middle_of_accumulation(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    make = tiny.dpo_config if kind == "dpo" else tiny.sft_config
    config = make(training_gradient_accumulation_steps=ACCUMULATED, **changes)
    assert config.adapter.dropout > 0
    whole, parted = (submit(space, db, kind, config) for _ in range(2))
    execute(space, db, whole.id, JOBS[kind], None)

    killed_after(space, parted.id, 5)
    folder = space.path(runs.get(db, parted.id).output_dir)
    assert [step for step, _ in checkpoints.listing(folder) if step] == []
    killed_after(space, parted.id, 20)
    assert checkpoints.listing(folder)[-1][0] == 6
    execute(space, db, parted.id, JOBS[kind], None)

    first = space.path(runs.get(db, whole.id).output_dir)
    compared = [step for step, _ in checkpoints.listing(first)]
    assert compared == [step for step, _ in checkpoints.listing(folder)]
    assert compared[-1] >= 9
    for step in compared:
        one, other = (f / checkpoints.name(step) / checkpoints.WEIGHTS for f in (first, folder))
        assert digest(one) == digest(other), step
    assert values(db, whole.id) == values(db, parted.id)
    if "kl_guard_action" in changes:
        assert metrics.tail(db, parted.id, "kl_guard_actions", 1)[0].value > 0
