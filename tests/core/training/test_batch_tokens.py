"""training.batch_tokens: as many pairs as fit, exact resume in an epoch of any number of batches, the right words."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from core.config import Platform, SFTConfig, answers, load_config
from core.data.batches import Budget
from core.engine.client import submit
from core.errors import UserError
from core.store import facts, log, runs
from core.training import checkpoints, dpo_run, reward_run, sft_run
from core.training.control import Stopped
from core.training.prepare import batch_limit
from core.workspace import templates
from tests.core.training import tiny
from tests.core.training.test_resume import digest, execute, values

JOBS = {
    "dpo": (tiny.dpo_config, dpo_run.run),
    "sft": (tiny.sft_config, sft_run.run),
    "reward": (tiny.reward_config, reward_run.run),
}


@pytest.mark.parametrize("kind", list(JOBS))
def test_resumes_to_the_bit(tmp_path: Path, kind: str) -> None:
    make, job = JOBS[kind]
    space, db = tiny.workspace(tmp_path / "w")
    config = make(
        training_batch_tokens=200 if kind == "sft" else 400, training_max_steps=8, training_eval_steps=8,
        training_save_steps=8, training_warmup_steps=1,
    )  # fmt: skip
    whole, parted = (submit(space, db, kind, config) for _ in range(2))
    execute(space, db, whole.id, job, None)
    with pytest.raises(Stopped):
        # In the second epoch: thirty rows are five to ten batches, and a step takes two.
        execute(space, db, parted.id, job, 6)
    mx.random.seed(99)
    execute(space, db, parted.id, job, None)
    one, other = (space.path(runs.get(db, run.id).output_dir) / "checkpoint-8" for run in (whole, parted))
    assert digest(one / checkpoints.WEIGHTS) == digest(other / checkpoints.WEIGHTS)
    assert values(db, whole.id) == values(db, parted.id)
    assert values(db, whole.id)["epoch"][-1].value > 1
    said = [line.text for line in log.lines(db, whole.id)]
    assert any(line.startswith("training.batch_tokens: ") and "as many pairs as fit" in line for line in said)


def test_pairs_a_step_are_told_as_they_are_on_the_whole(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "dpo", tiny.dpo_config(training_batch_tokens=400, training_max_steps=3))
    execute(space, db, run.id, dpo_run.run, None)
    fact = facts.of_run(db, run.id)["dpo.batch_size"]
    assert fact.source == "batch_tokens x gradient_accumulation_steps"
    # Thirty pairs in a whole number of batches, two of which are a step.
    batches = 30 / (fact.value / 2)
    assert batches == pytest.approx(round(batches))
    assert 3 <= batches < 30


def test_too_few_tokens_for_one_pair_are_said_before_the_first_step(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "dpo", tiny.dpo_config(training_batch_tokens=8))
    with pytest.raises(UserError, match=r"training\.batch_tokens: 8 has no room for the longest row, 2 x \d+ tokens"):
        execute(space, db, run.id, dpo_run.run, None)


def test_what_a_configuration_becomes() -> None:
    assert batch_limit(tiny.dpo_config()) == 4
    assert batch_limit(tiny.dpo_config(training_batch_tokens=400)) == Budget(400, rows=2)
    assert batch_limit(tiny.reward_config(training_batch_tokens=400)) == Budget(400, rows=2)
    assert batch_limit(tiny.sft_config(training_batch_tokens=400)) == Budget(400, rows=1)


def test_beside_batch_size() -> None:
    file = templates() / "sft_config.yaml"
    config = load_config(file, SFTConfig, ["training.batch_tokens=4096", "compute.num_devices=2"])
    said = [sentence for sentence in answers(config, Platform("macos", "metal")) if "batch" in sentence]
    assert said == [
        "training.batch_tokens: 4096: a batch takes as many pairs as fit, padding counted; batch_size has no say"
    ]
    with pytest.raises(UserError) as refused:
        load_config(file, SFTConfig, ["training.batch_tokens=4096", "training.batch_size=auto"])
    assert str(refused.value).endswith(
        "training.batch_tokens: takes the place of batch_size, which is auto: leave one of them out"
    )
