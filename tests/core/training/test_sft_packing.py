"""training.packing: runs that pack learn as those that do not, resume to the bit, and say what became of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import mlx.core as mx
import mlx_lm
import pytest

from core.data.packing import Packed
from core.engine.client import submit
from core.errors import UserError
from core.store import Database, facts, log, metrics, runs
from core.training import checkpoints, sft_run
from core.training.control import Stopped
from core.workspace import Workspace
from tests.core.training import tiny
from tests.core.training.test_resume import digest, execute, values
from tests.core.training.test_sft_run import held_out, nll

SHORT = {"training_max_steps": 6, "training_eval_steps": 6, "training_save_steps": 6, "training_packing": True}


def train(space: Workspace, db: Database, stop_at: int | None = None, **changes: object) -> runs.Run:
    run = submit(space, db, "sft", tiny.sft_config(**{**SHORT, **changes}))
    if stop_at is not None:
        with pytest.raises(Stopped):
            execute(space, db, run.id, sft_run.run, stop_at)
        mx.random.seed(99)
    execute(space, db, run.id, sft_run.run, None)
    return runs.get(db, run.id)


def said(db: Database, run: runs.Run) -> list[str]:
    return [line.text for line in log.lines(db, run.id) if "pack" in line.text]


def test_a_run_that_packs(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = train(space, db, training_learning_rate=5e-3, training_batch_size=2)
    (line,) = said(db, run)
    assert line.startswith("30 examples packed into ")
    assert line.endswith("% full")
    losses = metrics.since(db, run.id, "eval_loss")
    assert losses[-1].value < losses[0].value - 0.1
    # Evaluations do not pack: the perplexity is that of the model handed over, as anyone measures it.
    model, tokenizer = mlx_lm.load(str(space.checkpoints / "sft"))
    pairs = held_out(space, tokenizer)
    mean = sum(nll(model, *pair) for pair in pairs) / sum(len(response) for _, response in pairs)
    assert facts.of_run(db, run.id)["sft.perplexity"].value == pytest.approx(math.exp(mean), rel=1e-3)
    # A batch of two rows holds more than two examples.
    assert metrics.since(db, run.id, "epoch")[-1].value > 6 * 2 * 2 / 30


@pytest.mark.parametrize("changes", [{"training_batch_size": 2}, {"training_batch_tokens": 200}])
def test_resumes_to_the_bit(tmp_path: Path, changes: dict[str, object]) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    whole, parted = (train(space, db, stop_at, **changes) for stop_at in (None, 4))
    one, other = (space.path(run.output_dir) / "checkpoint-6" for run in (whole, parted))
    assert digest(one / checkpoints.WEIGHTS) == digest(other / checkpoints.WEIGHTS)
    assert values(db, whole.id) == values(db, parted.id)


def test_one_large_batch_is_one_step_packed_or_not(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    changes = {
        "training_batch_size": 64, "training_gradient_accumulation_steps": 1, "training_max_steps": 2,
        "training_eval_steps": 2, "training_save_steps": 2, "training_warmup_steps": 0, "adapter_dropout": 0.0,
        "training_logging_steps": 1,
    }  # fmt: skip
    packed, plain = (train(space, db, **changes, training_packing=packing) for packing in (True, False))
    assert said(db, packed) and not said(db, plain)
    for name in ("loss", "grad_norm", "eval_loss"):
        ours, theirs = (values(db, run.id)[name] for run in (packed, plain))
        assert [point.value for point in ours] == pytest.approx([point.value for point in theirs], rel=1e-4), name


def test_rows_by_tokens() -> None:
    config = tiny.sft_config(training_packing=True, training_batch_tokens=200)
    examples = [tiny_example(length) for length in (5, 30, 12)]
    assert sft_run.packing_of(config, examples) == Packed(200 // 32, 32)
    assert sft_run.packing_of(tiny.sft_config(training_batch_size=3), examples) == Packed(3, 32)
    with pytest.raises(UserError, match=r"training\.batch_tokens: 20 has no room for the longest row, 1 x 32 tokens"):
        sft_run.packing_of(tiny.sft_config(training_packing=True, training_batch_tokens=20), examples)


def tiny_example(length: int):
    from core.data.tokenize import Tokens

    return Tokens([1] * (length - 2), ([2, 3],))


def test_a_model_that_cannot_goes_without_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    monkeypatch.setattr("core.training.sft.obstacle", lambda model, head, rows=1: "its hidden states would differ by 1")
    run = train(space, db, training_max_steps=3)
    assert said(db, run) == ["training.packing: true: not for this model: its hidden states would differ by 1"]
    assert log.lines(db, run.id, level="warning")[-1].text == said(db, run)[0]
    written = json.loads((space.path(run.output_dir) / "checkpoint-3" / "training_metrics.json").read_text())
    assert written["step"] == 3
