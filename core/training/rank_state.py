"""That ranks begin alike and stay so: with the weights, optimizer and place in the data that rank 0 has."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_unflatten

from core.training import checkpoints
from core.training.checkpoints import TrainerState
from core.training.ranks import Ranks, checksum


def same_start(ranks: Ranks, state: TrainerState, model: nn.Module, optimizer: optim.Optimizer) -> TrainerState:
    """Where rank 0 begins, new or from a checkpoint; the others need no checkpoint. All ranks call it together."""
    if ranks.alone:
        return state
    said = ranks.gather("start", {"state": asdict(state), "random": checkpoints.random_words()})[0]
    if not ranks.first:
        state = checkpoints.state_of(said["state"])
        checkpoints.set_random(said["random"])
    adopt(ranks, model, optimizer)
    return state


def adopt(ranks: Ranks, model: nn.Module, optimizer: optim.Optimizer) -> None:
    """Rank 0's trained weights and optimizer, to the bit. All ranks call it together."""
    if ranks.alone:
        return
    arrays: dict[str, Any] = {f"optimizer.{k}": v for k, v in tree_flatten(optimizer.state)}
    arrays |= {f"weights.{k}": v for k, v in tree_flatten(model.trainable_parameters())}
    found = ranks.take_over(arrays)
    if not ranks.first:
        model.load_weights(tree_flatten(found["weights"]), strict=False)
        optimizer.state = tree_unflatten(tree_flatten(found["optimizer"]))
        mx.eval(model.parameters(), optimizer.state)


def keep_alike(ranks: Ranks, model: nn.Module, optimizer: optim.Optimizer) -> bool:
    """Where the weights differ they become rank 0's, which is returned. All ranks call it together.

    Two ranks never differ: a sum of two is the same in either order. Of more, a backend may add in another order on
    each, and chips may differ in the last bit of what follows.
    """
    if ranks.alone:
        return False
    said = ranks.gather("alike", {"weights": checksum(model.trainable_parameters())})
    differ = len({one["weights"] for one in said}) > 1
    if differ:
        adopt(ranks, model, optimizer)
    return differ


def own_random(ranks: Ranks, seed: int, step: int) -> None:
    """Before an update: the other ranks draw (dropout) from a key of the step, so that a resume draws the same. Rank
    0's is in its checkpoints."""
    if not ranks.first:
        mx.random.seed(hash((seed, step, ranks.rank)) & (2**63 - 1))
