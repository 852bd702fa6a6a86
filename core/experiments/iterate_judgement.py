"""What rounds come to beside each other: the best one, whether more bring anything, and what a rule would do.

Two scores are compared by their intervals: a difference is more than chance could give where it exceeds the root of
the sum of both half-widths squared, as for two independent estimates. Rounds that answer the same prompts are not
independent, their true difference is known better than that: it errs on the side of "no gain".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from core.config import IterateConfig
from core.store.iterations import Choice, Iteration


class Gain(NamedTuple):
    """How much better a round is than another, in the score's unit; `noise` is what chance could give."""

    value: float
    noise: float

    @property
    def sure(self) -> bool:
        return abs(self.value) > self.noise


class Advice(NamedTuple):
    """What the rule would do after a round. `target` is the round whose model stands then."""

    choice: Choice
    target: int
    reason: str

    @property
    def goes_on(self) -> bool:
        return self.choice == "continue"


def gain(now: Iteration, before: Iteration, config: IterateConfig) -> Gain:
    """Both must have a score."""
    assert now.score is not None and before.score is not None
    difference = now.score - before.score
    noise = math.hypot(_half(now), _half(before))
    return Gain(-difference if config.score.goal == "minimize" else difference, max(noise, config.convergence.min_gain))


def _half(one: Iteration) -> float:
    return 0.0 if one.low is None or one.high is None else (one.high - one.low) / 2


def best(rounds: Sequence[Iteration], config: IterateConfig) -> Iteration | None:
    """The round with the best score among those within the limits, of equal ones the first.

    The start is one of them where its score is known. None where no round has both.
    """
    sign = -1 if config.score.goal == "minimize" else 1
    found = [one for one in rounds if one.score is not None and not one.broken]
    return max(found, key=lambda one: (sign * (one.score or 0.0), -one.number), default=None)


def gains(rounds: Sequence[Iteration], config: IterateConfig) -> list[tuple[int, Gain]]:
    """Of each round with a score: its gain over the last one that was surely better than all before it.

    Many small gains in a row are one that is sure: they are not held against each other, but against where they began.
    A round that broke a limit gained nothing.
    """
    found = []
    since: Iteration | None = None
    for now in rounds:
        if now.score is None:
            continue
        if since is not None:
            got = gain(now, since, config)
            got = Gain(min(0.0, got.value), got.noise) if now.broken else got
            found.append((now.number, got))
            if not (got.sure and got.value > 0):
                continue
        if not now.broken:
            since = now
    return found


def converged(rounds: Sequence[Iteration], config: IterateConfig) -> tuple[bool, str]:
    """Whether the last `convergence.patience` rounds brought no sure gain; and how that is known, in words."""
    patience, every = config.convergence.patience, gains(rounds, config)
    if not every:
        return False, "not known yet: it takes two rounds with a score"
    vain = 0
    for _, got in reversed(every):
        if got.value > 0 and got.sure:
            break
        vain += 1
    number, last = every[-1]
    told = f"iteration {number}: {signed(last.value)}, by chance up to {last.noise:.3g}"
    if vain >= patience:
        rounds_ = "the last iteration" if vain == 1 else f"the last {vain} iterations"
        return True, f"converged: {rounds_} brought no gain beyond chance ({told})"
    if vain:
        return False, f"no gain beyond chance in {vain} of {patience} iterations ({told})"
    return False, f"still gaining ({told})"


def advise(rounds: Sequence[Iteration], config: IterateConfig) -> Advice:
    """What the rule would do after the last of the rounds."""
    now, top = rounds[-1], best(rounds, config)
    target = 0 if top is None else top.number
    if now.broken:
        return Advice("rollback", target, f"{'; '.join(now.broken)}: {_named(target)} is the best within the limits")
    if now.score is None:
        return Advice("stop", now.number, f"its score is not known: {now.why}")
    assert top is not None
    lead = gain(top, now, config)
    if lead.sure and top is not now:
        ahead = f"{_named(target)} is better by {lead.value:.3g}, by chance up to {lead.noise:.3g}"
        return Advice("rollback", target, ahead)
    at_end, words = converged(rounds, config)
    last = now.number >= config.iteration.max_iterations
    if not at_end and not last:
        return Advice("continue", now.number, words)
    why = words if at_end else f"iteration {now.number} was the last one planned; {words}"
    if top is now:
        return Advice("stop", now.number, why)
    return Advice("rollback", target, f"{why}; {_named(target)} has the best score")


def _named(number: int) -> str:
    return f"iteration {number}" if number else "the start"


def signed(value: float) -> str:
    return f"{value:+.3g}"
