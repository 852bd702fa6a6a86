"""How β goes over the steps of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.config.dpo import DPOTraining


@dataclass(frozen=True, slots=True)
class BetaSchedule:
    """From `start` at the first update to `end` at the last of `steps`; `shape` is constant, linear or cosine.

    `moves` says whether β changes in this run at all, by the schedule or by a guard, and is worth reporting.
    """

    start: float
    end: float
    shape: str
    steps: int
    moves: bool

    @classmethod
    def of(cls, training: DPOTraining, *, guarded: bool = False) -> BetaSchedule:
        """The schedule of a configuration; `guarded` where something else may raise β on the way."""
        end = training.beta if training.beta_end is None else training.beta_end
        moves = guarded or training.beta_schedule != "constant"
        return cls(training.beta, end, training.beta_schedule, training.max_steps, moves)

    def __str__(self) -> str:
        """In words for the log: `β 0.1`, `β from 0.1 to 0.5 (cosine)`."""
        if self.shape == "constant":
            return f"β {self.start:g}"
        return f"β from {self.start:g} to {self.end:g} ({self.shape})"

    def at(self, step: int, factor: float = 1.0) -> float:
        """β of the update that follows `step` earlier ones, times what a guard makes of it."""
        progress = min(1.0, step / max(1, self.steps - 1))
        if self.shape == "cosine":
            progress = 0.5 * (1 - math.cos(math.pi * progress))
        value = self.start if self.shape == "constant" else self.start + (self.end - self.start) * progress
        return value * factor
