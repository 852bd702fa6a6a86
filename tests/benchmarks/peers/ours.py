"""dpotui as a person runs it: a workspace, a DPOConfig, the job that the engine executes; timed by what it reports."""

from __future__ import annotations

import math
import re
import threading
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.process import Journal, adapted, blas_libraries, digest, main, mlx_gflops

# What a run logs when a file of pairs has become token ids.
_READ = re.compile(r": \d+ rows, longest \d+ tokens")


def run(spec: dict[str, Any]) -> dict[str, Any]:
    from core.config import DPOConfig
    from core.engine.client import submit
    from core.engine.jobs import JOBS
    from core.store import open_store, runs
    from core.store.writer import Writer
    from core.training.context import Context
    from core.workspace import create_workspace, open_workspace

    journal = Journal()
    clock = _Clock(journal)

    class Timed(Context):
        """The engine's own context, which also tells the clock what the run reports, when it does."""

        def log(self, text: str, level: Any = "info") -> None:
            super().log(text, level)
            clock.log(text)

        def progress(self, step: int, steps: int, phase: str) -> None:
            super().progress(step, steps, phase)
            clock.progress(phase)

        def metrics(self, step: int, values: dict[str, float]) -> None:
            super().metrics(step, values)
            clock.metrics(values)

    root = Path(spec["work"]) / "workspace"
    space = open_workspace(root) if root.exists() else create_workspace(root)
    db = open_store(space.database, create=not space.database.exists())
    config = DPOConfig.model_validate(configuration(spec))
    queued = submit(space, db, "dpo", config)
    writer = Writer(space.database)
    try:
        JOBS["dpo"](Timed(space, db, runs.get(db, queued.id), writer, threading.Event()))
    finally:
        writer.close()

    # MLX is loaded by now, by the product, after what the product puts before it.
    import mlx.core as mx
    from mlx.utils import tree_flatten

    from core import blas

    folder = space.path(runs.get(db, queued.id).output_dir)
    weights = _weights(Path(spec["model"]), mx)
    memory = {**clock.memory, "weights": weights}
    trained = mx.load(str(folder / "adapters.safetensors"))
    return {
        "began": journal.began,
        "fill_seconds": journal.fill_seconds,
        "steps": journal.steps,
        "away": journal.away,
        "memory": memory,
        "loss": _loss(spec, folder, config.training.beta) if spec["evaluate"] else None,
        "adapted": adapted(trained),
        "trainable": sum(value.size for _, value in tree_flatten(trained)),
        "ids": digest(_ids(spec)),
        "blas": {"gflops": mlx_gflops(), "libraries": blas_libraries(), "preloaded": blas.OPENBLAS},
        "notes": [],
    }


def configuration(spec: dict[str, Any]) -> dict[str, Any]:
    """A DPO configuration as its YAML would say it; `spec["settings"]` goes on top, section by section."""
    steps = spec["pairs"] * spec["epochs"] // spec["batch_size"]
    model = spec["model"]
    config: dict[str, dict[str, Any]] = {
        "model": {"base_model": model, "reference_model": model, "policy_model": model},
        "data": {
            "train_file": spec["train_file"],
            "validation_file": spec["validation_file"],
            "max_prompt_length": spec["prompt_tokens"],
            "max_response_length": spec["response_tokens"],
        },
        "training": {
            "learning_rate": spec["learning_rate"],
            "beta": spec["beta"],
            "batch_size": spec["batch_size"],
            "gradient_accumulation_steps": 1,
            "max_steps": steps,
            "warmup_steps": 0,
            "logging_steps": 1,
            # Before the first step and after the last; both are taken off.
            "eval_steps": steps,
            "save_steps": steps,
            "seed": spec["seed"],
            "kl_samples": 1,
            "kl_max_tokens": 1,
        },
        "adapter": {
            "type": "lora", "rank": spec["rank"], "scale": spec["scale"], "dropout": 0.0,
            "num_layers": spec["num_layers"],
        },
        "optimization": {
            "optimizer": "adamw", "weight_decay": spec["weight_decay"], "max_grad_norm": 0.0,
            "lr_scheduler": "constant",
        },
        "constraints": {"kl_target": 1e6, "preference_gap_target": 0.0},
        "compute": {"device": spec["device"]},
        "logging": {"output_dir": "outputs/dpo"},
    }  # fmt: skip
    for section, values in spec["settings"].items():
        config.setdefault(section, {}).update(values)
    return config


class _Clock:
    """From what a run reports to a journal.

    Training begins when the last file of pairs has been read; every second after it counts but those of evaluations.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._evaluating: float | None = None
        self.memory: dict[str, int] = {}

    def log(self, text: str) -> None:
        if _READ.search(text):
            self._journal.begin()

    def progress(self, phase: str) -> None:
        if phase == "evaluating":
            self._evaluating = time.time()

    def metrics(self, values: dict[str, float]) -> None:
        if "loss" in values:
            self._journal.step(values["loss"])
            self.memory = {**self._journal.memory(), "allocator_peak": round(values["peak_memory_gb"] * 1e9)}
        elif self._evaluating is not None:
            self._journal.away.append((self._evaluating, time.time()))
            self._evaluating = None


def _weights(model: Path, mx: Any) -> int:
    """Bytes of one copy of the model's weights as the product holds them."""
    from core.config import plan
    from core.config.models import Compute

    size = 2 if plan(Compute()).dtype == "bfloat16" else 4
    return sum(value.size * size for file in model.glob("model*.safetensors") for value in mx.load(str(file)).values())


def _ids(spec: dict[str, Any]) -> list[tuple[list[int], list[int], list[int]]]:
    """The token ids that the product makes of the texts it was given, by the product's own functions."""
    from core.data.pairs import Pair, read_pairs
    from core.data.tokenize import Limits, tokenize
    from tests.benchmarks.pairs import tokenizer_of

    tokenizer = tokenizer_of(Path(spec["model"]))
    limits = Limits(spec["prompt_tokens"], spec["response_tokens"])
    found = []
    for row in read_pairs(Path(spec["train_file"])):
        assert isinstance(row, Pair)
        tokens = tokenize(tokenizer, row.prompt, (row.chosen, row.rejected), limits)
        found.append((tokens.prompt, *tokens.responses))
    return found


def _loss(spec: dict[str, Any], adapter: Path, beta: float) -> float:
    """Mean sigmoid loss of what was trained over the pairs it was trained on."""
    from core.data.tokenize import Limits
    from core.training.score import score

    model, pairs = Path(spec["model"]), Path(spec["train_file"])
    limits = Limits(spec["prompt_tokens"], spec["response_tokens"])
    ours, theirs = (
        score(model, folder, pairs, batch_size=spec["batch_size"], limits=limits) for folder in (adapter, None)
    )
    margins = [
        beta * (a.chosen_logp - a.rejected_logp - b.chosen_logp + b.rejected_logp)
        for a, b in zip(ours, theirs, strict=True)
    ]
    # log(1 + exp(-m)), also for a large negative m.
    return sum(max(-m, 0.0) + math.log1p(math.exp(-abs(m))) for m in margins) / len(margins)


if __name__ == "__main__":
    main(run)
