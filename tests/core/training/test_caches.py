"""What one run computed once, the next one reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.engine.client import submit
from core.models.body import Body
from core.store import log, metrics, runs
from core.training import dpo_run
from core.training.dpo import DPO
from tests.core.training import tiny
from tests.core.training.test_resume import TIMED, execute


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many pairs a reference was asked about, and how often the frozen trunk ran."""
    seen = {"reference": 0, "trunk": 0}
    measure, before = DPO._measure_reference, Body.before

    def measured(self: DPO, name: str, index: int):
        seen["reference"] += bool(np.isnan(np.array(self.memory[name][index])).any())
        return measure(self, name, index)

    def ran(self: Body, stop: int, ids, cache=None):
        seen["trunk"] += ids.shape[1] > 8 or cache is not None  # probes are smaller
        return before(self, stop, ids, cache)

    monkeypatch.setattr(DPO, "_measure_reference", measured)
    monkeypatch.setattr(Body, "before", ran)
    return seen


def run(space, db, counted: dict[str, int], **changes):
    counted.update(reference=0, trunk=0)
    made = submit(space, db, "dpo", tiny.dpo_config(**{"adapter_num_layers": 1, **changes}))
    execute(space, db, made.id, dpo_run.run, None)
    found = {name: metrics.since(db, made.id, name) for name in metrics.names(db, made.id) if name not in TIMED}
    return found, dict(counted), "\n".join(line.text for line in log.lines(db, made.id))


def test_the_second_run_computes_neither_reference_nor_trunk(tmp_path: Path, counted: dict[str, int]) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    first, work, words = run(space, db, counted)
    assert work["reference"] > 20 and work["trunk"] > 20
    assert "1 of 2 blocks are frozen: what they give is kept, 0.00 of at most 8 GB in cache/trunk" in words
    second, work, _ = run(space, db, counted)
    assert work == {"reference": 0, "trunk": 0}
    assert second == first  # to the bit
    # Another seed, rate, loss and batch ask about the same pairs.
    _, work, _ = run(space, db, counted, training_seed=5, training_loss_type="ipo", training_batch_size=3)
    assert work["reference"] <= 2 and work["trunk"] <= 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in (space.root / "cache").rglob("*"))


def test_the_trunk_kept_or_not_is_the_same_run(tmp_path: Path, counted: dict[str, int]) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    kept, _, _ = run(space, db, counted)
    other, odb = tiny.workspace(tmp_path / "other")
    without, _, words = run(other, odb, counted, compute_trunk_cache_gb=0)
    assert "1 of 2 blocks are frozen and run at every step: compute.trunk_cache_gb is 0" in words
    assert not (other.root / "cache" / "trunk").exists()
    assert kept == without


def test_what_does_not_fit_is_not_kept(tmp_path: Path, counted: dict[str, int]) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    _, _, words = run(space, db, counted, compute_trunk_cache_gb=1e-6)
    assert "compute.trunk_cache_gb is 1e-06" in words
    assert not (space.root / "cache" / "trunk").exists()


def test_more_pairs_keep_the_rest_and_shorter_ones_miss(tmp_path: Path, counted: dict[str, int]) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    steps = {"training_max_steps": 40, "training_save_steps": 40, "training_eval_steps": 40}
    _, before, _ = run(space, db, counted, **steps)
    config = tiny.dpo_config()
    path = space.path(config.data.train_file)
    row = json.loads(path.read_text("utf-8").splitlines()[0])
    more = (
        [{**row, "prompt": f"{row['prompt']} {i}"} for i in range(3)]
        if isinstance(row["prompt"], str)
        else [{**row, "chosen": f"{row['chosen']} {i}"} for i in range(3)]
    )
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in more)
    _, after, _ = run(space, db, counted, **steps)
    assert 1 <= after["reference"] <= 3 < before["reference"]
    # Another length is other tokens.
    _, cut, _ = run(space, db, counted, **steps, data_max_response_length=2)
    assert cut["reference"] > 3


def test_full_fine_tuning_reads_the_log_probs_of_adapters(tmp_path: Path, counted: dict[str, int]) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    _, work, _ = run(space, db, counted, adapter_type="full", training_learning_rate=1e-5)
    assert work["reference"] > 20 and work["trunk"] == 0
    _, work, _ = run(space, db, counted)
    assert work["reference"] == 0


def test_runs_that_are_resumed_need_no_checkpoint_for_it(tmp_path: Path) -> None:
    """The cache may be removed between: the numbers are those of the pair alone."""
    import shutil

    from core.training import checkpoints
    from core.training.control import Stopped
    from tests.core.training.test_resume import digest

    space, db = tiny.workspace(tmp_path / "w")
    config = tiny.dpo_config(adapter_num_layers=1)
    whole, parted = submit(space, db, "dpo", config), submit(space, db, "dpo", config)
    execute(space, db, whole.id, dpo_run.run, None)
    with pytest.raises(Stopped):
        execute(space, db, parted.id, dpo_run.run, 5)
    shutil.rmtree(space.root / "cache")
    execute(space, db, parted.id, dpo_run.run, None)
    one, other = (space.path(runs.get(db, r.id).output_dir) / "checkpoint-12" for r in (whole, parted))
    assert digest(one / checkpoints.WEIGHTS) == digest(other / checkpoints.WEIGHTS)
