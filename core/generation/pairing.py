"""From what a judge said of a prompt's responses to preference pairs: which against which, and how far apart."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.config.judge import Pairing
from core.generation.groups import Question
from core.generation.rubric import HIGHEST, LOWEST
from core.generation.verdicts import Said

# Log-odds and rewards nearer to each other than this are a tie: one text in two rows of a batch differs by so much.
TIE_LOG_ODDS = 1e-3
TIE_REWARD = 1e-4
# Scores come from subtractions: a gap of 0.15 may be 0.1499999999 in binary.
_SLACK = 1e-9

A_WINS = {"A": 1.0, "TIE": 0.5, "B": 0.0}

Two = tuple[int, int]


@dataclass(slots=True)
class Opinion:
    """What one judge says of the responses of a row.

    Attributes:
        worth: of each response, for their order; None where nothing is known of it.
        outcomes: of two responses (the lower number first): 1 the first is better, 0 the second, 0.5 neither, or the
            probability where the judge gives one.
        scores: of two responses, on [0, 1]; their difference is the preference gap.
        counts: comparisons, decided, ties, inconsistent, one_order.
        first_wins: of each comparison that is decided in both orders, the share of orders in which the response that
            was read first won: 0.5 where both orders agree.
    """

    worth: list[float | None]
    outcomes: dict[Two, float] = field(default_factory=dict)
    rewards: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    first_wins: list[float] = field(default_factory=list)

    def scores(self, one: int, other: int) -> tuple[float, float] | None:
        """Of a reward model σ(r - r') of each, so that the gap is 2σ(r - r') - 1; else the worth of each."""
        a, b = self.worth[one], self.worth[other]
        if a is None or b is None:
            return None
        return (sigmoid(a - b), sigmoid(b - a)) if self.rewards else (a, b)

    def says(self, one: int, other: int) -> float | None:
        """Whether `one` is better than `other`, from 0 to 1; None where the judge said nothing of the two."""
        found = self.outcomes.get((min(one, other), max(one, other)))
        return found if found is None or one < other else 1 - found


@dataclass(frozen=True, slots=True)
class Made:
    """A pair by the numbers of its responses."""

    chosen: int
    rejected: int
    chosen_score: float
    rejected_score: float

    @property
    def gap(self) -> float:
        return self.chosen_score - self.rejected_score


def from_comparisons(size: int, said: Mapping[Question, Said], *, average_orders: bool = False) -> Opinion:
    """Of `size` responses, compared two by two in both orders.

    Orders that disagree are a tie and counted as inconsistent; of likelihoods the mean of both, if `average_orders`.
    A comparison of which only one order can be read decides nothing: it may be the position that spoke. A response's
    worth is the share of its comparisons that it won, ties half, probabilities as they are.
    """
    opinion = Opinion([None] * size)
    orders = {(question.first, question.second): one for question, one in said.items() if question.second is not None}
    for one, other in sorted({(min(pair), max(pair)) for pair in orders}):
        opinion.counts["comparisons"] += 1
        there, back = (orders.get(pair, Said()) for pair in ((one, other), (other, one)))
        if there.verdict is None or back.verdict is None:
            if there.verdict is not None or back.verdict is not None:
                opinion.counts["one_order"] += 1
            continue
        opinion.counts["decided"] += 1
        forth, reverse = A_WINS[there.verdict], 1 - A_WINS[back.verdict]
        opinion.first_wins.append((forth + (1 - reverse)) / 2)
        odds = None
        if there.value is not None and back.value is not None:
            odds = (there.value - back.value) / 2
        if forth != reverse:
            opinion.counts["inconsistent"] += 1
            outcome = 0.5 if odds is None or not average_orders or abs(odds) < TIE_LOG_ODDS else sigmoid(odds)
        else:
            outcome = forth if odds is None or forth == 0.5 else sigmoid(odds)
        if forth == reverse == 0.5:
            opinion.counts["ties"] += 1
        opinion.outcomes[one, other] = outcome
    won: dict[int, list[float]] = {}
    for (one, other), outcome in opinion.outcomes.items():
        won.setdefault(one, []).append(outcome)
        won.setdefault(other, []).append(1 - outcome)
    opinion.worth = [math.fsum(won[index]) / len(won[index]) if index in won else None for index in range(size)]
    return opinion


def from_scores(size: int, said: Mapping[Question, Said]) -> Opinion:
    """Of `size` responses with scores from 1 to 10, which become 0 to 1."""
    values = _values(size, said)
    worth = [None if value is None else (value - LOWEST) / (HIGHEST - LOWEST) for value in values]
    return _of_worth(Opinion(worth), 0.0)


def from_rewards(size: int, said: Mapping[Question, Said]) -> Opinion:
    """Of `size` responses with rewards."""
    return _of_worth(Opinion(_values(size, said), rewards=True), TIE_REWARD)


def _values(size: int, said: Mapping[Question, Said]) -> list[float | None]:
    of = {question.first: one.value for question, one in said.items() if question.second is None}
    return [of.get(index) for index in range(size)]


def _of_worth(opinion: Opinion, tie: float) -> Opinion:
    for one, other in itertools.combinations(range(len(opinion.worth)), 2):
        a, b = opinion.worth[one], opinion.worth[other]
        opinion.counts["comparisons"] += 1
        if a is None or b is None:
            continue
        opinion.counts["decided"] += 1
        opinion.counts["ties"] += abs(a - b) <= tie
        opinion.outcomes[one, other] = 0.5 if abs(a - b) <= tie else float(a > b)
    return opinion


def pairs(
    opinion: Opinion, rules: Pairing, others: Sequence[Opinion] = (), why: Counter[str] | None = None
) -> list[Made]:
    """The pairs of a row by the rules of a configuration, the widest gaps first.

    Two responses that the judge finds equal, or of which its own comparison says otherwise than their worth, are no
    pair.

    Args:
        others: what other judges say, where `require_agreement` asks them.
        why: counts what was left out: tie, contradicted, under_min_gap, disagreed, over_max.
    """
    left = Counter[str]() if why is None else why
    ranked = sorted(
        (index for index, worth in enumerate(opinion.worth) if worth is not None),
        key=lambda index: (-(opinion.worth[index] or 0.0), index),
    )
    wanted: Sequence[Two] = []
    if len(ranked) > 1:
        match rules.strategy:
            case "best_worst":
                wanted = [(ranked[0], ranked[-1])]
            case "adjacent":
                wanted = list(itertools.pairwise(ranked))
            case "all":
                wanted = list(itertools.combinations(ranked, 2))
    found = []
    for one, other in wanted:
        scores = opinion.scores(one, other)
        assert scores is not None, "ranked responses have a worth"
        made = Made(one, other, *scores)
        direct = opinion.says(one, other)
        if made.gap <= 0 or direct == 0.5:
            left["tie"] += 1
        elif direct is not None and direct < 0.5:
            left["contradicted"] += 1
        elif made.gap + _SLACK < rules.min_gap:
            left["under_min_gap"] += 1
        elif rules.require_agreement and any(_denies(each, one, other) for each in others):
            left["disagreed"] += 1
        else:
            found.append(made)
    found.sort(key=lambda made: -made.gap)
    most = rules.max_pairs_per_prompt or len(found)
    if found[most:]:
        left["over_max"] += len(found[most:])
    return found[:most]


def _denies(opinion: Opinion, one: int, other: int) -> bool:
    said = opinion.says(one, other)
    return said is not None and said < 0.5


def cyclic(opinion: Opinion) -> bool:
    """Whether the comparisons go round in a circle: one beats another, which beats a third, which beats the first."""
    beaten_by: dict[int, set[int]] = {index: set() for index in range(len(opinion.worth))}
    for (one, other), outcome in opinion.outcomes.items():
        if outcome > 0.5:
            beaten_by[other].add(one)
        elif outcome < 0.5:
            beaten_by[one].add(other)
    # Those that nobody left beats are taken away; what cannot be taken away beats itself in the end.
    while free := [index for index, by in beaten_by.items() if not by]:
        for index in free:
            del beaten_by[index]
        for by in beaten_by.values():
            by.difference_update(free)
    return bool(beaten_by)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
