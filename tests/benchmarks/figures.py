"""From what a process reported to the figures of a table: pairs per second, memory, time to the first step, loss."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, with the smallest and the largest."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one process.

    Attributes:
        first: pairs per second in the first epoch, every cost since the data was ready counted.
        first_unfilled: the same without what was computed ahead of it; None where that is not told apart.
        later: pairs per second from the second epoch on.
        above_weights: peak bytes above one copy of the weights, as the library's allocator counts; None where it
            does not.
        resident_above: the same by the process's resident memory, less what it took before the model was loaded.
        to_first_step: seconds from the start of the process to the end of the first update.
        last_epoch_loss: mean of the losses reported in the last epoch.
        loss: over all pairs after training.
    """

    first: float
    first_unfilled: float | None
    later: float
    above_weights: int | None
    resident_above: int
    to_first_step: float
    last_epoch_loss: float
    loss: float | None


def figures(result: dict[str, Any], pairs: int, batch_size: int, *, fill_known: bool) -> Figures:
    """Figures of one driver's result over `pairs` pairs an epoch.

    Args:
        fill_known: what the program computes ahead (reference log-probs) is in `fill_seconds`, and nothing of the
            kind happens in its first epoch.
    """
    steps, began, memory = result["steps"], result["began"], result["memory"]
    an_epoch = pairs // batch_size
    assert len(steps) >= 2 * an_epoch, "two epochs at least"
    end_of_first, end = steps[an_epoch - 1]["at"], steps[-1]["at"]
    training = end_of_first - began - _away(result, began, end_of_first)
    fill = result["fill_seconds"]
    later = (end - end_of_first - _away(result, end_of_first, end)) / (len(steps) / an_epoch - 1)
    allocator = memory.get("allocator_peak")
    return Figures(
        first=pairs / (training + fill),
        first_unfilled=pairs / training if fill_known else None,
        later=pairs / later,
        above_weights=None if allocator is None else allocator - memory["weights"],
        resident_above=memory["resident_peak"] - memory["resident_baseline"] - memory["weights"],
        to_first_step=steps[0]["at"] - result["started"],
        last_epoch_loss=statistics.fmean(step["loss"] for step in steps[-an_epoch:]),
        loss=result["loss"],
    )


def _away(result: dict[str, Any], start: float, end: float) -> float:
    """Seconds between two moments that were no training."""
    return sum(max(0.0, min(until, end) - max(since, start)) for since, until in result["away"])
