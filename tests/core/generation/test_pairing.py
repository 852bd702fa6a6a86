"""From verdicts to pairs: by hand, and by rules that must hold for any verdicts."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.judge import Pairing
from core.generation.groups import Question
from core.generation.pairing import cyclic, from_comparisons, from_rewards, from_scores, pairs, sigmoid
from core.generation.verdicts import Said

MIRROR = {"A": "B", "B": "A", "TIE": "TIE", None: None}


def both(verdicts):
    """{(i, j): 'A'} said in both orders alike."""
    said = {}
    for (one, other), verdict in verdicts.items():
        said[Question(1, one, other)] = Said(verdict)
        said[Question(1, other, one)] = Said(MIRROR[verdict])
    return said


def single(*values):
    return {Question(1, index): Said(None, value) for index, value in enumerate(values)}


def numbers(made):
    return [(m.chosen, m.rejected) for m in made]


RANKED = {(0, 1): "A", (0, 2): "A", (1, 2): "A"}  # 0 > 1 > 2


def test_wins_make_the_order() -> None:
    opinion = from_comparisons(3, both(RANKED))
    assert opinion.worth == [1.0, 0.5, 0.0]
    assert opinion.counts == {"comparisons": 3, "decided": 3}
    assert opinion.first_wins == [0.5, 0.5, 0.5]
    (made,) = pairs(opinion, Pairing())
    assert (made.chosen, made.rejected, made.chosen_score, made.rejected_score) == (0, 2, 1.0, 0.0)


def test_orders_that_disagree_are_a_tie_and_counted() -> None:
    said = {Question(1, 0, 1): Said("A"), Question(1, 1, 0): Said("A")}
    opinion = from_comparisons(2, said)
    assert opinion.outcomes == {(0, 1): 0.5}
    assert opinion.counts["inconsistent"] == 1
    assert opinion.counts["ties"] == 0
    assert opinion.first_wins == [1.0]
    left = Counter()
    assert pairs(opinion, Pairing(), why=left) == []
    assert left["tie"] == 1


def test_a_tie_against_a_win_is_inconsistent_too() -> None:
    opinion = from_comparisons(2, {Question(1, 0, 1): Said("A"), Question(1, 1, 0): Said("TIE")})
    assert opinion.outcomes == {(0, 1): 0.5}
    assert opinion.counts["inconsistent"] == 1
    assert opinion.first_wins == [0.75]


@pytest.mark.parametrize("there", ["A", "B", "TIE", None])
def test_what_cannot_be_parsed_is_no_win_for_anyone(there) -> None:
    said = {Question(1, 0, 1): Said(there), Question(1, 1, 0): Said(None, None, "unparseable")}
    opinion = from_comparisons(2, said)
    assert opinion.outcomes == {}
    assert opinion.worth == [None, None]
    assert opinion.counts["one_order"] == (there is not None)
    assert pairs(opinion, Pairing(strategy="all", max_pairs_per_prompt=0)) == []


def test_likelihoods_are_probabilities() -> None:
    said = {Question(1, 0, 1): Said("A", 2.0), Question(1, 1, 0): Said("B", -1.0)}
    opinion = from_comparisons(2, said)
    assert opinion.outcomes[0, 1] == pytest.approx(sigmoid(1.5))
    (made,) = pairs(opinion, Pairing())
    assert made.gap == pytest.approx(2 * sigmoid(1.5) - 1)


def test_orders_of_likelihoods_that_disagree_are_a_tie_or_their_mean() -> None:
    # A constant liking for the first position of 2 nats, and 0.5 for response 1.
    said = {Question(1, 0, 1): Said("A", 1.5), Question(1, 1, 0): Said("A", 2.5)}
    assert from_comparisons(2, said).outcomes == {(0, 1): 0.5}
    opinion = from_comparisons(2, said, average_orders=True)
    assert opinion.outcomes[0, 1] == pytest.approx(sigmoid(-0.5))
    assert opinion.counts["inconsistent"] == 1
    assert numbers(pairs(opinion, Pairing())) == [(1, 0)]


def test_scores_are_brought_to_one() -> None:
    opinion = from_scores(3, single(10.0, 1.0, 5.5))
    assert opinion.worth == [1.0, 0.0, 0.5]
    (made,) = pairs(opinion, Pairing())
    assert (made.chosen_score, made.rejected_score) == (1.0, 0.0)
    assert from_scores(2, {Question(1, 0): Said(None, 4.0), Question(1, 1): Said(None, None, "unparseable")}).worth == [
        pytest.approx(1 / 3),
        None,
    ]


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_the_gap_of_rewards_is_the_designs(a: float, b: float) -> None:
    opinion = from_rewards(2, single(a, b))
    found = pairs(opinion, Pairing())
    if abs(a - b) <= 1e-4:
        assert found == []
    else:
        (made,) = found
        high, low = max(a, b), min(a, b)
        assert made.gap == pytest.approx(2 / (1 + math.exp(low - high)) - 1)
        assert 0 <= made.rejected_score < made.chosen_score <= 1


def test_strategies() -> None:
    opinion = from_scores(4, single(10.0, 7.0, 4.0, 1.0))
    most = {"max_pairs_per_prompt": 0}
    assert numbers(pairs(opinion, Pairing(strategy="best_worst", **most))) == [(0, 3)]
    assert numbers(pairs(opinion, Pairing(strategy="adjacent", **most))) == [(0, 1), (1, 2), (2, 3)]
    every = pairs(opinion, Pairing(strategy="all", **most))
    assert numbers(every)[0] == (0, 3)
    assert len(every) == 6
    gaps = [made.gap for made in every]
    assert gaps == sorted(gaps, reverse=True)


def test_limits_are_counted() -> None:
    opinion = from_scores(4, single(10.0, 7.0, 4.0, 1.0))
    left = Counter()
    found = pairs(opinion, Pairing(strategy="all", min_gap=0.5, max_pairs_per_prompt=2), why=left)
    assert numbers(found) == [(0, 3), (0, 2)]
    assert left == {"under_min_gap": 3, "over_max": 1}


def test_a_gap_on_the_limit_is_one() -> None:
    opinion = from_scores(2, single(4.0, 1.0))
    assert pairs(opinion, Pairing(min_gap=1 / 3))
    assert pairs(opinion, Pairing(min_gap=0.34)) == []


def test_what_the_own_comparison_denies_is_no_pair() -> None:
    # 0 beats 1 and 2, 1 beats 3, 2 beats 3, but 3 beats 0: the best by wins lost to the worst.
    opinion = from_comparisons(4, both({(0, 1): "A", (0, 2): "A", (1, 3): "A", (2, 3): "A", (0, 3): "B", (1, 2): "A"}))
    assert opinion.worth == [pytest.approx(2 / 3), pytest.approx(2 / 3), pytest.approx(1 / 3), pytest.approx(1 / 3)]
    left = Counter()
    assert pairs(opinion, Pairing(), why=left) == []
    assert left == {"contradicted": 1}


def test_circles() -> None:
    assert cyclic(from_comparisons(3, both({(0, 1): "A", (1, 2): "A", (0, 2): "B"})))
    assert not cyclic(from_comparisons(3, both(RANKED)))
    assert not cyclic(from_comparisons(3, both({(0, 1): "TIE", (1, 2): "A", (0, 2): "B"})))


def test_other_judges_can_deny() -> None:
    opinion = from_scores(2, single(9.0, 2.0))
    denies, agrees, silent = (
        from_scores(2, single(2.0, 9.0)),
        from_scores(2, single(9.0, 8.0)),
        from_scores(2, {}),
    )
    rules = Pairing(require_agreement=True)
    left = Counter()
    assert pairs(opinion, rules, [agrees, denies], left) == []
    assert left == {"disagreed": 1}
    assert len(pairs(opinion, rules, [agrees, silent])) == 1
    assert len(pairs(opinion, Pairing(), [denies])) == 1


verdict = st.sampled_from(["A", "B", "TIE", None])


@given(
    st.integers(2, 5).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.fixed_dictionaries(dict.fromkeys(itertools.permutations(range(n), 2), verdict)),
        )
    ),
    st.sampled_from(["best_worst", "all", "adjacent"]),
)
def test_of_any_verdicts(given_, strategy) -> None:
    size, verdicts = given_
    said = {Question(1, *pair): Said(word) for pair, word in verdicts.items()}
    opinion = from_comparisons(size, said)
    for made in pairs(opinion, Pairing(strategy=strategy, max_pairs_per_prompt=0)):
        assert 0 <= made.rejected_score < made.chosen_score <= 1
        # Whoever is chosen did not lose the comparison in any order that can be read, with the other one agreeing.
        assert (verdicts[made.chosen, made.rejected], verdicts[made.rejected, made.chosen]) != ("B", "A")
    # Another naming of the responses changes names alone.
    turned = {Question(1, size - 1 - a, size - 1 - b): Said(word) for (a, b), word in verdicts.items()}
    assert from_comparisons(size, turned).worth == pytest.approx(opinion.worth[::-1])
