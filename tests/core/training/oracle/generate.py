"""Writes losses.json: what TRL's DPOTrainer makes of the pairs of trl.json, for every loss type and option.

Needs an environment of its own: `pip install torch==2.13.0 trl==1.16.0`, then `python generate.py`.

A case holds the options as TRL has them, the loss, the gradient's norm over all parameters and, of the four summed
log-probs and WPO's weights, what the options change. `cdpo` is no loss type of TRL: its values are the means over
batches of one pair under `aot`, which is conservative DPO where there is nothing to sort.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

HERE = Path(__file__).parent
BETA, MAX_LENGTH = 0.1, 64

PLAIN = ["sigmoid", "hinge", "ipo", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down", "discopop", "sft"]
PLAIN += ["sigmoid_norm", "aot", "aot_unpaired", "robust"]
ON_DIFFERENCES = ["sigmoid", "hinge", "ipo", "sigmoid_norm", "exo_pair", "robust", "discopop", "sft"]
SMOOTHING = {"robust": 0.1, "exo_pair": 1e-3, "aot": 0.1, "aot_unpaired": 0.1, "cdpo": 0.1}


def cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"loss_type": [name]} for name in PLAIN]
    found += [{"loss_type": [name], "label_smoothing": value} for name, value in SMOOTHING.items()]
    found += [{"loss_type": ["exo_pair"], "label_smoothing": 0.2}, {"loss_type": ["discopop"], "discopop_tau": 0.5}]
    found += [{"loss_type": [name], "beta": 0.5} for name in ("sigmoid", "ipo", "sppo_hard")]
    for divergence in ("forward_kl", "js_divergence", "alpha_divergence"):
        for name in ON_DIFFERENCES:
            found.append({"loss_type": [name], "f_divergence_type": divergence})
            if name in SMOOTHING:
                found[-1]["label_smoothing"] = SMOOTHING[name]
    found += [
        {"loss_type": ["sigmoid"], "f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": alpha}
        for alpha in (-0.5, 1.0, 1.5)
    ]
    found += [{"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}]  # MPO
    found += [{"loss_type": ["ipo", "sft"]}]
    for alpha in (0.0, 0.5, 1.0):
        found += [{"loss_type": [name], "ld_alpha": alpha} for name in ("sigmoid", "ipo", "sft", "aot")]
    # TRL weighs in place, which torch refuses after relu (hinge) and on an expanded tensor (sft).
    unweighted = {"aot", "aot_unpaired", "hinge", "sft"}
    for name in [name for name in [*PLAIN, "exo_pair"] if name not in unweighted]:
        found.append({"loss_type": [name], "use_weighting": True})
        if name in SMOOTHING:
            found[-1]["label_smoothing"] = SMOOTHING[name]
    found.append(
        {"loss_type": ["robust", "sigmoid_norm"], "loss_weights": [0.7, 0.3], "label_smoothing": 0.2, "ld_alpha": 0.25,
         "use_weighting": True, "f_divergence_type": "js_divergence", "beta": 0.3},
    )  # fmt: skip
    found.append({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5], "ld_alpha": 0.5})
    return found


def trainer_of(options: dict[str, Any], folder: str) -> DPOTrainer:
    models = [
        AutoModelForCausalLM.from_pretrained(HERE / name, dtype=torch.float32) for name in ("policy", "reference")
    ]
    options = {"beta": BETA, **options}
    if options["loss_type"] == ["cdpo"]:
        options["loss_type"] = ["aot"]
    arguments = DPOConfig(
        output_dir=folder, use_cpu=True, bf16=False, gradient_checkpointing=False, max_length=MAX_LENGTH,
        report_to=[], **options,
    )  # fmt: skip
    rows = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    tokenizer = AutoTokenizer.from_pretrained(HERE / "policy")
    return DPOTrainer(models[0], models[1], args=arguments, train_dataset=rows, processing_class=tokenizer)


def values(options: dict[str, Any], rows: list[dict[str, list[int]]], folder: str) -> dict[str, Any]:
    trainer = trainer_of(options, folder)
    trainer.model.train()
    batches = [[row] for row in rows] if options["loss_type"] == ["cdpo"] else [rows]
    loss = 0.0
    for batch in batches:
        part = trainer.compute_loss(trainer.model, dict(trainer.data_collator(batch))) / len(batches)
        part.backward()
        loss += part.item()
    squares = sum(parameter.grad.double().square().sum().item() for parameter in trainer.model.parameters())
    found: dict[str, Any] = {"options": options, "loss": loss, "grad_norm": squares**0.5}
    whole = dict(trainer.data_collator(rows))
    if "ld_alpha" in options:
        policy = trainer.compute_ref_log_probs(trainer.model, dict(whole))
        reference = trainer.compute_ref_log_probs(trainer.ref_model, dict(whole))
        names = ("chosen", "rejected", "reference_chosen", "reference_rejected")
        found |= {name: half.tolist() for name, half in zip(names, (*policy, *reference), strict=True)}
    if options.get("use_weighting"):
        found["likelihood"] = likelihood(trainer, whole)
    return found


def likelihood(trainer: DPOTrainer, batch: dict[str, torch.Tensor]) -> list[float]:
    """The product of WPO's weights of both responses, from full log-probs."""
    with torch.no_grad():
        hidden = trainer.model.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        logps = trainer.model.lm_head(hidden.last_hidden_state)[:, :-1].log_softmax(-1)
    targets, mask = batch["input_ids"][:, 1:], batch["completion_mask"][:, 1:]
    picked = logps.gather(-1, targets[..., None])[..., 0]
    aligned = ((picked - (2 * logps).logsumexp(-1)) * mask).sum(1) / mask.sum(1)
    chosen, rejected = aligned.chunk(2)
    return (chosen + rejected).exp().tolist()


def rounded(value: Any) -> Any:
    """Nine digits, which tell float32 numbers apart."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return {key: rounded(item) for key, item in value.items()} if isinstance(value, dict) else value


def main() -> None:
    pairs = json.loads((HERE / "trl.json").read_text("utf-8"))
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for form in ("plain", "chat"):
            for options in cases():
                found = rounded({"form": form, **values(options, pairs[f"{form}/feats"], folder)})
                lines.append(json.dumps(found))
    (HERE / "losses.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main()
