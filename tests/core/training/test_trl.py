"""Losses, log-probs, metrics and gradients against values that TRL 1.16.0 computed (torch CPU, float32).

`oracle/policy` and `oracle/reference` are 2-layer Llamas made with a fixed seed for this; `oracle/trl.json` holds eight
pairs as token ids and what TRL's DPOTrainer made of them at beta 0.1, cut to 64 tokens in all.
"""

import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest

from core.data.batches import arrays, collate
from core.data.tokenize import Tokens
from core.models.head import Head
from core.models.load import load
from core.training.dpo import DPO
from core.training.logprobs import response_logps
from core.training.losses import PairLoss
from core.training.optimization import global_norm

ORACLE = Path(__file__).parent / "oracle"
TRL = json.loads((ORACLE / "trl.json").read_text())
MAX_LENGTH = 64
SMOOTHING = {"robust": 0.1}
LOSSES = ["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm", "apo_zero", "discopop", "sppo_hard"]


class Precomputed:
    """A reference whose log-probs are put into the objective's memory by hand."""

    def on(self):
        raise AssertionError("the reference log-probs are known")


def pairs(form: str) -> list[Tokens]:
    found = []
    for row in TRL[f"{form}/feats"]:
        room = MAX_LENGTH - len(row["prompt_ids"])
        found.append(Tokens(row["prompt_ids"], (row["chosen_ids"][:room], row["rejected_ids"][:room])))
    return found


def logps(folder: str, examples: list[Tokens]) -> list[list[float]]:
    model = load(ORACLE / folder).model
    sums, _ = response_logps(Head(model), *arrays(collate(examples, range(len(examples)))))
    return [half.tolist() for half in mx.split(sums, 2)]


@pytest.mark.parametrize("form", ["plain", "chat"])
def test_log_probs(form: str) -> None:
    expected = TRL[f"{form}/sigmoid"]
    ours = [*logps("policy", pairs(form)), *logps("reference", pairs(form))]
    for values, name in zip(ours, ("pc", "pr", "rc", "rr"), strict=True):
        assert values == pytest.approx(expected[name], abs=1e-4, rel=0)


@pytest.mark.parametrize("form", ["plain", "chat"])
@pytest.mark.parametrize("loss_type", LOSSES)
def test_loss_metrics_and_gradient(form: str, loss_type: str) -> None:
    expected = TRL[f"{form}/{loss_type}"]
    examples = pairs(form)
    model = load(ORACLE / "policy").model
    model.unfreeze()
    objective = DPO(
        model,
        Precomputed(),
        examples,
        examples,
        loss=PairLoss((loss_type,), label_smoothing=SMOOTHING.get(loss_type, 0.0)),
        beta=0.1,
        batch_size=8,
        kl_target=0.1,
        write_model=lambda folder: None,
    )
    objective.memory["train"] = mx.array([expected["rc"], expected["rr"]]).T
    (loss, count, metrics), grads = nn.value_and_grad(model, objective.loss)(*objective.batch(list(range(8))))
    norm = global_norm(grads) / count
    assert count.item() == 8
    mean = (loss / count).item()
    if loss_type == "sigmoid":
        assert mean == pytest.approx(expected["loss"], abs=1e-6)
    else:
        assert mean == pytest.approx(expected["loss"], rel=1e-5)
    assert norm.item() == pytest.approx(expected["grad_norm"], rel=1e-4)
    for name in ("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"):
        assert metrics[name].item() / 8 == pytest.approx(expected["metrics"][name], abs=2e-5), name
    for name in ("logps/chosen", "logps/rejected"):
        assert metrics[name].item() / 8 == pytest.approx(expected["metrics"][name], abs=1e-4), name
