"""Checkpoints from which a run goes on to the bit: weights, optimizer, position, random state, running sums."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from core.errors import UserError
from core.models.save import recover, whole_folder
from core.training.gradients import LossScale
from core.training.guard import GuardState

STATE = "trainer_state.json"
WEIGHTS = "trainer_weights.safetensors"
METRICS = "training_metrics.json"


@dataclass
class TrainerState:
    """Where a run stands after `step` updates.

    `position` counts the micro-batches taken, `window` holds the sums since the last report.
    """

    step: int = 0
    position: int = 0
    evaluated: int = -1
    best_step: int | None = None
    best_score: float | None = None
    stale_evaluations: int = 0
    window: dict[str, float] = field(default_factory=dict)
    last_eval: dict[str, float] = field(default_factory=dict)
    first_eval: dict[str, float] = field(default_factory=dict)
    best_eval: dict[str, float] = field(default_factory=dict)
    guard: GuardState = field(default_factory=GuardState)
    loss_scale: LossScale = field(default_factory=LossScale)


def name(step: int) -> str:
    return f"checkpoint-{step}"


def save(
    folder: Path,
    state: TrainerState,
    model: nn.Module,
    optimizer: optim.Optimizer,
    metrics: dict[str, Any],
    write_model: Callable[[Path], None],
) -> Path:
    """Write `checkpoint-<step>` whole or not at all. `write_model` adds the files that other programs read."""
    target = folder / name(state.step)
    with whole_folder(target) as part:
        write_model(part)
        arrays = {f"optimizer.{k}": v for k, v in tree_flatten(optimizer.state)}
        arrays |= {f"weights.{k}": v for k, v in tree_flatten(model.trainable_parameters())}
        # Sorted, so that equal states are equal files.
        mx.save_safetensors(str(part / WEIGHTS), dict(sorted(arrays.items())))
        words = random_words()
        (part / STATE).write_text(json.dumps({"state": asdict(state), "random": words}, indent=1) + "\n", "utf-8")
        write_metrics(part, metrics)
    return target


def random_words() -> list[int]:
    """The key that this thread's next random numbers come from."""
    state: Any = mx.random.state  # the stubs know it as an object
    return [int(word) for word in np.array(state[0])]


def set_random(words: Sequence[int]) -> None:
    """Put a key back."""
    # The items of mx.random.state cannot be assigned; the seed sets both words of the key.
    mx.random.seed((words[0] << 32) | words[1])


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    (folder / METRICS).chmod(0o600)


def restore(checkpoint: Path, model: nn.Module, optimizer: optim.Optimizer) -> TrainerState:
    """Put model, optimizer and MLX's random state back as they were; returns the rest."""
    try:
        written = json.loads((checkpoint / STATE).read_text("utf-8"))
        arrays = mx.load(str(checkpoint / WEIGHTS))
        state = state_of(written["state"])
        high, low = written["random"]
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise UserError(f"{checkpoint} cannot be read ({error}): remove it to resume from the one before") from error
    assert isinstance(arrays, dict)
    groups: dict[str, dict[str, mx.array]] = {"optimizer": {}, "weights": {}}
    for key, value in arrays.items():
        group, rest = key.split(".", 1)
        if group in groups:
            groups[group][rest] = value
    if _shapes(groups["weights"]) != _shapes(dict(tree_flatten(model.trainable_parameters()))):
        raise UserError(f"{checkpoint} does not fit the model, which changed since: start a new run")
    model.load_weights(list(groups["weights"].items()), strict=False)
    optimizer.state = tree_unflatten(list(groups["optimizer"].items()))
    mx.eval(model.parameters(), optimizer.state)
    set_random((high, low))
    return state


def state_of(found: dict[str, Any]) -> TrainerState:
    """A state from what `asdict` made of it."""
    parts = {"guard": GuardState, "loss_scale": LossScale}
    return TrainerState(**{**found, **{name: kind(**found.get(name, {})) for name, kind in parts.items()}})


def _shapes(weights: dict[str, mx.array]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}


def go_back(checkpoint: Path, model: nn.Module, optimizer: optim.Optimizer) -> None:
    """Weights and optimizer of an earlier checkpoint of this run; the data and the random state go on."""
    try:
        load_weights(checkpoint, model)
        arrays = mx.load(str(checkpoint / WEIGHTS))
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{checkpoint} cannot be read ({error}), and the run was to go back to it") from error
    assert isinstance(arrays, dict)
    prefix = "optimizer."
    optimizer.state = tree_unflatten([(k[len(prefix) :], v) for k, v in arrays.items() if k.startswith(prefix)])
    mx.eval(optimizer.state)


def load_weights(checkpoint: Path, model: nn.Module) -> None:
    """Only the trainable weights of a checkpoint."""
    arrays = mx.load(str(checkpoint / WEIGHTS))
    assert isinstance(arrays, dict)
    prefix = "weights."
    model.load_weights([(k[len(prefix) :], v) for k, v in arrays.items() if k.startswith(prefix)], strict=False)
    mx.eval(model.parameters())


def listing(folder: Path) -> list[tuple[int, Path]]:
    """The whole checkpoints in a folder by step; what a crash left half done is cleared away first."""
    for part in folder.glob(".checkpoint-*"):
        stem = re.match(r"\.(checkpoint-\d+)\.(part|old)$", part.name)
        if stem:
            recover(folder / stem[1])
    found = []
    for path in folder.glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if match and (path / STATE).is_file():
            found.append((int(match[1]), path))
    return sorted(found)


def prune(folder: Path, keep_last: int, keep_steps: Collection[int | None]) -> list[Path]:
    """Remove all but the newest `keep_last` checkpoints and those at `keep_steps`; returns what went."""
    removed = []
    for step, path in listing(folder)[: -max(keep_last, 1)]:
        if step not in keep_steps:
            shutil.rmtree(path)
            removed.append(path)
    return removed
