"""Losses, log-probs, metrics and gradients against values that TRL 1.16.0 computed (torch CPU, float32).

`oracle/policy` and `oracle/reference` are 2-layer Llamas made with a fixed seed for this; `oracle/trl.json` holds eight
pairs as token ids and what TRL's DPOTrainer made of them at beta 0.1, cut to 64 tokens in all; `oracle/losses.json` the
same for every loss type and option, written by `oracle/generate.py`.
"""

import json
from functools import cache
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from core.data.batches import arrays, collate
from core.data.tokenize import Tokens
from core.models.head import Head
from core.models.load import load
from core.training.dpo import DPO
from core.training.logprobs import response_logps
from core.training.losses import LOSSES as LOSS
from core.training.losses import Logps, PairLoss
from core.training.optimization import global_norm

ORACLE = Path(__file__).parent / "oracle"
TRL = json.loads((ORACLE / "trl.json").read_text())
CASES = json.loads((ORACLE / "losses.json").read_text())
MAX_LENGTH = 64
EIGHT = list(range(8))
SMOOTHING = {"robust": 0.1}
LOSSES = ["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm", "apo_zero", "discopop", "sppo_hard"]


def name_of(case: dict) -> str:
    options = case["options"]
    more = [f"{key}={value}" for key, value in options.items() if key not in ("loss_type", "loss_weights")]
    return "-".join([case["form"], "+".join(options["loss_type"]), *more])


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


@cache
def policy() -> nn.Module:
    """Loaded once: gradients leave it as it is."""
    model = load(ORACLE / "policy").model
    model.unfreeze()
    return model


def objective_of(form: str, loss: PairLoss, beta: float, reference: list[list[float]]) -> DPO:
    examples, model = pairs(form), policy()
    objective = DPO(
        model,
        Precomputed(),
        examples,
        examples,
        loss=loss,
        beta=beta,
        batch_size=8,
        kl_target=0.1,
        write_model=lambda folder: None,
    )
    objective.memory["train"] = np.array(reference, np.float32).T
    return objective


def agrees(found: float, expected: dict, loss: PairLoss, beta: float = 0.1) -> None:
    if loss.types == ("sigmoid",) and loss.f_divergence_type == "reverse_kl":
        # What float32 leaves open in the log-probs is multiplied by β.
        assert found == pytest.approx(expected["loss"], abs=1e-6 * beta / 0.1)
    else:
        assert found == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.parametrize("form", ["plain", "chat"])
@pytest.mark.parametrize("loss_type", LOSSES)
def test_loss_metrics_and_gradient(form: str, loss_type: str) -> None:
    expected = TRL[f"{form}/{loss_type}"]
    loss = PairLoss((loss_type,), label_smoothing=SMOOTHING.get(loss_type, 0.0))
    objective = objective_of(form, loss, 0.1, [expected["rc"], expected["rr"]])
    (value, count, metrics), grads = nn.value_and_grad(objective.model, objective.loss)(*objective.batch(EIGHT))
    norm = global_norm(grads) / count
    assert count.item() == 8
    agrees((value / count).item(), expected, loss)
    assert norm.item() == pytest.approx(expected["grad_norm"], rel=1e-4)
    for name in ("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"):
        assert metrics[name].item() / 8 == pytest.approx(expected["metrics"][name], abs=2e-5), name
    for name in ("logps/chosen", "logps/rejected"):
        assert metrics[name].item() / 8 == pytest.approx(expected["metrics"][name], abs=1e-4), name


def loss_of(case: dict) -> tuple[PairLoss, float]:
    options = dict(case["options"])
    types, beta = tuple(options.pop("loss_type")), options.pop("beta", 0.1)
    weights = tuple(options.pop("loss_weights", [1.0] * len(types)))
    return PairLoss(types, weights, **options), beta


def test_every_loss_type_has_cases() -> None:
    for form in ("plain", "chat"):
        assert {name for case in CASES if case["form"] == form for name in case["options"]["loss_type"]} == set(LOSS)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_loss_from_trl_s_own_log_probs(case: dict) -> None:
    sigmoid, examples = TRL[f"{case['form']}/sigmoid"], pairs(case["form"])
    plain = (sigmoid["pc"], sigmoid["pr"], sigmoid["rc"], sigmoid["rr"])
    logps = Logps(
        *(
            mx.array(case.get(name, values))
            for name, values in zip(
                ("chosen", "rejected", "reference_chosen", "reference_rejected"), plain, strict=True
            )
        ),
        *(mx.array([float(len(pair.responses[i])) for pair in examples]) for i in (0, 1)),
        chosen_whole=mx.array(sigmoid["pc"]),
        likelihood=mx.array(case["likelihood"]) if "likelihood" in case else None,
    )
    loss, beta = loss_of(case)
    agrees(loss(logps, beta).mean().item(), case, loss, beta)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_loss_and_gradient_of_every_option(case: dict) -> None:
    loss, beta = loss_of(case)
    sigmoid = TRL[f"{case['form']}/sigmoid"]
    reference = [case.get("reference_chosen", sigmoid["rc"]), case.get("reference_rejected", sigmoid["rr"])]
    objective = objective_of(case["form"], loss, beta, reference)
    (value, count, _), grads = nn.value_and_grad(objective.model, objective.loss)(*objective.batch(EIGHT))
    agrees((value / count).item(), case, loss, beta)
    assert (global_norm(grads) / count).item() == pytest.approx(case["grad_norm"], rel=1e-4)
