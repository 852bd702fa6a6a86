"""A workspace with the answers of an evaluation: 12 prompts, each with one of the final model and of the baseline."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from core.config import EvalConfig, load_config
from core.evaluation.ratings.source import Source, source_of
from core.store import Database, artifacts, runs
from core.workspace import Workspace

FILE = "outputs/evaluation/answers.jsonl"
FINAL_NAME, BASELINE_NAME = "outputs/dpo-exp-001", "checkpoints/sft_baseline"


def answers(prompts: int = 12) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"Question {n}?",
            "responses": [
                {"text": f"final says {n}", "model": FINAL_NAME},
                {"text": f"baseline says {n}", "model": BASELINE_NAME},
            ],
        }
        for n in range(prompts)
    ]


def write(workspace: Workspace, rows: list[dict[str, Any]]) -> None:
    path = workspace.path(FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def evaluated(workspace: Workspace, db: Database, rows: list[dict[str, Any]], *overrides: str) -> Source:
    """The workspace after an evaluation that wrote these answers."""
    write(workspace, rows)
    path = workspace.configs / "eval_config.yaml"
    config = load_config(path, EvalConfig, overrides)
    run = runs.create(db, "evaluate", config=config.model_dump(mode="json"), config_path=str(path), seed=42)
    runs.update(db, run.id, state="finished", output_dir="outputs/evaluation", inputs={FINAL_NAME: "ab" * 32})
    artifacts.record(db, run.id, "answers", FILE, "ab" * 32, 1)
    return source_of(db, workspace)


@pytest.fixture
def source(workspace: Workspace, db: Database) -> Source:
    return evaluated(workspace, db, answers())


@pytest.fixture
def clock() -> Callable[[], float]:
    """Ten seconds between two looks."""
    moments = iter(range(1_790_000_000, 1_799_999_999, 10))
    return lambda: float(next(moments))
