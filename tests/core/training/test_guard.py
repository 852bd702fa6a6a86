"""What the KL guard decides, without a model."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest

from core.training.guard import Action, Guard, GuardState, told
from tests.core.training import tiny


def guard(action: str, **changes: object) -> Guard:
    keys = {f"kl_guard_{key}": value for key, value in changes.items()}
    found = Guard.of(tiny.dpo_config(kl_guard_action=action, **keys))
    assert found is not None
    return found


def judged(watch: Guard, kls: list[float], last: int | None = None) -> tuple[list[Action | None], GuardState]:
    """Evaluations at steps 0, 10, 20, ..."""
    state = GuardState()
    return [
        watch.judge(state, 10 * i, {"kl_divergence": kl, "n": i}, last=10 * i == last) for i, kl in enumerate(kls)
    ], state


def test_off_by_default() -> None:
    assert Guard.of(tiny.dpo_config()) is None
    assert told(None, GuardState()) == {}


def test_its_limit_is_the_gate_s_unless_it_has_its_own() -> None:
    assert guard("stop").kl_limit == 0.1
    assert guard("stop", kl_limit=0.3).kl_limit == 0.3


@pytest.mark.parametrize("action", ["halve_learning_rate", "raise_beta", "rollback", "stop"])
def test_nothing_is_done_within_the_limit(action: str) -> None:
    found, state = judged(guard(action), [0.0, 0.1, 0.05])
    assert found == [None] * 3
    assert (state.actions, state.rate_factor, state.beta_factor) == (0, 1.0, 1.0)
    assert (state.good_step, state.good_eval) == (20, {"kl_divergence": 0.05, "n": 2})


def test_nothing_is_done_before_the_first_update() -> None:
    found, state = judged(guard("stop"), [0.7])
    assert found == [None]
    assert state.above == 0


@pytest.mark.parametrize("kl", [0.100001, 5.0, math.inf, math.nan])
def test_whatever_is_not_within_the_limit_is_above_it(kl: float) -> None:
    found, _ = judged(guard("stop"), [0.0, kl])
    assert found[1] is not None
    assert found[1].words == ("KL nan is no number" if math.isnan(kl) else f"KL {kl:.6g} > 0.1") + ": stops the run"


def test_halving() -> None:
    found, state = judged(guard("halve_learning_rate"), [0.0, 0.2, 0.05, 0.3])
    assert [bool(action) for action in found] == [False, True, False, True]
    assert (state.rate_factor, state.beta_factor) == (0.25, 1.0)
    action = found[1]
    assert action is not None
    assert (action.back_to, action.stop) == (None, False)
    assert action.words == "KL 0.2 > 0.1: learning rate × 0.5 (action 1 of 3)"
    assert state.history[1] == {
        "step": 30, "kl_divergence": 0.3, "action": "halve_learning_rate", "learning_rate_factor": 0.25,
        "beta_factor": 1.0,
    }  # fmt: skip


def test_raising_beta() -> None:
    found, state = judged(guard("raise_beta", beta_factor=3.0), [0.0, 0.2, 0.3])
    assert [action and action.words for action in found[1:]] == [
        "KL 0.2 > 0.1: β × 3 (action 1 of 3)",
        "KL 0.3 > 0.1: β × 9 (action 2 of 3)",
    ]
    assert (state.rate_factor, state.beta_factor) == (1.0, 9.0)


def test_beta_is_raised_as_far_as_the_configuration_lets_it() -> None:
    _, state = judged(guard("raise_beta", beta_factor=100.0), [0.0, 0.2, 0.3, 0.3])
    assert state.beta_factor == 1000.0  # 0.1 becomes 100


def test_rolling_back_goes_to_the_last_good_step_and_halves() -> None:
    found, state = judged(guard("rollback"), [0.0, 0.05, 0.2, 0.3, 0.02])
    assert [action and action.back_to for action in found] == [None, None, 10, 10, None]
    assert found[2] is not None
    assert found[2].words == "KL 0.2 > 0.1: back to step 10, learning rate × 0.5 (action 1 of 3)"
    assert state.rate_factor == 0.25
    assert state.good_step == 40
    assert state.back_at is None
    assert [noted["back_to_step"] for noted in state.history] == [10, 10]


def test_rolling_back_without_a_good_step_halves() -> None:
    found, state = judged(guard("rollback"), [0.2, 0.3])
    assert found[1] is not None
    assert found[1].back_to is None
    assert "no step within the limit to go back to, learning rate × 0.5" in found[1].words
    assert state.history[0]["action"] == "halve_learning_rate"
    assert state.rate_factor == 0.5


def test_stopping() -> None:
    found, state = judged(guard("stop"), [0.0, 0.2])
    assert found[1] == Action("KL 0.2 > 0.1: stops the run", stop=True)
    assert state.stopped


def test_patience_counts_evaluations_in_a_row() -> None:
    found, _ = judged(guard("halve_learning_rate", patience=2), [0.0, 0.2, 0.05, 0.2, 0.2, 0.2, 0.2])
    # After an action the count begins anew.
    assert [bool(action) for action in found] == [False, False, False, False, True, False, True]


@pytest.mark.parametrize(("action", "back_to"), [("halve_learning_rate", None), ("raise_beta", None), ("rollback", 0)])
def test_after_its_actions_it_stops(action: str, back_to: int | None) -> None:
    found, state = judged(guard(action, max_actions=2), [0.0, 0.2, 0.2, 0.2])
    assert [bool(a and a.stop) for a in found] == [False, False, False, True]
    assert found[3] is not None
    assert "stops the run" in found[3].words
    assert found[3].words.endswith(", 2 actions did not hold it")
    assert found[3].back_to == back_to
    assert state.stopped
    assert [noted["action"] for noted in state.history] == [action, action, "stop"]


@pytest.mark.parametrize("action", ["halve_learning_rate", "raise_beta", "stop"])
def test_at_the_last_step_nothing_is_left_to_do(action: str) -> None:
    found, state = judged(guard(action), [0.0, 0.2], last=10)
    assert found[1] is None
    assert (state.actions, state.stopped) == (0, False)


def test_at_the_last_step_it_still_goes_back() -> None:
    found, _ = judged(guard("rollback"), [0.0, 0.2], last=10)
    assert found[1] is not None
    assert found[1].back_to == 0


def test_what_is_told() -> None:
    watch = guard("halve_learning_rate")
    _, state = judged(watch, [0.0, 0.2])
    assert told(watch, state) == {
        "kl_guard_actions": 1,
        "kl_guard": {"action": "halve_learning_rate", "kl_limit": 0.1, "actions": state.history},
    }
    assert GuardState(**asdict(state)) == state
