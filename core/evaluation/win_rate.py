"""The figures of a win rate: wins, ties and losses, the rate with its interval, the sign test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.intervals import wilson


@dataclass(frozen=True, slots=True)
class Count:
    """How often the policy's answer was the better one, neither was, and the baseline's was."""

    wins: int = 0
    ties: int = 0
    losses: int = 0

    @property
    def n(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def won(self) -> float:
        """Wins, and half of the ties."""
        return self.wins + self.ties / 2

    @property
    def share(self) -> float | None:
        """The win rate, 0 to 1; None of nothing."""
        return self.won / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of the win rate. Ties make it wider than it need be, never narrower."""
        return wilson(self.won, self.n) if self.n else None

    @property
    def p_value(self) -> float:
        return sign_test(self.wins, self.losses)


def count(outcomes: Iterable[float]) -> Count:
    """Of outcomes from 0 (the baseline's answer is better) to 1 (the policy's is); exactly 0.5 is a tie."""
    wins = ties = losses = 0
    for outcome in outcomes:
        wins += outcome > 0.5
        ties += outcome == 0.5
        losses += outcome < 0.5
    return Count(wins, ties, losses)


def sign_test(wins: int, losses: int) -> float:
    """The exact two-sided sign test without ties: how likely a split at least as uneven is if both win alike.

    2 · P(X ≤ min(wins, losses)) of X ~ Binomial(wins + losses, 1/2), at most 1 (Dixon and Mood 1946). In whole numbers:
    nothing is rounded before the end.
    """
    n, fewer = wins + losses, min(wins, losses)
    if 2 * fewer == n:
        return 1.0
    ways = one = 1
    for k in range(fewer):
        one = one * (n - k) // (k + 1)
        ways += one
    return min(1.0, float(2 * ways / 2**n))


def same_as_even(interval: tuple[float, float]) -> bool:
    """Whether a rate cannot be told from one half."""
    return interval[0] <= 0.5 <= interval[1]
