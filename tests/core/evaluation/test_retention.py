"""Retention: like with like only, with an interval that is right, and nothing claimed of what cannot show a loss."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.evaluation import items
from core.evaluation.retention import Compared, compare, measured, record, summed_up
from core.intervals import Z, paired_ratios, percentiles, wilson
from core.store import Database, artifacts, benchmarks, facts, files, open_store, runs
from core.store.benchmarks import Result
from core.store.facts import Fact
from core.workspace import Workspace, create_workspace

CONDITIONS = {"harness": "own", "version": "1", "shots": 5, "seed": 42, "items": "ab" * 32}


def rows(*marks: float) -> list[dict[str, Any]]:
    return [{"id": str(number), "correct": mark} for number, mark in enumerate(marks)]


def result(subject: str, marks: list[float], name: str = "quiz", **more: Any) -> Result:
    low, high = wilson(sum(marks), len(marks))
    value = sum(marks) / len(marks)
    return replace(
        Result("evaluate-001", subject, name, "accuracy", value, len(marks), "items", subject, CONDITIONS,
               low=low, high=high),
        **more,
    )  # fmt: skip


def compared(before: list[float], after: list[float], name: str = "quiz", **more: Any) -> Compared:
    first, second = result("baseline", before, name, **more), result("final", after, name, **more)
    return compare(first, second, rows(*before), rows(*after))


# Intervals


def test_the_bootstrap_agrees_with_the_delta_method() -> None:
    chance = random.Random(1)
    before = [float(chance.random() < 0.6) for _ in range(2000)]
    after = [mark if chance.random() < 0.85 else 1 - mark for mark in before]
    ratio = sum(after) / sum(before)
    # Var(y/x) of means of n pairs: the variance of (y - r x) over (n mean(x)^2).
    left = [y - ratio * x for x, y in zip(before, after, strict=True)]
    spread = math.sqrt(sum(one**2 for one in left) / (len(left) - 1) / len(left)) / (sum(before) / len(before))
    low, high = percentiles(paired_ratios(before, after, seed=42))
    assert low is not None and high is not None
    assert low == pytest.approx(ratio - Z * spread, abs=0.06 * spread * 2)
    assert high == pytest.approx(ratio + Z * spread, abs=0.06 * spread * 2)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    chance, held, tries = random.Random(7), 0, 200
    for trial in range(tries):
        before = [float(chance.random() < 0.5) for _ in range(120)]
        after = [float(chance.random() < (0.8 if mark else 0.2)) for mark in before]  # the true ratio is 1
        low, high = percentiles(paired_ratios(before, after, seed=trial, draws=1000))
        held += low is not None and high is not None and low <= 1 <= high
    assert 0.90 <= held / tries <= 0.99


def test_items_that_stay_as_they_were_are_no_uncertainty() -> None:
    marks = [1.0, 0.0] * 50
    assert percentiles(paired_ratios(marks, marks, seed=1)) == (1.0, 1.0)
    assert percentiles(paired_ratios([1.0, *[0.0] * 19], [1.0, *[0.0] * 19], seed=1)) == (None, None)


def test_the_same_seed_gives_the_same_interval() -> None:
    first, second = compared([1, 1, 1, 0] * 10, [1, 1, 0, 0] * 10), compared([1, 1, 1, 0] * 10, [1, 1, 0, 0] * 10)
    assert (first.low, first.high) == (second.low, second.high)
    assert first.low is not None and first.percent is not None and first.high is not None
    assert first.low < first.percent < first.high


# Like with like


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("shots", 0, "shots 5 then, 0 now"),
        ("version", "2", "version 1 then, 2 now"),
        ("items", "cd" * 32, "items abababab then, cdcdcdcd now"),
        ("chat_template", True, "chat_template none then, true now"),
    ],
)
def test_other_conditions_are_not_compared(key: str, value: Any, words: str) -> None:
    marks = [1.0, 0.0] * 10
    first = result("baseline", marks)
    second = result("final", marks, conditions={**CONDITIONS, key: value})
    found = compare(first, second, rows(*marks), rows(*marks))
    assert found.percent is None
    assert found.why == f"measured otherwise: {words}"
    assert summed_up([found]).percent is None


def test_other_items_are_not_compared() -> None:
    marks = [1.0, 0.0, 1.0]
    others = [{"id": str(number + 1), "correct": mark} for number, mark in enumerate(marks)]
    found = compare(result("baseline", marks), result("final", marks), rows(*marks), others)
    assert found.why == "not the same items: 1 only of the baseline, 1 only of the final"
    twice = [*rows(*marks[:2]), *rows(1.0)]
    found = compare(result("baseline", marks), result("final", marks), rows(*marks), twice)
    assert found.why == "two items of the final have the same id"


def test_items_are_paired_by_id_and_not_by_line() -> None:
    before, after = [1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]
    found = compare(result("baseline", before), result("final", after), rows(*before), rows(*after)[::-1])
    assert set(found.draws) <= {100.0} | {draw for draw in found.draws if math.isnan(draw)}


def test_items_that_do_not_give_the_result_are_refused() -> None:
    found = compare(result("baseline", [1.0, 0.0]), result("final", [1.0, 1.0]), rows(1, 0), rows(1, 0))
    assert found.why == "the items of the final give 0.5, and 1 was recorded"


# Losses


def test_a_tenth_less_is_no_critical_regression_and_a_little_more_is() -> None:
    before = [1.0] * 100
    at = compared(before, [1.0] * 90 + [0.0] * 10)
    over = compared(before, [1.0] * 89 + [0.0] * 11)
    assert (at.percent, at.critical) == (90.0, False)
    assert (over.percent, over.critical) == (89.0, True)


def test_what_does_not_exceed_chance_is_told_and_kept_out_of_the_mean() -> None:
    guessing = compared([1.0, 0.0, 0.0, 0.0] * 10, [1.0] * 2 + [0.0] * 38, "mmlu", chance=0.25)
    assert guessing.percent == 20.0
    assert guessing.why is not None and "does not exceed chance (0.25)" in guessing.why
    assert not guessing.critical
    nothing = compared([0.0] * 5, [1.0] + [0.0] * 4, "humaneval")
    assert nothing.percent is None
    assert nothing.why == "the baseline got none of 5 right: it cannot show a loss"
    good = compared([1.0] * 30 + [0.0] * 10, [1.0] * 27 + [0.0] * 13, "own", chance=0.25)
    whole = summed_up([guessing, nothing, good])
    assert [one.name for one in whole.counted] == ["own"]
    assert whole.percent == 90.0
    assert whole.worst is good


def test_a_final_model_that_guesses_is_told_what_guessing_keeps() -> None:
    before = result("baseline", [1.0] * 50 + [0.0] * 50, chance=0.25)
    guessed, known = [1.0] * 25 + [0.0] * 75, [1.0] * 40 + [0.0] * 60
    lost = compare(before, result("final", guessed, chance=0.25), rows(*[1.0] * 50, *[0.0] * 50), rows(*guessed))
    assert lost.percent == 50.0
    assert lost.at_chance == "the final model does not exceed chance (0.25); guessing alone keeps 50.0%"
    kept = compare(before, result("final", known, chance=0.25), rows(*[1.0] * 50, *[0.0] * 50), rows(*known))
    assert kept.at_chance is None


def test_the_mean_weighs_benchmarks_alike_and_names_the_worst() -> None:
    small, large = compared([1.0] * 10, [1.0] * 8 + [0.0] * 2, "a"), compared([1.0] * 1000, [1.0] * 1000, "b")
    whole = summed_up([small, large])
    assert whole.percent == 90.0
    assert whole.worst is small
    assert [one.name for one in whole.critical] == ["a"]
    assert whole.low is not None and whole.high is not None and small.low is not None
    assert (small.low + 100) / 2 == pytest.approx(whole.low, abs=1.0)


def test_benchmarks_are_drawn_independently() -> None:
    """The interval of a mean of two alike is narrower by the square root of two, not as wide as each."""
    before, after = [1.0] * 200, [1.0] * 150 + [0.0] * 50
    one, two = compared(before, after, "a"), compared(before, after, "b")
    whole = summed_up([one, two])
    assert one.low is not None and one.high is not None and whole.low is not None and whole.high is not None
    assert (whole.high - whole.low) / (one.high - one.low) == pytest.approx(1 / math.sqrt(2), rel=0.05)


# In a workspace


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Workspace, Database]]:
    made = create_workspace(tmp_path / "w")
    db = open_store(made.database, create=True)
    for model in ("base", "tuned"):
        (made.root / "models" / model).mkdir(parents=True)
        (made.root / "models" / model / "config.json").write_text(f'{{"of": "{model}"}}')
    yield made, db
    db.close()


def evaluate(
    workspace: Workspace, db: Database, subject: str, marks: list[float], name: str = "quiz", **more: Any
) -> str:
    """What an evaluation of one benchmark leaves behind."""
    run = runs.create(db, "evaluate", config={"evaluation": {"subject": subject}})
    folder = workspace.root / "outputs" / run.id
    file = workspace.relative(items.write(folder, name, rows(*marks)))
    digest = files.sha256(db, workspace, file)
    assert digest is not None
    artifacts.record(db, run.id, "evaluation", file, digest, 1)
    model = "models/base" if subject == "baseline" else "models/tuned"
    made = result(subject, marks, name, run=run.id, items=file, model=model, **more)
    benchmarks.record(db, made)
    prefix = "sft" if subject == "baseline" else "eval"
    inputs = files.fingerprints(db, workspace, model)
    facts.record(db, Fact(items.fact_name(prefix, name), made.value, run=run.id, inputs=inputs))
    return run.id


def test_it_is_recorded_whichever_was_measured_last(place: tuple[Workspace, Database]) -> None:
    workspace, db = place
    assert record(db, workspace) is None
    final = evaluate(workspace, db, "final", [1.0] * 36 + [0.0] * 4)
    record(db, workspace)
    unknown = facts.latest(db)["eval.retention"]
    assert unknown.value is None
    assert unknown.source == "quiz: the baseline was not measured: dpotui evaluate --baseline"
    evaluate(workspace, db, "baseline", [1.0] * 40)
    record(db, workspace)
    known = facts.latest(db)
    whole = known["eval.retention"]
    assert (whole.value, whole.unit, whole.run, whole.n, whole.text) == (90.0, "%", final, 40, "quiz 90.0%")
    assert whole.low is not None and whole.high is not None
    assert whole.low < 90 < whole.high
    assert (known["eval.retention_worst"].value, known["eval.retention_worst"].text) == (90.0, "quiz")
    assert (known["eval.critical_regressions"].value, known["eval.critical_regressions"].text) == (0.0, "none")
    evaluate(workspace, db, "final", [1.0] * 20 + [0.0] * 20)
    record(db, workspace)
    known = facts.latest(db)
    assert (known["eval.critical_regressions"].value, known["eval.critical_regressions"].text) == (1.0, "quiz 50.0%")


def test_it_goes_stale_with_its_models_and_items(place: tuple[Workspace, Database]) -> None:
    workspace, db = place
    evaluate(workspace, db, "baseline", [1.0] * 40)
    final = evaluate(workspace, db, "final", [1.0] * 40)
    record(db, workspace)
    known = facts.latest(db)["eval.retention"]
    assert set(known.inputs) == {
        "models/base", "models/tuned", "outputs/evaluate-001/benchmarks/quiz.items.jsonl",
        f"outputs/{final}/benchmarks/quiz.items.jsonl",
    }  # fmt: skip
    assert files.stale_reason(db, workspace, known) is None
    (workspace.root / "models/base/config.json").write_text("{}")
    assert files.stale_reason(db, workspace, known) == "models/base changed since"


def test_items_that_were_edited_are_not_used(place: tuple[Workspace, Database]) -> None:
    workspace, db = place
    evaluate(workspace, db, "baseline", [1.0] * 4)
    final = evaluate(workspace, db, "final", [1.0, 1.0, 0.0, 0.0])
    path = workspace.root / "outputs" / final / "benchmarks" / "quiz.items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(1, 1, 1, 1)))
    found = measured(db, workspace)
    assert found is not None
    assert found.compared[0].why == f"outputs/{final}/benchmarks/quiz.items.jsonl changed since it was measured"
    path.unlink()
    found = measured(db, workspace)
    assert found is not None
    assert found.compared[0].why == f"outputs/{final}/benchmarks/quiz.items.jsonl is gone"


def test_results_of_an_older_model_do_not_count(place: tuple[Workspace, Database]) -> None:
    workspace, db = place
    for name in ("quiz", "sums"):
        evaluate(workspace, db, "baseline", [1.0] * 10, name)
    old = evaluate(workspace, db, "final", [1.0] * 10, "sums")
    (workspace.root / "models/tuned/config.json").write_text('{"of": "another training"}')
    evaluate(workspace, db, "final", [1.0] * 9 + [0.0], "quiz")
    record(db, workspace)
    known = facts.latest(db)["eval.retention"]
    assert known.value == 90.0
    assert f"sums: the final model was not measured: {old} was of another one" in known.source


def test_unlike_benchmarks_are_named_in_what_is_recorded(place: tuple[Workspace, Database]) -> None:
    workspace, db = place
    evaluate(workspace, db, "baseline", [1.0] * 10)
    evaluate(workspace, db, "final", [1.0] * 10, conditions={**CONDITIONS, "shots": 0})
    record(db, workspace)
    for name in ("eval.retention", "eval.retention_worst", "eval.critical_regressions"):
        fact = facts.latest(db)[name]
        assert (fact.value, fact.source) == (None, "quiz: measured otherwise: shots 5 then, 0 now")


def test_a_loss_is_not_hidden_by_measuring_it_otherwise(place: tuple[Workspace, Database]) -> None:
    """The mean of the others alone would pass."""
    workspace, db = place
    for name in ("quiz", "sums"):
        evaluate(workspace, db, "baseline", [1.0] * 10, name)
    evaluate(workspace, db, "final", [1.0] * 10, "quiz")
    evaluate(workspace, db, "final", [0.0] * 10, "sums", conditions={**CONDITIONS, "shots": 0, "items": "0" * 64})
    found = record(db, workspace)
    known = facts.latest(db)
    assert found is not None
    assert known["eval.retention"].value is None
    assert known["eval.retention"].source == (
        "sums: measured otherwise: shots 5 then, 0 now; items abababab then, 00000000 now; measure"
        " sums as the baseline was measured, or the baseline again; the mean of the other 1 is 100.0%"
    )
    assert (known["eval.retention_worst"].value, known["eval.retention_worst"].text) == (100.0, "quiz")
