"""Writes trl_reward.json: what TRL's RewardTrainer makes of the pairs in it and of a few texts.

Needs an environment of its own: `pip install torch==2.13.0 trl==1.16.0`, then `python generate_reward.py`.

A case holds the loss, the scores (chosen first), the gradient's norm over all parameters and TRL's metrics; `texts`
holds the token ids that it trains on, `feats` and `margins` what the cases were computed on.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

HERE = Path(__file__).parent
TARGET = HERE / "trl_reward.json"
CASES = {"plain": (False, None), "centered": (False, 0.01), "margin": (True, None), "margin_centered": (True, 0.01)}


def trainer(rows: list[dict[str, Any]], *, pad_is_eos: bool = False, **options: Any) -> RewardTrainer:
    model = AutoModelForSequenceClassification.from_pretrained(HERE / "reward_model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(HERE / "reward_model")
    if pad_is_eos:
        tokenizer.pad_token = tokenizer.eos_token
    arguments = RewardConfig(
        output_dir=tempfile.mkdtemp(), report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False,
        max_length=None, **options,
    )  # fmt: skip
    return RewardTrainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def measured(rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    made = trainer(rows, **options)
    made.model.train()
    loss, outputs = made.compute_loss(made.model, made.data_collator(rows), return_outputs=True)
    loss.backward()
    gradients = [p.grad.double() for p in made.model.parameters() if p.grad is not None]
    return {
        "loss": loss.item(),
        "scores": outputs.logits.squeeze(-1).tolist(),
        "grad_norm": torch.sqrt(sum((g**2).sum() for g in gradients)).item(),
        "metrics": {name: values[-1] for name, values in made._metrics["train"].items()},
    }


def tokenized(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in ("chosen_ids", "rejected_ids")} for row in trainer(rows).train_dataset]


def turn(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def main() -> None:
    known = json.loads(TARGET.read_text())
    feats, margins = known["feats"], known["margins"]
    found: dict[str, Any] = {}
    for name, (with_margin, coefficient) in CASES.items():
        ahead = [{"margin": margin} if with_margin else {} for margin in margins]
        rows = [{**row, **margin} for row, margin in zip(feats, ahead, strict=True)]
        found[name] = measured(rows, center_rewards_coefficient=coefficient)
    found["pad_is_eos"] = measured(feats, pad_is_eos=True)
    texts = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in known["texts"]]
    chats = [
        {
            "prompt": turn("user", row["prompt"]),
            "chosen": turn("assistant", row["chosen"]),
            "rejected": turn("assistant", row["rejected"]),
        }
        for row in texts
    ]
    forms = zip(texts, tokenized(texts), tokenized(chats), strict=True)
    found["texts"] = [{**row, "plain": plain, "chat": chat} for row, plain, chat in forms]
    TARGET.write_text(json.dumps({**found, "feats": feats, "margins": margins}) + "\n")


if __name__ == "__main__":
    main()
