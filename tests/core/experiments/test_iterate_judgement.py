"""Rounds beside each other: gains held against chance, the best within the limits, convergence, and the rule."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import IterateConfig
from core.experiments.iterate_judgement import advise, best, converged, gain, gains
from core.store.iterations import Iteration


def config(**changes: object) -> IterateConfig:
    return IterateConfig.model_validate(
        {
            "iteration": {"max_iterations": changes.pop("max_iterations", 10)},
            "score": {"goal": changes.pop("goal", "maximize")},
            "convergence": {"patience": changes.pop("patience", 2), "min_gain": changes.pop("min_gain", 0.0)},
        }
    )


def rounds(*scores: float | None, half: float = 2.0, broken: tuple[int, ...] = ()) -> list[Iteration]:
    """The start, whose score is not known, and a round for each score."""
    found = [Iteration("iterate-001", 0, "sft", "sft", "pairs", model="sft")]
    for number, score in enumerate(scores, 1):
        low, high = (None, None) if score is None else (score - half, score + half)
        limits = ("KL 0.2 is beyond 0.1",) if number in broken else ()
        why = "not measured" if score is None else ""
        found.append(
            Iteration("iterate-001", number, "", "", "", score=score, low=low, high=high, broken=limits, why=why)
        )
    return found


def test_a_gain_is_held_against_what_chance_gives_to_both() -> None:
    _, one, two = rounds(50.0, 53.0)
    got = gain(two, one, config())
    assert got.value == 3.0
    assert got.noise == pytest.approx(math.sqrt(8.0))  # sqrt(2² + 2²)
    assert got.sure
    assert not gain(two, one, config(min_gain=5.0)).sure
    assert gain(two, one, config(goal="minimize")).value == -3.0


def test_the_best_is_within_the_limits_and_of_equals_the_first() -> None:
    every = rounds(50.0, 60.0, 55.0, 55.0, broken=(2,))
    assert best(every, config()).number == 3
    assert best(every, config(goal="minimize")).number == 1
    assert best(rounds(None), config()) is None


def test_the_start_takes_part_where_its_score_is_known() -> None:
    start, one = rounds(52.0)
    start = Iteration("iterate-001", 0, "sft", "sft", "pairs", model="sft", score=50.0, low=50.0, high=50.0)
    assert [number for number, _ in gains([start, one], config())] == [1]
    # 2 is what chance gives a round whose interval has a half-width of 2.
    assert converged([start, one], config())[0] is False
    assert converged([start, one], config(patience=1))[0] is True


def test_it_has_converged_when_rounds_in_a_row_bring_nothing_sure() -> None:
    found = rounds(50.0, 60.0, 60.5, 61.0)
    assert converged(found[:3], config())[0] is False
    assert "still gaining" in converged(found[:3], config())[1]
    assert converged(found[:4], config()) == (
        False,
        "no gain beyond chance in 1 of 2 iterations (iteration 3: +0.5, by chance up to 2.83)",
    )
    done, words = converged(found, config())
    assert done
    assert words.startswith("converged: the last 2 iterations brought no gain beyond chance")
    assert converged(rounds(50.0), config()) == (False, "not known yet: it takes two rounds with a score")


def test_small_gains_add_up() -> None:
    """+2 each time is never sure over the round before (2.83), and sure over where it began."""
    slow = rounds(50.0, 52.0, 54.0, 56.0)
    assert [(number, got.value, got.sure) for number, got in gains(slow, config())] == [
        (2, 2.0, False), (3, 4.0, True), (4, 2.0, False),
    ]  # fmt: skip
    assert not converged(slow, config())[0]
    assert advise(slow, config()).choice == "continue"


@pytest.mark.parametrize(
    ("found", "settings", "choice", "target", "words"),
    [
        (rounds(50.0), {}, "continue", 1, "not known yet"),
        (rounds(50.0, 60.0), {}, "continue", 2, "still gaining"),
        (rounds(50.0, 60.0, 52.0), {}, "rollback", 2, "iteration 2 is better by 8"),
        (rounds(50.0, 60.0, broken=(2,)), {}, "rollback", 1, "KL 0.2 is beyond 0.1"),
        (rounds(50.0, broken=(1,)), {}, "rollback", 0, "the start is the best within the limits"),
        (rounds(50.0, 60.0, 60.5, 60.2), {}, "rollback", 3, "iteration 3 has the best score"),
        (rounds(50.0, 60.0, 60.1, 60.4), {}, "stop", 4, "converged"),
        (rounds(50.0, 60.0), {"max_iterations": 2}, "stop", 2, "the last one planned"),
        (rounds(50.0, None), {}, "stop", 2, "its score is not known: not measured"),
    ],
)
def test_the_rule(found: list[Iteration], settings: dict, choice: str, target: int, words: str) -> None:
    advice = advise(found, config(**settings))
    assert (advice.choice, advice.target) == (choice, target)
    assert words in advice.reason
    assert advice.goes_on == (choice == "continue")


@given(st.lists(st.none() | st.floats(-100, 100), min_size=1, max_size=8), st.floats(0, 20), st.sets(st.integers(1, 8)))
def test_the_rule_never_lets_a_round_stand_that_broke_a_limit(scores, half, broken) -> None:
    found = rounds(*scores, half=half, broken=tuple(broken))
    advice = advise(found, config(max_iterations=8))
    assert not found[advice.target].broken
    if advice.choice != "rollback":
        assert advice.target == found[-1].number
    # A worse round than the one that stands is never kept where the difference is sure.
    top = best(found, config())
    if top is not None and found[advice.target].score is not None:
        lead = gain(top, found[advice.target], config())
        assert lead.value <= 0 or not lead.sure
