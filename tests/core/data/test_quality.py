"""Quality of preference data: counts, the gap on every scale with its interval, the facts and their meaning."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data import quality as measuring
from core.data.gap import Scores, find_scale, gap_of
from core.data.quality import data_facts, measure, validate_dpo_pairs
from core.errors import UserError


def write(path: Path, rows: list[dict[str, Any] | str]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(number: int, chosen: float | None = None, rejected: float | None = None, prompt: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"prompt": prompt or f"p{number}", "chosen": f"good {number}", "rejected": f"bad {number}"}
    if chosen is not None:
        found |= {"chosen_score": chosen, "rejected_score": rejected}
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pairs.jsonl"


def test_rows_errors_prompts_and_responses_are_counted(file: Path) -> None:
    write(
        file,
        [
            {"prompt": "a", "chosen": "1", "rejected": "2"},
            {"prompt": "a ", "chosen": "1", "rejected": "3"},  # the same prompt, one new response
            {"prompt": "a", "chosen": "1", "rejected": "2"},  # the first pair again
            {"prompt": "a", "chosen": "2", "rejected": "1"},  # the other way round: another pair
            {"prompt": [{"role": "user", "content": "a"}], "chosen": "4", "rejected": "2"},  # as a chat
            {"prompt": "b", "chosen": "1", "rejected": "2"},
            "{",
            {"prompt": "c", "chosen": "", "rejected": "2"},
            {"prompt": "c", "chosen": "2", "rejected": "2"},
            {"prompt": "c"},
            {"prompt": "c"},
        ],
    )
    found = measure(file)
    assert (found.rows, found.valid, found.duplicates) == (11, 6, 1)
    assert found.errors == {"empty": 1, "identical": 1, "json": 1, "missing": 2}
    assert [(path.name, bad.line) for path, bad in found.examples] == [("pairs.jsonl", line) for line in range(7, 12)]
    assert found.unique_prompts == 2
    assert (found.responses_min, found.responses_mean, found.responses_max) == (2, 3.0, 4)


def test_several_files_are_one_data_set(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [row(n, 0.9, 0.1) for n in range(8)])
    held_out = write(tmp_path / "val.jsonl", [row(n, 0.5, 0.3) for n in (7, 8)])
    found = measure(train, held_out)
    assert (found.valid, found.pairs_by_file) == (10, (8, 2))
    assert (found.unique_prompts, found.shared_prompts, found.duplicates) == (9, 1, 1)
    assert found.gap is not None
    assert found.gap.mean == pytest.approx((8 * 0.8 + 2 * 0.2) / 10)


# The gap


def test_mean_median_share_and_histogram(file: Path) -> None:
    gaps = [0.0, 0.1, 0.15, 0.4, 1.0, -0.2]
    found = measure(
        write(file, [row(n, 0.2 + gap if gap < 1 else 1, 0.2 if gap < 1 else 0) for n, gap in enumerate(gaps)])
    )
    gap = found.gap
    assert gap is not None
    assert gap.mean == pytest.approx(sum(gaps) / 6)
    assert gap.median == pytest.approx(0.125)
    assert gap.share(0.15) == 3 / 6
    assert (gap.n, gap.inverted) == (6, 1)
    filled = {low: count for low, _, count in gap.histogram if count}
    assert filled == {-0.2: 1, 0.0: 1, 0.1: 2, 0.4: 1, 0.9: 1}
    assert gap.histogram[0][0] == -1
    assert gap.histogram[-1][1] == 1


@pytest.mark.parametrize(("chosen", "rejected"), [(0.95, 0.8), (0.7, 0.55), (0.15, 0.0), (0.4, 0.25)])
def test_a_gap_of_exactly_the_target_meets_it(file: Path, chosen: float, rejected: float) -> None:
    """0.95 - 0.8 is 0.1499999999999999 in binary; the scores are decimal numbers, and the gap is 0.15."""
    gap = measure(write(file, [row(n, chosen, rejected) for n in range(7)])).gap
    assert gap is not None
    assert (gap.mean, gap.median, gap.share(0.15)) == (0.15, 0.15, 1.0)


def test_a_gap_a_hair_short_of_the_target_stays_short(file: Path) -> None:
    gap = measure(write(file, [row(n, 0.9499999, 0.8) for n in range(7)])).gap
    assert gap is not None
    assert gap.mean < 0.15


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (0, 1, (0, 1)),
        (0.2, 0.9, (0, 1)),
        (1, 1, (0, 1)),
        (1, 5, (1, 5)),
        (2, 4.5, (1, 5)),
        (1, 5.5, (1, 10)),
        (3, 10, (1, 10)),
        (0, 5, (0, 10)),
        (0.5, 10, (0, 10)),
        (0, 10.5, (0, 100)),
        (1, 100, (0, 100)),
        (-1, 1, None),
        (-3.2, 4.1, None),
        (0, 101, None),
    ],
)
def test_the_scale_is_found_from_the_scores(low: float, high: float, scale: tuple[float, float] | None) -> None:
    assert find_scale(low, high) == scale


def test_the_source_says_which_scale_was_found(file: Path) -> None:
    gap = measure(write(file, [row(1, 10, 1), row(2, 7, 4)])).gap
    assert gap is not None
    assert gap.mean == pytest.approx((1 + 3 / 9) / 2)
    assert gap.source == (
        "chosen_score/rejected_score on the scale 1 to 10, found from scores between 1 and 10, all 2 pairs"
    )


def test_a_declared_scale_takes_the_place_of_the_found_one(file: Path) -> None:
    write(file, [row(1, 5, 1), row(2, 4, 3)])
    found, declared = measure(file).gap, measure(file, scale=(0, 10)).gap
    assert found is not None
    assert declared is not None
    assert found.mean == pytest.approx(5 / 8)
    assert declared.mean == pytest.approx(5 / 20)
    assert "on the declared scale 0 to 10" in declared.source
    with pytest.raises(UserError, match="scores run from 1 to 5, outside the declared scale 0 to 4"):
        measure(file, scale=(0, 4))


def test_scores_on_no_known_scale_give_no_gap(file: Path) -> None:
    write(file, [row(1, 4.1, -3.2)])
    found = measure(file)
    assert found.gap is None
    assert "run from -3.2 to 4.1, which is no known scale" in found.gap_reason
    declared = measure(file, scale=(-5, 5)).gap
    assert declared is not None
    assert declared.mean == pytest.approx(0.73)


def test_without_scores_the_gap_is_unknown_however_long_the_answers(file: Path) -> None:
    found = measure(write(file, [{"prompt": "a", "chosen": "long " * 100, "rejected": "no"}]))
    assert found.gap is None
    assert found.gap_reason == "the pairs have no scores, such as chosen_score and rejected_score"
    assert validate_dpo_pairs(file, 0.15).avg_gap is None


def test_a_gap_of_some_of_the_pairs_says_so(file: Path) -> None:
    rows: list[dict[str, Any] | str] = [row(1, 0.9, 0.1), row(2), row(3), row(4) | {"chosen_score": 1}]
    found = measure(write(file, rows))
    assert (found.valid, found.scored) == (4, 1)
    assert found.gap is not None
    assert found.gap.source.endswith(", 1 of 4 pairs")


def test_fields_on_different_scales_are_brought_to_one(file: Path) -> None:
    other = row(2) | {"score_chosen": 10, "score_rejected": 1}
    gap = measure(write(file, [row(1, 0.75, 0.25), other])).gap
    assert gap is not None
    assert gap.mean == pytest.approx(0.75)
    assert gap.source == (
        "chosen_score/rejected_score on 0 to 1; score_chosen/score_rejected on the scale 1 to 10,"
        " found from scores between 1 and 10, all 2 pairs"
    )


def test_the_interval_is_students_for_independent_pairs(file: Path) -> None:
    draw = random.Random(3)
    gaps = [round(draw.uniform(0, 0.6), 3) for _ in range(200)]
    gap = measure(write(file, [row(n, value, 0.0) for n, value in enumerate(gaps)])).gap
    assert gap is not None
    assert gap.low is not None
    assert gap.high is not None
    margin = 1.97196 * statistics.stdev(gaps) / math.sqrt(200)  # t at 199 degrees of freedom
    assert gap.high - gap.mean == pytest.approx(margin, rel=1e-3)
    assert gap.mean - gap.low == pytest.approx(margin, rel=1e-3)


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_interval_covers_the_truth_as_often_as_it_says_with_pairs_in_clusters(shuffled: bool) -> None:
    """20 prompts of 10 pairs each, whose pairs share most of their gap: an interval of 200 loose pairs misses often."""
    draw = random.Random(1)
    covered = 0
    for _ in range(150):
        rows = []
        for prompt in range(20):
            shared = draw.gauss(0.3, 0.1)
            rows += [(round(0.3 + shared + draw.gauss(0, 0.03), 6), prompt) for _ in range(10)]
        if shuffled:
            draw.shuffle(rows)
        scores = Scores()
        for chosen, prompt in rows:
            scores.add(chosen, 0.3, prompt)
        gap, _ = gap_of({"scores": scores}, 200, (-5, 5))
        assert gap is not None
        assert gap.low is not None
        assert gap.high is not None
        covered += gap.low <= 0.03 <= gap.high
    assert 0.88 <= covered / 150 <= 1.0


def test_too_few_prompts_have_no_interval(file: Path) -> None:
    gap = measure(write(file, [row(n, 0.9, 0.1, prompt=f"p{n % 2}") for n in range(50)])).gap
    assert gap is not None
    assert (gap.low, gap.high) == (None, None)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=1, max_size=30))
def test_the_gap_is_the_mean_difference(
    tmp_path_factory: pytest.TempPathFactory, scores: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("pairs") / "any.jsonl"
    gap = measure(write(path, [row(n, c / 100, r / 100) for n, (c, r) in enumerate(scores)])).gap
    assert gap is not None
    assert gap.mean == pytest.approx(sum(c - r for c, r in scores) / 100 / len(scores), abs=1e-12)
    assert sum(count for _, _, count in gap.histogram) == gap.n == len(scores)
    assert gap.low is None or gap.low <= gap.mean


# Facts


def test_validate_dpo_pairs_measures_what_the_workflow_names(file: Path) -> None:
    write(file, [row(n, 0.9, 0.5) for n in range(3)] + [row(4, 0.5, 0.5), "{"])
    found = validate_dpo_pairs(file, gap_threshold=0.15)
    assert found.avg_gap == pytest.approx(0.3)
    assert (found.total_pairs, found.gap_share, found.decontamination) == (4, 0.75, None)


def test_the_facts_of_a_data_set(file: Path) -> None:
    found = {fact.name: fact for fact in data_facts(measure(write(file, [row(n, 0.9, 0.5) for n in range(4)])))}
    assert {name: fact.value for name, fact in found.items()} == {
        "data.pairs": 4,
        "data.unique_prompts": 4,
        "data.responses_per_prompt": 2,
        "data.format_valid": 1,
        "data.preference_gap": 0.4,
        "data.decontamination": None,
    }
    assert "no benchmark files" in found["data.decontamination"].source
    assert found["data.preference_gap"].n == 4
    bad = {fact.name: fact for fact in data_facts(measure(write(file, [row(1), "{", "{", {"prompt": "x"}])))}
    assert bad["data.format_valid"].value == 0
    assert bad["data.format_valid"].source == "3 of 4 rows of pairs.jsonl are no pairs (2 json, 1 missing)"
    assert bad["data.preference_gap"].value is None
    assert "the pairs have no scores" in bad["data.preference_gap"].source


def test_hostile_names_do_not_reach_log_and_source(tmp_path: Path) -> None:
    path = write(tmp_path / "a\x1b[2Jb.jsonl", [row(1), "{"])
    found, said = measure(path), list[str]()
    measuring.report(found, said.append)
    assert not any("\x1b" in text for text in said + [fact.source for fact in data_facts(found)])
