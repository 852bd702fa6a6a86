"""How long a run will take, from what was measured on this machine; never a guess."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

from core.config import TrainingConfig
from core.config.models import AUTO
from core.errors import UserError
from core.hardware import look
from core.store import Database, calibrations, engines, metrics, runs
from core.training.calibration import subject_of
from core.training.forecast import lengths_of
from core.workspace import Workspace

# Runs that are looked at, and reports of one that say how fast it was.
_RUNS, _REPORTS = 200, 500
# With fewer reports than these a rate is one of warming up.
_LEAST = 3


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds of training, evaluations and saving not counted. `rate`: examples a second; `source`: where from."""

    seconds: float
    examples: int
    rate: float
    source: str

    def sentence(self) -> str:
        return (
            f"time: about {_span(self.seconds)} of training: {self.examples} examples at {self.rate:.3g} a second"
            f" ({self.source}); evaluations and saving come on top"
        )

    def as_json(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "examples": self.examples, "rate": self.rate, "source": self.source}


UNKNOWN = "time: not known: no run of this model with these sizes here yet"


def expected(
    workspace: Workspace, db: Database, kind: Literal["sft", "reward", "dpo"], config: TrainingConfig
) -> Duration | None:
    """The time a run of this configuration trains, or None where nothing like it was measured here."""
    training = config.training
    measured = _of_runs(workspace, db, kind, config) or _of_calibrations(workspace, db, kind, config)
    if measured is None or training.batch_tokens is not None:
        return None
    rate, size, source = measured
    examples = training.max_steps * training.gradient_accumulation_steps * size
    return Duration(examples / rate, examples, rate, source)


def _of_runs(workspace: Workspace, db: Database, kind: str, config: TrainingConfig) -> tuple[float, int, str] | None:
    """The newest run with the same sizes that says how fast it was: rate, batch size, which."""
    wanted = _sizes(config.model_dump(mode="json"))
    chip = ""
    for run in runs.listing(db, kind=kind, limit=_RUNS):
        size = run.config.get("training", {}).get("batch_size")
        if run.engine is None or not isinstance(size, int) or _sizes(run.config) != wanted:
            continue
        if config.training.batch_size not in (AUTO, size):
            continue
        chip = chip or look(workspace.root).chip
        if engines.environment(db, run.engine).get("chip") != chip:
            continue
        points = metrics.tail(db, run.id, "examples_per_second", _REPORTS)
        rates = [point.value for point in points if point.value > 0]
        if len(rates) >= _LEAST:
            # As dpo.throughput: examples over the time that they took.
            return len(rates) / sum(1 / rate for rate in rates), size, f"as {run.id} trained"
    return None


def _sizes(config: dict[str, Any]) -> list[Any]:
    """What the speed of training depends on, the batch size left out."""
    model, data, adapter, compute = (config.get(name, {}) for name in ("model", "data", "adapter", "compute"))
    training = config.get("training", {})
    return [
        model.get("policy_model") or model.get("base_model"),
        *(data.get(name) for name in ("train_file", "max_prompt_length", "max_response_length")),
        *(adapter.get(name) for name in ("type", "rank", "num_layers", "keys")),
        *(compute.get(name) for name in ("fp16", "dtype", "device", "gradient_checkpointing")),
        *(training.get(name) for name in ("batch_tokens", "packing")),
    ]


def _of_calibrations(
    workspace: Workspace, db: Database, kind: Literal["sft", "reward", "dpo"], config: TrainingConfig
) -> tuple[float, int, str] | None:
    """What measuring batch sizes gave for this very model, adapter and lengths."""
    if not calibrations.listing(db, limit=1):
        return None
    try:
        subject = subject_of(db, workspace, kind, config, lengths_of(workspace, config))
    except UserError:
        return None
    known = calibrations.remembered(db, subject)
    if known is None:
        return None
    wanted = config.training.batch_size or known.chosen
    found = next((size for size in known.sizes if size.size == wanted and size.rate), None)
    if found is None or found.rate is None:
        return None
    day = time.strftime("%Y-%m-%d", time.localtime(known.started))
    return found.rate, found.size, f"batch sizes measured on {day}"


def _span(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes:02d} min" if hours else (f"{minutes} min" if minutes >= 10 else f"{whole} s")
