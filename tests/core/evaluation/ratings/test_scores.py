"""What marks come to: means, difference, facts that go stale, and what is unknown."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from core.config import EvalConfig, load_config
from core.errors import UserError
from core.evaluation.ratings.assessment import ITEM, assess, standing
from core.evaluation.ratings.scores import ALL, Summary, facts_of, record_facts, summary
from core.evaluation.ratings.source import Source, source_of
from core.store import Database, artifacts, facts, files, ratings, runs, ticks
from core.store.ratings import Rating
from core.workspace import Workspace
from tests.core.evaluation.ratings.conftest import FILE, FINAL_NAME, answers, evaluated, write


def _rate(db: Database, source: Source, who: str, prompts: range, shift: int = 0, baseline: bool = True) -> None:
    """Helpfulness, harmlessness and honesty of the final model 8 9 7 and of the baseline two less; odd prompts one
    more."""
    entries = source.catalogue().entries
    for key, entry in entries.items():
        number = entry.line - 1
        final = "final" in entry.roles
        if number in prompts and (final or baseline):
            for criterion, mark in zip(source.criteria, (7, 8, 6), strict=True):
                value = mark + shift + number % 2 - (0 if final else 2)
                ratings.rate(db, Rating(key, criterion, who, value, "", source.file, entry.line, time=time.time()))


def _human(db: Database, workspace: Workspace, source: Source) -> tuple[Summary, facts.Fact, facts.Fact]:
    found = summary(db, source)
    score, agreement = facts_of(db, workspace, found)
    return found, score, agreement


def test_means_difference_and_facts(workspace: Workspace, db: Database, source: Source) -> None:
    _rate(db, source, "ana", range(12))
    _rate(db, source, "ben", range(12), shift=1)
    found, score, agreement = _human(db, workspace, source)
    final, baseline = found.models
    assert [final.role, baseline.role] == ["final", "baseline"]
    assert (final.rated, final.planned) == (12, 12)
    # Half of the prompts are odd, and ben gives one more.
    assert [e.value for c in source.criteria if (e := final.of[c])] == [8.0, 9.0, 7.0]
    assert score.value == 8.0
    assert (score.unit, score.n, score.run) == ("/10", 12, "evaluate-001")
    assert score.low is not None
    assert score.high is not None
    assert score.low < 8.0 < score.high
    assert score.source == (
        f"{FILE}: all 12 answers of the final model rated by 2 raters (ana, ben); helpfulness 8.00, harmlessness 9.00,"
        " honesty 7.00"
    )
    assert found.difference[ALL].paired
    assert found.difference[ALL].estimate.value == pytest.approx(2.0)
    assert found.difference[ALL].estimate.n == 12
    assert agreement.value is not None
    assert 0 < agreement.value < 1
    assert agreement.n == 24


def test_nothing_rated_is_unknown(workspace: Workspace, db: Database, source: Source) -> None:
    found, score, agreement = _human(db, workspace, source)
    assert (score.value, score.source) == (None, f"{FILE}: no answer of the final model is rated")
    assert (agreement.value, agreement.source) == (None, f"{FILE}: no answer was marked by two raters")
    record_facts(db, workspace, source)
    assert facts.latest(db) == {}
    assert found.difference == {}


def test_a_part_of_the_sample_says_so(workspace: Workspace, db: Database, source: Source) -> None:
    _rate(db, source, "ana", range(5), baseline=False)
    found, score, agreement = _human(db, workspace, source)
    assert score.value == pytest.approx(7.4)
    assert "partial sample: 5 of 12 answers of the final model rated by 1 rater (ana)" in score.source
    assert agreement.value is None
    assert found.difference == {}
    (key,) = [key for key, entry in source.catalogue().entries.items() if entry.line == 9 and "final" in entry.roles]
    ratings.rate(db, Rating(key, "helpfulness", "ana", 1, "", FILE, 9))
    assert summary(db, source).models[0].rated == 5  # half an answer is none


def test_a_criterion_that_nobody_marked_leaves_the_score_unknown(
    workspace: Workspace, db: Database, source: Source
) -> None:
    for key, entry in source.catalogue().entries.items():
        ratings.rate(db, Rating(key, "helpfulness", "ana", 7, "", FILE, entry.line))
    _, score, _ = _human(db, workspace, source)
    assert score.value is None
    assert score.source.endswith("no answer of the final model has a mark for harmlessness, honesty")


def test_pairs_are_of_one_person(db: Database, source: Source) -> None:
    """A mild rater of the final model and a strict one of the baseline make no difference between the models."""
    entries = source.catalogue().entries
    for key, entry in entries.items():
        who, mark = ("mild", 9) if "final" in entry.roles else ("strict", 3)
        for criterion in source.criteria:
            ratings.rate(db, Rating(key, criterion, who, mark, "", FILE, entry.line))
    found = summary(db, source).difference[ALL]
    assert not found.paired
    assert found.estimate.value == 6.0
    for key, entry in entries.items():
        for criterion in source.criteria:
            ratings.rate(db, Rating(key, criterion, "fair", 5 + entry.line % 2, "", FILE, entry.line))
    found = summary(db, source).difference[ALL]
    assert found.paired
    assert found.estimate.value == 0.0


def test_the_interval_is_over_answers_not_over_marks(db: Database, source: Source) -> None:
    chance = random.Random(1)
    for key, entry in source.catalogue().entries.items():
        mark = chance.randint(1, 10)
        for who in ("a", "b", "c", "d"):
            for criterion in source.criteria:
                ratings.rate(db, Rating(key, criterion, who, mark, "", FILE, entry.line))
    final = summary(db, source).models[0].of[ALL]
    assert final is not None
    assert final.n == 12
    assert final.low is not None
    assert final.value - final.low > 1.2  # 144 marks would make it a quarter of that


def test_a_model_without_a_known_name_has_no_human_score(workspace: Workspace, db: Database) -> None:
    rows = [{"prompt": "p", "responses": [{"text": "a", "model": "x"}, {"text": "b", "model": "\x1b[31my"}]}]
    source = evaluated(workspace, db, rows)
    for key in source.catalogue().entries:
        for criterion in source.criteria:
            ratings.rate(db, Rating(key, criterion, "ana", 7, "", FILE, 1))
    found, score, _ = _human(db, workspace, source)
    assert {model.role for model in found.models} == {"x", "\x1b[31my"}
    assert score.value is None
    assert "no answer is by the final model" in score.source
    assert "\x1b" not in score.source


def test_facts_are_recorded_once_and_go_stale(workspace: Workspace, db: Database, source: Source) -> None:
    _rate(db, source, "ana", range(12))
    record_facts(db, workspace, source)
    record_facts(db, workspace, source)
    (fact,) = facts.history(db, "eval.human_score")
    assert fact.inputs[FINAL_NAME] == "ab" * 32  # the model as it was when it answered
    of_answers = facts.Fact("x", 1.0, inputs={FILE: fact.inputs[FILE]})
    assert files.stale_reason(db, workspace, of_answers) is None
    write(workspace, answers(13))
    assert files.stale_reason(db, workspace, of_answers) == f"{FILE} changed since"


def test_marks_of_answers_that_are_gone_are_counted_and_used_no_more(
    workspace: Workspace, db: Database, source: Source
) -> None:
    _rate(db, source, "ana", range(12))
    write(workspace, answers(4))
    found = summary(db, source)
    assert found.lost == 8 * 2 * 3
    assert found.models[0].rated == 4


def test_criteria_and_scale_are_the_configurations_now(workspace: Workspace, db: Database) -> None:
    source = evaluated(workspace, db, answers())
    path = workspace.configs / "eval_config.yaml"
    text = path.read_text().replace('["helpfulness", "harmlessness", "honesty"]', '["tone"]')
    path.write_text(text.replace('scale: "1-10"', 'scale: "1-5"').replace("sample_size: 100", "sample_size: 3"))
    source = source_of(db, workspace)
    assert (source.criteria, source.bounds, source.human.sample_size) == (("tone",), (1, 5), 3)
    for key in source.catalogue().entries:
        ratings.rate(db, Rating(key, "tone", "ana", 4, "", FILE, 1))
    _, score, _ = _human(db, workspace, source)
    assert (score.value, score.unit) == (4.0, "/5")
    path.write_text(text.replace('["tone"]', '["note"]'))
    with pytest.raises(UserError, match="'note' is what a column of exported marks is called"):
        source_of(db, workspace)


def test_the_newest_evaluation_that_has_written_is_rated(workspace: Workspace, db: Database, source: Source) -> None:
    config = load_config(workspace.configs / "eval_config.yaml", EvalConfig, ["logging.output_dir=outputs/second"])
    runs.create(db, "evaluate", config=config.model_dump(mode="json"), seed=42)
    newer = runs.create(db, "evaluate", config=config.model_dump(mode="json"), seed=42)
    runs.update(db, newer.id, output_dir="outputs/second")
    assert source_of(db, workspace).run == source.run  # it still writes
    second = workspace.path("outputs/second/answers.jsonl")
    second.parent.mkdir()
    second.write_bytes(workspace.path(FILE).read_bytes())
    assert source_of(db, workspace).run == source.run
    artifacts.record(db, newer.id, "answers", "outputs/second/answers.jsonl", "ab" * 32, 1)
    found = source_of(db, workspace)
    assert (found.run and found.run.id, found.file) == (newer.id, "outputs/second/answers.jsonl")
    assert source_of(db, workspace, workspace.path(FILE)).run == source.run


def test_without_an_evaluation_there_is_nothing_to_rate(workspace: Workspace, db: Database) -> None:
    with pytest.raises(UserError, match="no evaluation has written answers yet: run 'dpotui evaluate'"):
        source_of(db, workspace)
    with pytest.raises(UserError, match=r"nothing\.jsonl cannot be read"):
        source_of(db, workspace, Path(workspace.root / "nothing.jsonl")).catalogue()


def test_an_assessment_is_a_persons_value_with_the_notes_as_evidence(
    workspace: Workspace, db: Database, source: Source
) -> None:
    (key, *_) = source.catalogue().entries
    ratings.rate(db, Rating(key, "", "ana", None, "makes up a law", FILE, 1))
    assess(db, workspace, source, "Fluent; makes up sources when asked for law", "ana")
    assert standing(db, workspace) == "Fluent; makes up sources when asked for law"
    (evidence,) = ticks.get(db, ITEM).evidence
    assert (evidence["kind"], evidence["name"]) == ("fact", "eval.human_notes")
    assert facts.latest(db)["eval.human_notes"].text == "1 note by ana"
    assess(db, workspace, source, "", "ana")
    assert standing(db, workspace) is None
