"""What is done when the KL of an evaluation passes its limit. Decides only; the loop does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.config import DPOConfig
from core.config.dpo import LARGEST_BETA

HALF = 0.5


@dataclass
class GuardState:
    """What the guard has done so far; part of a checkpoint.

    Attributes:
        rate_factor, beta_factor: what the learning rate and β of the schedules are multiplied by.
        above: evaluations in a row above the limit since the last action.
        good_step: the last step at which an evaluation was within the limit, and its evaluation.
        back_at: the step whose weights the run goes on with since it was rolled back; None once it was evaluated anew.
        stopped: the guard has ended the run.
        history: the actions, as training_metrics.json tells them.
    """

    rate_factor: float = 1.0
    beta_factor: float = 1.0
    above: int = 0
    good_step: int | None = None
    good_eval: dict[str, float] = field(default_factory=dict)
    back_at: int | None = None
    stopped: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def actions(self) -> int:
        return len(self.history)


@dataclass(frozen=True, slots=True)
class Action:
    """What the loop has to do now: go back to the checkpoint of a step, end the run, say it.

    The words are few: a terminal of 80 columns shows them with the time and the step before them.
    """

    words: str
    back_to: int | None = None
    stop: bool = False


@dataclass(frozen=True, slots=True)
class Guard:
    """The names are the configuration's (section `kl_guard`)."""

    action: str
    kl_limit: float
    beta_factor: float
    patience: int
    max_actions: int
    largest_beta_factor: float

    @classmethod
    def of(cls, config: DPOConfig) -> Guard | None:
        """The guard that a configuration asks for, if any."""
        section = config.kl_guard
        if section.action == "none":
            return None
        limit = config.constraints.kl_target if section.kl_limit is None else section.kl_limit
        largest = LARGEST_BETA / max(config.training.beta, config.training.beta_end or 0.0)
        return cls(section.action, limit, section.beta_factor, section.patience, section.max_actions, largest)

    @property
    def keeps_good(self) -> bool:
        """Whether a checkpoint within the limit must be there to go back to."""
        return self.action == "rollback"

    def judge(self, state: GuardState, step: int, evaluation: dict[str, float], *, last: bool) -> Action | None:
        """Look at an evaluation and note in `state` what follows from it.

        Args:
            step: updates before the evaluation. Before the first one there is nothing to undo.
            last: no update follows, so only going back still changes anything.
        """
        kl = evaluation["kl_divergence"]
        state.back_at = None
        if kl <= self.kl_limit:  # false for a KL that is no number
            state.above, state.good_step, state.good_eval = 0, step, evaluation
            return None
        state.above += bool(step)
        if state.above < self.patience:
            return None
        if last and not (self.keeps_good and state.good_step is not None):
            return None
        state.above = 0
        passed = f"KL {kl:.6g} > {self.kl_limit:g}" if kl > self.kl_limit else f"KL {kl:g} is no number"
        if self.action == "stop" or state.actions >= self.max_actions:
            return self._stop(state, step, kl, passed)
        return self._act(state, step, kl, passed)

    def _stop(self, state: GuardState, step: int, kl: float, passed: str) -> Action:
        state.stopped = True
        back_to = self._back(state)
        words = "stops the run"
        if back_to is not None:
            words += f" with the weights of step {back_to}"
        if self.action != "stop":
            words += f", {state.actions} action{'s' * (state.actions != 1)} did not hold it"
        self._note(state, step, kl, "stop", back_to)
        return Action(f"{passed}: {words}", back_to, stop=True)

    def _act(self, state: GuardState, step: int, kl: float, passed: str) -> Action:
        done, back_to = self.action, self._back(state)
        if self.action == "raise_beta":
            state.beta_factor = min(state.beta_factor * self.beta_factor, self.largest_beta_factor)
            words = f"β × {state.beta_factor:g}"
        else:
            state.rate_factor *= HALF
            words = f"learning rate × {state.rate_factor:g}"
        if back_to is not None:
            words = f"back to step {back_to}, {words}"
        elif self.action == "rollback":
            done = "halve_learning_rate"
            words = f"no step within the limit to go back to, {words}"
        self._note(state, step, kl, done, back_to)
        return Action(f"{passed}: {words} (action {state.actions} of {self.max_actions})", back_to)

    def _back(self, state: GuardState) -> int | None:
        if not self.keeps_good:
            return None
        state.back_at = state.good_step
        return state.good_step

    def _note(self, state: GuardState, step: int, kl: float, done: str, back_to: int | None) -> None:
        noted = {"step": step, "kl_divergence": kl, "action": done}
        if back_to is not None:
            noted["back_to_step"] = back_to
        noted |= {"learning_rate_factor": state.rate_factor, "beta_factor": state.beta_factor}
        state.history.append(noted)


def told(guard: Guard | None, state: GuardState) -> dict[str, Any]:
    """What training_metrics.json says of the guard."""
    if guard is None:
        return {}
    section = {"action": guard.action, "kl_limit": guard.kl_limit, "actions": state.history}
    return {"kl_guard_actions": state.actions, "kl_guard": section}
