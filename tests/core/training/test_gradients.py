"""The gradient of an update: in float32 whatever the model's type; with float16, of a loss scaled as it needs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from core.data.batches import Budget, epoch_order
from core.engine.client import submit
from core.errors import UserError
from core.store import commands, log, metrics, runs
from core.store import gradients as norms
from core.store.writer import Writer
from core.training import checkpoints, dpo_run, reward_run, sft_run
from core.training.control import Stopped
from core.training.gradients import (
    FIRST_SCALE,
    GROWS_AFTER,
    LARGEST_SCALE,
    SMALLEST_SCALE,
    LossScale,
    broken_in,
    gradient_function,
    norms_by_module,
    sum_gradients,
)
from core.training.optimization import global_norm
from core.training.sft import SFT
from tests.core.training import tiny
from tests.core.training.objectives import adapted, dpo, random_pairs
from tests.core.training.test_resume import Recorded, StopsAfter, digest, execute

PAIRS = random_pairs(8)


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.array(value).ravel() for _, value in sorted(tree_flatten(tree))])


def summed(dtype: mx.Dtype, kind: str = "dpo", scale: float = 0.0) -> tuple[Any, dict[str, mx.array]]:
    model = adapted(spread=0.1)
    if dtype != mx.float32:
        from core.models.load import cast

        trained = tree_flatten(model.trainable_parameters())
        cast(model, dtype)
        model.load_weights(trained, strict=False)
    examples = [type(pair)(pair.prompt, pair.responses[:1]) for pair in PAIRS]
    objective = (
        dpo(model, PAIRS) if kind == "dpo" else SFT(model, examples, examples, batch_size=4, write_model=lambda f: None)
    )
    gradients = gradient_function(objective, compiled=False, scaled=scale > 0)
    return sum_gradients(objective, gradients, [[0, 1, 2], [3, 4, 5, 6], [7]], scale)


@pytest.mark.parametrize("kind", ["dpo", "sft"])
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_half_precision_is_near_float32_and_summed_in_it(dtype: mx.Dtype, kind: str) -> None:
    exact, sums = summed(mx.float32, kind)
    found, half = summed(dtype, kind, FIRST_SCALE if dtype == mx.float16 else 0.0)
    assert {value.dtype for _, value in tree_flatten(found)} == {mx.float32}
    ours, theirs = flat(found), flat(exact)
    cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
    assert cosine > (0.999 if dtype == mx.bfloat16 else 0.99999)
    assert half["examples"].item() == sums["examples"].item()
    assert half["loss"].item() == pytest.approx(sums["loss"].item(), rel=2e-3)


@pytest.mark.parametrize("size", [3, Budget(96, rows=2), 8])
def test_an_epoch_in_batches_of_any_size_is_the_mean_over_all_pairs(size: int | Budget) -> None:
    model = adapted(spread=0.1)
    objective = dpo(model, PAIRS)
    batches = epoch_order([pair.length for pair in PAIRS], size, 0, 0)
    assert len({len(batch) for batch in batches}) > 1 or size == 8  # the last of three is smaller
    gradients = gradient_function(objective, compiled=False)
    found, sums = sum_gradients(objective, gradients, batches)
    expected, whole = sum_gradients(objective, gradients, [list(range(8))])
    theirs = flat(expected)
    np.testing.assert_allclose(flat(found), theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())
    assert sums["examples"].item() == whole["examples"].item() == 8
    assert sums["loss"].item() == pytest.approx(whole["loss"].item(), rel=1e-5)


@pytest.mark.parametrize("scale", [2.0**-4, 1.0, 2.0**10])
def test_scaling_by_a_power_of_two_changes_nothing_in_float32(scale: float) -> None:
    exact, sums = summed(mx.float32)
    found, scaled = summed(mx.float32, scale=scale)
    assert np.array_equal(flat(found), flat(exact))
    assert all(np.array_equal(np.array(sums[key]), np.array(scaled[key])) for key in sums)


def test_small_gradients_are_lost_in_float16_without_a_scale() -> None:
    class Small(nn.Module):
        """Its gradient is 3e-9, and what is multiplied to get it in between too."""

        def __init__(self) -> None:
            super().__init__()
            self.w = mx.ones(4)

        def __call__(self, x: mx.array) -> mx.array:
            return (self.w.astype(mx.float16) * x).astype(mx.float32) * 3e-9

    class One:
        model = Small()

        @staticmethod
        def batch(indices: list[int]) -> tuple[mx.array, ...]:
            return (mx.ones(4, mx.float16),)

        def loss(self, x: mx.array) -> tuple[mx.array, mx.array, dict[str, mx.array]]:
            return self.model(x).sum(), mx.array(1.0), {}

    found = {}
    for scale in (0.0, 2.0**10):
        gradients = gradient_function(One(), compiled=False, scaled=scale > 0)
        found[scale], _ = sum_gradients(One(), gradients, [[0]], scale)
    assert found[0.0]["w"].tolist() == [0.0] * 4
    np.testing.assert_allclose(np.array(found[2.0**10]["w"]), 3e-9, rtol=2e-2)


def test_the_scale_shrinks_at_once_and_grows_slowly() -> None:
    scale = LossScale(FIRST_SCALE)
    for _ in range(GROWS_AFTER - 1):
        scale.keep()
    assert scale == LossScale(FIRST_SCALE, GROWS_AFTER - 1)
    scale.keep()
    assert scale == LossScale(2 * FIRST_SCALE, 0)
    scale.keep()
    assert scale.shrink()
    assert scale == LossScale(FIRST_SCALE, 0)
    scale = LossScale(LARGEST_SCALE, GROWS_AFTER - 1)
    scale.keep()
    assert scale.value == LARGEST_SCALE
    scale = LossScale(2 * SMALLEST_SCALE)
    assert scale.shrink()
    assert not scale.shrink()
    assert scale.value == SMALLEST_SCALE


def test_only_float16_is_scaled() -> None:
    assert LossScale.of(adapted()) == LossScale()
    for dtype, value in ((mx.float16, FIRST_SCALE), (mx.bfloat16, 0.0)):
        model = adapted()
        model.set_dtype(dtype)
        assert LossScale.of(model).value == value
    unscaled = LossScale()
    for _ in range(3 * GROWS_AFTER):
        unscaled.keep()
    assert unscaled.value == 0
    assert not unscaled.shrink()


def train(tmp_path: Path, stop_at: int | None = None, **changes: object) -> tuple[Any, Any, runs.Run]:
    space, db = tiny.workspace(tmp_path / "w")
    config = tiny.sft_config(training_max_steps=4, training_eval_steps=4, training_save_steps=4, **changes)
    run = submit(space, db, "sft", config)
    if stop_at is not None:
        with pytest.raises(Stopped):
            execute(space, db, run.id, sft_run.run, stop_at)
        mx.random.seed(99)
    execute(space, db, run.id, sft_run.run, None)
    return space, db, runs.get(db, run.id)


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_runs_in_half_precision_resume_to_the_bit(tmp_path: Path, dtype: str, adapter: str) -> None:
    """And with float16 through overflows, which the first scale provokes here."""
    changes: dict[str, object] = {"compute_dtype": dtype, "adapter_type": adapter, "training_learning_rate": 1e-3}
    found = []
    for name, stop_at in (("whole", None), ("parted", 2)):
        space, db, run = train(tmp_path / name, stop_at, **changes)
        folder = space.path(run.output_dir) / "checkpoint-4"
        arrays = mx.load(str(folder / checkpoints.WEIGHTS))
        kinds = {key.split(".")[0]: set() for key in arrays}
        for key, value in arrays.items():
            kinds[key.split(".")[0]].add(value.dtype)
        half = mx.bfloat16 if dtype == "bfloat16" else mx.float16
        assert kinds["weights"] == ({mx.float32} if adapter == "lora" else {half})
        assert kinds["optimizer"] == {mx.float32, mx.uint64}
        assert any(key.startswith("optimizer.master") for key in arrays) == (adapter == "full")
        found.append(
            (digest(folder / checkpoints.WEIGHTS), (folder / checkpoints.STATE).read_text().split('"window"')[0])
        )
        losses = metrics.since(db, run.id, "eval_loss")
        assert losses[-1].value < losses[0].value
    assert found[0] == found[1]


def test_a_step_that_overflows_is_repeated_with_a_smaller_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_space, _, plain = train(tmp_path / "plain", compute_dtype="float16")
    monkeypatch.setattr("core.training.gradients.FIRST_SCALE", 2.0**18)
    space, db, run = train(tmp_path / "overflowing", compute_dtype="float16")
    said = [line.text for line in log.lines(db, run.id) if "float16 overflowed" in line.text]
    assert said[0].startswith("step 1: float16 overflowed, again with the loss times 131072")
    assert len(said) < 12
    # No pair was left out: the same batches, and all but the same numbers.
    ours, theirs = (
        mx.load(str(where.path(which.output_dir) / "checkpoint-4" / checkpoints.WEIGHTS))
        for where, which in ((space, run), (plain_space, plain))
    )
    for name in ours:
        if name.startswith("weights."):
            np.testing.assert_allclose(np.array(ours[name]), np.array(theirs[name]), atol=2e-2)


def test_a_loss_that_is_no_number_is_not_for_the_scale(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    file = space.root / "models" / "tiny" / "model.safetensors"
    weights = mx.load(str(file))
    name = next(name for name in weights if "down_proj" in name)
    mx.save_safetensors(str(file), {**weights, name: weights[name] * 1e6})
    run = submit(space, db, "sft", tiny.sft_config(compute_dtype="float16"))
    with pytest.raises(UserError, match=r"set compute\.dtype: float32"):
        execute(space, db, run.id, sft_run.run, None)


# By module, when a person asks


def test_the_norms_of_modules_are_together_that_of_all() -> None:
    found, _ = summed(mx.float32)
    by_module = norms_by_module(found)
    assert len(by_module) == len(tree_flatten(found)) // 2  # both matrices of an adapter
    assert not any(name.endswith((".lora_a", ".lora_b")) for name in by_module)
    assert math.hypot(*by_module.values()) == pytest.approx(float(global_norm(found)), rel=1e-5)
    one = next(name for name in by_module if name.endswith("q_proj"))
    parts = [np.array(value) for name, value in tree_flatten(found) if name.startswith(f"{one}.")]
    assert by_module[one] == pytest.approx(math.sqrt(sum((part**2).sum() for part in parts)), rel=1e-5)
    layers = [int(name.split(".layers.")[1].split(".")[0]) for name in by_module if ".layers." in name]
    assert layers == sorted(layers)


def test_what_is_no_number_is_named() -> None:
    grads = {"a": {"weight": mx.array([3.0, 4.0])}, "b": {"weight": mx.array([float("nan")]), "bias": mx.array([1.0])},
             "c": {"weight": mx.array([float("inf")])}, "d": mx.array([2.0])}  # fmt: skip
    found = norms_by_module(grads)
    assert (found["a"], found["d"]) == (5.0, 2.0)
    assert math.isnan(found["b"])
    assert found["c"] == math.inf
    assert broken_in(found) == "in 2 of 4 modules, such as c"
    assert broken_in({"a": 1e30, "b": 1e30}) == "in no module by itself, of all together"


class Asks(Recorded):
    """Asks for gradients once a step has been made."""

    at: tuple[int, ...] = (2,)

    def progress(self, step: int, steps: int, phase: str) -> None:
        super().progress(step, steps, phase)
        if phase.startswith("training") and step in self.at:
            runs.update(self.db, self.run.id, state="running")
            commands.send(self.db, self.run.id, "gradients", "ana")
            self.control._next_look = 0.0


JOBS = {"dpo": dpo_run.run, "sft": sft_run.run, "reward": reward_run.run}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("dpo", {}),
        ("dpo", {"adapter_type": "full"}),
        ("sft", {"compute_dtype": "float16"}),
        ("sft", {"adapter_type": "dora"}),
        ("reward", {}),
    ],
)
def test_the_norms_of_a_step_are_those_of_its_report(tmp_path: Path, kind: str, changes: dict[str, object]) -> None:
    """With accumulation; before clipping, which is at 1e-3 here."""
    space, db = tiny.workspace(tmp_path / "w")
    make = {"dpo": tiny.dpo_config, "sft": tiny.sft_config, "reward": tiny.reward_config}[kind]
    run = submit(
        space, db, kind, make(training_max_steps=5, training_logging_steps=1, training_eval_steps=5,
                              optimization_max_grad_norm=1e-3, training_warmup_steps=0, **changes),
    )  # fmt: skip
    writer = Writer(space.database)
    JOBS[kind](Asks(space, db, run, writer, StopsAfter(None)))
    writer.close()
    assert norms.steps(db, run.id) == [3]
    found = norms.at(db, run.id, 3)
    reported = {point.step: point.value for point in metrics.since(db, run.id, "grad_norm")}
    assert math.hypot(*found.modules.values()) == pytest.approx(reported[3], rel=1e-5)
    (command,) = commands.of_run(db, run.id)
    assert command.answer == f"gradient norms of step 3 measured: {len(found.modules)} modules"


def test_asking_changes_nothing_of_training(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    config = tiny.dpo_config(training_max_steps=6, training_eval_steps=6)
    asked, silent = (submit(space, db, "dpo", config) for _ in range(2))
    writer = Writer(space.database)
    dpo_run.run(Asks(space, db, asked, writer, StopsAfter(None)))
    writer.close()
    execute(space, db, silent.id, dpo_run.run, None)
    a, b = (space.path(runs.get(db, run.id).output_dir) / "checkpoint-6" for run in (asked, silent))
    assert digest(a / checkpoints.WEIGHTS) == digest(b / checkpoints.WEIGHTS)
    assert norms.steps(db, silent.id) == []


def test_asked_after_the_last_step_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "dpo", tiny.dpo_config(training_max_steps=4))
    monkeypatch.setattr(Asks, "at", (4,))
    writer = Writer(space.database)
    dpo_run.run(Asks(space, db, run, writer, StopsAfter(None)))
    writer.close()
    (command,) = commands.of_run(db, run.id)
    assert command.answer == "training ended with step 4: no step follows to be measured"
    assert norms.steps(db, run.id) == []


def test_a_gradient_that_is_none_leaves_its_norms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asked: which modules it is in is what one wants to know now."""
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "dpo", tiny.dpo_config())

    def broken(*given: Any) -> Any:
        total, sums = sum_gradients(*given)
        name = next(name for name, _ in tree_flatten(total) if name.endswith("v_proj.lora_b"))
        flat_ = [(n, value * float("nan") if n == name else value) for n, value in tree_flatten(total)]
        return tree_unflatten(flat_), sums

    monkeypatch.setattr("core.training.loop.sum_gradients", broken)
    with pytest.raises(UserError, match=r"step 1: the gradient is nan \(in 1 of \d+ modules, such as .*\.v_proj\), tr"):
        execute(space, db, run.id, dpo_run.run, None)
    found = norms.at(db, run.id, 1)
    assert [name.endswith("v_proj") for name, norm in found.modules.items() if math.isnan(norm)] == [True]


