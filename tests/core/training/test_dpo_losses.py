"""The options of the losses in the objective and in whole runs: training, evaluation, log and cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.engine.client import submit
from core.store import facts, log, metrics, runs
from core.training import dpo_run
from core.training.loop import gradient_function
from core.training.losses import PairLoss
from tests.core.training import tiny
from tests.core.training.objectives import adapted, dpo, random_pairs
from tests.core.training.test_dpo import Counted, naive_logps, never
from tests.core.training.test_loop import needs_a_compiler
from tests.core.training.test_resume import execute

PAIRS = random_pairs(10)
LOSSES = [
    PairLoss(("ipo",)),
    PairLoss(("aot",), label_smoothing=0.1),
    PairLoss(("aot_unpaired",)),
    PairLoss(("sigmoid", "sft"), (1.0, 0.3), ld_alpha=0.5),
    PairLoss(("robust",), label_smoothing=0.1, use_weighting=True),
    PairLoss(("discopop",), f_divergence_type="js_divergence", ld_alpha=0.0, use_weighting=True),
    PairLoss(reference_free=True),
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_evaluation_and_training_mean_the_same_loss(loss: PairLoss) -> None:
    model = adapted()
    model.eval()
    objective = dpo(model, PAIRS, loss=loss, batch_size=len(PAIRS))
    found = objective.evaluate(1, never)
    value, count, sums = objective.loss(*objective.batch(list(range(len(PAIRS)))))
    assert found["eval_loss"] == pytest.approx((value / count).item(), rel=1e-5)
    for name in ("rewards/margins", "rewards/accuracies", "logps/chosen"):
        assert found[f"eval_{name}"] == pytest.approx((sums[name] / count).item(), rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_pieces_of_a_batch_add_up_to_it(loss: PairLoss) -> None:
    model = adapted()
    model.eval()
    objective = dpo(model, PAIRS, loss=loss)
    gradients = gradient_function(objective, compiled=False)
    indices = list(range(8))

    def total(parts: list[list[int]]) -> tuple[float, dict[str, np.ndarray]]:
        summed, grads = 0.0, {}
        for part in parts:
            (value, _, _), found = gradients(*objective.batch(part))
            summed += value.item()
            for name, gradient in tree_flatten(found):
                grads[name] = grads.get(name, 0) + np.array(gradient)
        return summed, grads

    pieces = objective.pieces(indices)
    # A loss of the whole batch cannot be taken apart; others are, where that is known to be the same.
    assert sorted(i for piece in pieces for i in piece) == indices
    assert len(pieces) == 1 or loss.by_pair
    whole, expected = total([indices])
    value, found = total(pieces)
    assert value == pytest.approx(whole, rel=1e-5)
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-3, atol=1e-5 * np.abs(gradient).max(), err_msg=name)
    if loss.by_pair:
        assert total([[i] for i in indices])[0] == pytest.approx(whole, rel=1e-5)


def test_reference_free_takes_the_reference_as_nothing() -> None:
    model = adapted()
    model.eval()
    reference = Counted(model)
    objective = dpo(model, PAIRS, loss=PairLoss(reference_free=True), reference=reference)
    value, count, sums = objective.loss(*objective.batch([0, 1, 2]))
    assert reference.count == 0
    ours = np.array([[naive_logps(model, PAIRS[i].prompt, r) for r in PAIRS[i].responses] for i in (0, 1, 2)])
    margins = 0.1 * (ours[:, 0] - ours[:, 1])
    assert (value / count).item() == pytest.approx(np.logaddexp(0, -margins).mean(), rel=1e-5)
    assert sums["rewards/chosen"].item() == pytest.approx(0.1 * ours[:, 0].sum(), rel=1e-5)
    # KL is still that against the reference.
    assert objective.evaluate(1, never)["kl_divergence"] == pytest.approx(
        dpo(model, PAIRS).evaluate(1, never)["kl_divergence"]
    )


@needs_a_compiler
def test_a_compiled_step_takes_each_beta() -> None:
    model = adapted()
    model.eval()
    objective = dpo(model, PAIRS)
    compiled, eager = (gradient_function(objective, compiled=compiled) for compiled in (True, False))
    losses = []
    for beta in (0.1, 0.7, 0.1):
        objective.beta = beta
        (value, _, _), _ = compiled(*objective.batch([0, 1, 2, 3]))
        (expected, _, _), _ = eager(*objective.batch([0, 1, 2, 3]))
        assert value.item() == pytest.approx(expected.item(), rel=1e-5)
        losses.append(value.item())
    assert losses[0] == losses[2] != losses[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "loss: sigmoid; β 0.1"),
        ({"training_reference_free": True}, "loss: sigmoid, reference-free: its log-probs are taken as 0; β 0.1"),
        (
            {"training_loss_type": ["cdpo", "sft"], "training_loss_weights": [1, 0.2], "training_label_smoothing": 0.1,
             "training_ld_alpha": 0.5, "training_use_weighting": True, "training_beta_schedule": "linear",
             "training_beta_end": 0.4},
            "loss: cdpo + 0.2 sft, label smoothing 0.1, LD-DPO with α = 0.5, weighted by likelihood (WPO);"
            " β from 0.1 to 0.4 (linear)",
        ),
    ],
)  # fmt: skip
def test_a_run_says_what_it_trains_on(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "dpo", tiny.dpo_config(training_max_steps=4, **changes))
    execute(space, db, run.id, dpo_run.run, None)
    assert words in [line.text for line in log.lines(db, run.id)]
    assert "dpo.finished" in facts.of_run(db, run.id)
    assert np.isfinite([point.value for point in metrics.since(db, run.id, "loss")]).all()
    assert runs.get(db, run.id).output_dir is not None


def test_two_runs_with_other_weights_of_the_tail_do_not_share_a_cache(tmp_path: Path) -> None:
    # The reference's log-probs are weighted too: those of one run would be wrong in the other.
    space, db = tiny.workspace(tmp_path / "w")
    first = []
    for alpha in (None, 0.0, None):
        config = tiny.dpo_config(training_max_steps=3, training_logging_steps=1, training_ld_alpha=alpha)
        run = submit(space, db, "dpo", config)
        execute(space, db, run.id, dpo_run.run, None)
        first.append(metrics.since(db, run.id, "loss")[0].value)
        # Policy and reference are equal before the first update.
        assert first[-1] == pytest.approx(np.log(2), rel=1e-6)
    assert first[0] == first[2]
