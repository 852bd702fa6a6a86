"""The figures of a win rate against other people's arithmetic, and the prompts they are of."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.evaluation.win_rate import Count, count, same_as_even, sign_test
from core.evaluation.win_rate_length import length_controlled
from core.evaluation.win_rate_prompts import draw_prompts


@pytest.mark.parametrize(
    ("wins", "losses", "p"),  # scipy 1.16: binomtest(wins, wins + losses).pvalue
    [
        (55, 70, 0.2103272547960883),
        (8, 2, 0.109375),
        (3, 3, 1.0),
        (0, 6, 0.03125),
        (140, 100, 0.01166409231767769),
        (1000, 900, 0.023108845108901193),
        (0, 0, 1.0),
    ],
)
def test_the_sign_test_is_exact(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p, rel=1e-12)
    assert sign_test(losses, wins) == sign_test(wins, losses)


@pytest.mark.parametrize(
    ("found", "share", "low", "high"),  # statsmodels 0.15: proportion_confint(method="wilson")
    [
        (Count(55, 3, 70), 56.5 / 128, 0.3583366101956211, 0.5278903768676806),
        (Count(10, 0, 0), 1.0, 0.7224672001371106, 1.0),
        (Count(3, 4, 5), 5 / 12, 0.1932603136587565, 0.6804886874504502),
    ],
)
def test_ties_count_half(found: Count, share: float, low: float, high: float) -> None:
    assert found.share == pytest.approx(share)
    assert found.interval == pytest.approx((low, high), rel=1e-9)


def test_outcomes_are_counted_by_their_side() -> None:
    found = count([1.0, 0.5000001, 0.5, 0.4999, 0.0])
    assert found == Count(2, 1, 2)
    assert same_as_even(found.interval or (0, 0))
    assert Count().share is None
    assert Count().interval is None


# What statsmodels' GLM (binomial, cov_type HC0, its variance times n / (n - 2)) gives for these.
OUTCOMES = [1, 0, 1, 1, 0.5, 0, 1, 0, 0.5, 1, 1, 0, 0, 1, 1, 0.5]
LENGTHS = [
    (120, 80), (40, 90), (200, 150), (90, 95), (60, 60), (30, 120), (170, 60), (80, 70), (55, 50), (140, 160),
    (300, 120), (20, 80), (75, 130), (66, 60), (130, 20), (10, 12),
]  # fmt: skip


def test_the_length_controlled_rate_is_that_of_statsmodels() -> None:
    found = length_controlled(OUTCOMES, LENGTHS)
    assert (found.share, found.low, found.high) == pytest.approx(
        (0.6313921209669175, 0.31916104062152245, 0.8622396123735019), rel=1e-9
    )
    assert (found.effect, found.effect_low, found.effect_high) == pytest.approx(
        (4.305100165150703, 1.8351313594755694, 6.775068970825837), rel=1e-9
    )


def test_a_judge_that_likes_length_alone_finds_no_better_model() -> None:
    """The truth is θ = 0, and the policy writes longer: the plain rate is taken in, the controlled one is not."""
    rng = np.random.default_rng(0)
    lengths = [(int(a) + 80, int(b)) for a, b in rng.integers(50, 400, (4000, 2))]
    delta = np.array([a - b for a, b in lengths], float)
    outcomes = (rng.random(4000) < 1 / (1 + np.exp(-1.5 * np.tanh(delta / delta.std(ddof=1))))).astype(float)
    found = length_controlled(outcomes.tolist(), lengths)
    plain = count(outcomes.tolist()).interval
    assert plain is not None and plain[0] > 0.58
    assert found.low is not None and found.high is not None and found.effect_low is not None
    assert found.low < 0.5 < found.high and found.high - found.low < 0.05
    assert found.effect_low < 1.5 < (found.effect_high or 0)
    swapped = length_controlled((1 - outcomes).tolist(), [(b, a) for a, b in lengths])
    assert swapped.share == pytest.approx(1 - (found.share or 0), rel=1e-9)


@pytest.mark.parametrize(
    ("outcomes", "lengths", "reason"),
    [
        ([1.0] * 9, [(n, 1) for n in range(9)], "it takes 10"),
        ([1.0] * 40, [(n, 1) for n in range(40)], "no finite answer"),
        ([float(n > 20) for n in range(40)], [(n, 20) for n in range(40)], "no finite answer"),
        ([0.0, 1.0] * 10, [(5, 5)] * 20, "lengths differ by the same"),
        ([0.5, 1.0] * 10, [(40 + n, 5) for n in range(20)], "the policy's answer is always the longer one"),
        ([0.5, 0.0, 1.0, 0.0] * 5, [(5, 6 + n) for n in range(20)], "the baseline's answer is always the longer one"),
    ],
)
def test_what_cannot_be_controlled_is_not(outcomes: list[float], lengths: list[tuple[int, int]], reason: str) -> None:
    found = length_controlled(outcomes, lengths)
    assert found.share is None
    assert reason in found.reason


def test_prompts_are_drawn_by_seed_and_text(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    rows = [{"prompt": f"Say {n}.", "chosen": "yes", "rejected": "no", "kind": n % 3} for n in range(60)]
    rows += [
        {"prompt": "Say 7.", "chosen": "also", "rejected": "no", "kind": "other"},
        {"prompt": "", "chosen": "x", "rejected": "y"},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Yo", "rejected": "\n\nHuman: Hi\n\nAssistant: No", "kind": ["no"]},
        {"prompt": "Alone", "kind": "\x1b[31mred" + "d" * 99},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def drawn(limit: int | None, seed: int = 1) -> list[int]:
        found = draw_prompts(path, category_field="kind", limit=limit, seed=seed)
        assert (found.rows, found.duplicates, found.errors) == (64, 1, {"empty": 1})
        assert len(found.prompts) + found.beyond == 62
        return [prompt.line for prompt in found.prompts]

    assert drawn(None) == [*range(1, 61), 63, 64]
    ten = drawn(10)
    assert len(ten) == 10 and ten == sorted(ten)
    assert set(ten) < set(drawn(20)) and ten != drawn(10, seed=2)
    whole = draw_prompts(path, category_field="kind", limit=None, seed=1)
    by_line = {prompt.line: prompt for prompt in whole.prompts}
    assert by_line[8].category == "1"
    assert by_line[63].prompt == [{"role": "user", "content": "Hi"}] and by_line[63].category == ""
    assert "\x1b" not in by_line[64].category and len(by_line[64].category) == 60
    # The same rows in another order: the same prompts.
    path.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    again = draw_prompts(path, category_field="kind", limit=10, seed=1)
    assert {str(prompt.prompt) for prompt in again.prompts} == {str(by_line[line].prompt) for line in ten}
    path.write_text("{}\n")
    with pytest.raises(UserError, match="has no prompt"):
        draw_prompts(path, category_field="kind", limit=None, seed=1)


def test_many_comparisons_take_no_time() -> None:
    assert math.isclose(sign_test(20_000, 20_400), 0.0471, abs_tol=1e-3)
