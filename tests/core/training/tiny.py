"""A workspace with a tiny random model and data, made on the spot, for tests of training."""

from __future__ import annotations

import json
import random
from pathlib import Path

from core.config import DPOConfig, RewardConfig, SFTConfig
from core.config.models import Compute, SFTTraining
from core.config.reward import RewardTraining
from core.demo.model import write_model
from core.store import Database, open_store
from core.workspace import Workspace, create_workspace

WORDS = ["red", "green", "blue", "round", "square", "small", "large", "fast", "slow", "warm", "cold", "loud", "quiet"]


def workspace(folder: Path, pairs: int = 40) -> tuple[Workspace, Database]:
    """Pairs whose chosen answer ends in 'please', a model of random weights."""
    space = create_workspace(folder)
    db = open_store(space.database, create=True)
    rng = random.Random(0)
    rows = []
    for _ in range(pairs):
        words = rng.sample(WORDS, rng.randint(2, 9))
        prompt = "Say " + " ".join(words) + ". "
        rows.append({"prompt": prompt, "chosen": f"{words[0]} please", "rejected": " ".join(words[1:])})
    sft = [{"prompt": row["prompt"], "response": row["chosen"]} for row in rows]
    for name, part in (("train", slice(0, pairs * 3 // 4)), ("val", slice(pairs * 3 // 4, None))):
        for stem, what in (("pairs", rows), ("sft", sft)):
            text = "".join(json.dumps(row) + "\n" for row in what[part])
            (space.data / f"{stem}_{name}.jsonl").write_text(text)
    (space.root / "models" / "tiny").mkdir()
    write_model(space.root / "models" / "tiny", [row["prompt"] + row["chosen"] + row["rejected"] for row in rows], 1)
    return space, db


def dpo_config(**changes: object) -> DPOConfig:
    """`training.x=...` is written training_x=...; other sections likewise."""
    raw: dict[str, dict[str, object]] = {
        "model": {"base_model": "models/tiny", "reference_model": "models/tiny", "policy_model": "models/tiny"},
        "data": {
            "train_file": "data/pairs_train.jsonl",
            "validation_file": "data/pairs_val.jsonl",
            "max_prompt_length": 64,
            "max_response_length": 64,
        },
        "training": {
            "learning_rate": 1e-3,
            "beta": 0.1,
            "batch_size": 4,
            "gradient_accumulation_steps": 2,
            "max_steps": 12,
            "warmup_steps": 2,
            "logging_steps": 2,
            "eval_steps": 4,
            "save_steps": 3,
            "kl_samples": 4,
            "kl_max_tokens": 8,
            "save_total_limit": 20,
            # Samples take longer than so small a training; tests of them ask for some.
            "sample_prompts": 0,
            "sample_max_tokens": 4,
        },
        "adapter": {"rank": 4, "dropout": 0.1, "num_layers": -1},
        "constraints": {"kl_target": 0.1, "preference_gap_target": 0.15},
        "logging": {"output_dir": "outputs/dpo"},
    }
    return DPOConfig.model_validate(_changed(raw, changes))


def sft_config(**changes: object) -> SFTConfig:
    raw = dpo_config().model_dump(mode="json")
    raw["training"] = {key: value for key, value in raw["training"].items() if key in SFTTraining.model_fields}
    raw["compute"] = {key: value for key, value in raw["compute"].items() if key in Compute.model_fields}
    raw = {key: value for key, value in raw.items() if key in SFTConfig.model_fields}
    raw["model"] = {"base_model": "models/tiny", "checkpoint": "checkpoints/sft"}
    raw["data"] |= {"train_file": "data/sft_train.jsonl", "validation_file": "data/sft_val.jsonl"}
    raw["logging"]["output_dir"] = "outputs/sft"
    return SFTConfig.model_validate(_changed(raw, changes))


def reward_config(**changes: object) -> RewardConfig:
    raw = sft_config().model_dump(mode="json")
    raw["training"] = {key: value for key, value in raw["training"].items() if key in RewardTraining.model_fields}
    raw["model"] = {"base_model": "models/tiny", "checkpoint": "checkpoints/reward"}
    raw["data"] |= {"train_file": "data/pairs_train.jsonl", "validation_file": "data/pairs_val.jsonl"}
    raw["logging"]["output_dir"] = "outputs/reward"
    return RewardConfig.model_validate(_changed(raw, changes))


def _changed(raw: dict[str, dict[str, object]], changes: dict[str, object]) -> dict[str, dict[str, object]]:
    for key, value in changes.items():
        section = "kl_guard" if key.startswith("kl_guard_") else key.split("_")[0]
        name = key.removeprefix(f"{section}_")
        raw.setdefault(section, {})[name] = value
    return raw