@pytest.mark.parametrize("kind", ["evaluate", "generate", "judge", "data_check", "init_check", "calibrate"])
def test_what_does_not_train_has_none(tmp_path: Path, kind: runs.Kind) -> None:
    _, db = tiny.workspace(tmp_path / "w")
    run = runs.create(db, kind, config={})
    runs.update(db, run.id, state="running")
    with pytest.raises(UserError, match=rf"{run.id} trains nothing \({kind}\): it has no gradients"):
        commands.send(db, run.id, "gradients", "ana")
    runs.update(db, run.id, state="finished")
    with pytest.raises(UserError, match=r"is finished: there is no step whose gradients could be measured"):
        commands.send(db, run.id, "gradients", "ana")


def test_asked_while_paused_it_is_measured_after_the_pause(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "dpo", tiny.dpo_config(training_max_steps=3, training_eval_steps=3))
    runs.update(db, run.id, state="running")
    for verb in ("pause", "gradients", "resume"):
        commands.send(db, run.id, verb, "ana")
    execute(space, db, run.id, dpo_run.run, None)
    answers = {command.verb: command.answer for command in commands.of_run(db, run.id)}
    assert answers["gradients"].startswith("gradient norms of step 1 measured: ")
    assert norms.steps(db, run.id) == [1]
