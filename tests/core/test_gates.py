"""Gates: thresholds from configuration, verdicts on facts, and the workflow's own two functions."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import DPOConfig, EvalConfig, load_config
from core.errors import UserError
from core.gates import (
    Gate,
    check_quality_gates,
    enforce_gates,
    enforced,
    evaluate,
    evaluate_run,
    follow,
    history,
    judge,
    load_gates,
    overall,
    record,
)
from core.store import Database, facts, files, open_store, runs
from core.store.facts import Fact
from core.workspace import Workspace, templates

KL = Gate(5, "kl_divergence", "KL Divergence", "dpo.kl_divergence", "≤", 0.1, "nats per token", "dpo_training")
GAP = Gate(2, "preference_gap", "Preference Gap", "data.preference_gap", "≥", 0.15)
RETENTION = Gate(7, "capability_retention", "Capability Retention", "eval.retention", "≥", 95, "%")
OVERFITTING = Gate(4, "overfitting_gap", "Overfitting Gap", "reward.overfitting_gap", "<", 10, "points")


def pairs(path: Path, count: int = 1000, chosen: float | None = 0.9, rejected: float = 0.7) -> Path:
    scores = {} if chosen is None else {"chosen_score": chosen, "rejected_score": rejected}
    rows = [{"prompt": f"p{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} | scores for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Thresholds


def test_the_template_holds_every_threshold_of_the_design() -> None:
    found = {(gate.stage, gate.fact): gate.target for gate in load_gates()}
    assert found == {
        (2, "data.preference_gap"): "≥0.15",
        (2, "data.pairs"): "≥1000",
        (2, "data.decontamination"): "≥0.9",
        (2, "data.unique_prompts"): "≥1000",
        (2, "data.responses_per_prompt"): "≥2",
        (3, "init.kl_divergence"): "≤0.0001",
        (4, "reward.train_accuracy"): "≥70%",
        (4, "reward.validation_accuracy"): "≥70%",
        (4, "reward.overfitting_gap"): "<10",
        (5, "dpo.kl_divergence"): "≤0.1",
        (5, "dpo.preference_gap"): "≥0.15",
        (5, "data.validation_gap"): "≥0.15",
        (7, "eval.retention"): "≥95%",
        (7, "eval.win_rate"): ">50%",
        (7, "eval.kl_divergence"): "≤0.1",
        (7, "eval.preference_gap"): "≥0.15",
        (7, "eval.decontamination"): "≥0.9",
        (7, "eval.critical_regressions"): "≤0",
        (7, "eval.mmlu"): "≥0.45",
        (7, "eval.humaneval"): "≥0.15",
        (7, "eval.gsm8k"): "≥0.3",
    }


def test_a_threshold_of_an_own_benchmark_makes_a_gate_that_judges_it(db: Database, workspace: Workspace) -> None:
    path = workspace.configs / "eval_config.yaml"
    own = "  {name}: {{file: a.jsonl, answer: exact{more}}}\n"
    rows = own.format(name="geography", more=", baseline_threshold: 0.6") + own.format(name="sums", more="")
    path.write_text(path.read_text().replace("capability_benchmarks:", "capability_benchmarks:\n" + rows, 1))
    facts.record(db, Fact("eval.benchmark.geography", 0.599, n=40))
    results = {result.gate.fact: result for result in evaluate(db, workspace, 7)}
    found = results["eval.benchmark.geography"]
    assert (found.gate.name, found.gate.title, found.gate.target, found.verdict) == (
        "benchmark_geography", "geography", "≥0.6", "FAIL"
    )  # fmt: skip
    assert "eval.benchmark.sums" not in results  # without a threshold nothing is asked of it
    assert "eval.benchmark.mmlu" not in results  # it has a gate of its own
    assert results["eval.mmlu"].verdict == "UNKNOWN"


def test_a_runs_own_thresholds_of_benchmarks_make_its_gates(workspace: Workspace) -> None:
    config = {"capability_benchmarks": {"law": {"baseline_threshold": 0.3}, "none": {"baseline_threshold": None}}}
    rest = load_config(workspace.configs / "eval_config.yaml", EvalConfig).model_dump(mode="json")
    found = {gate.fact: gate.threshold for gate in load_gates(workspace, rest | config, "eval_config.yaml")}
    assert found["eval.benchmark.law"] == 0.3
    assert not {"eval.benchmark.none", "eval.mmlu"} & set(found)


def test_thresholds_stand_in_the_python_form_where_that_is_all_there_is(workspace: Workspace) -> None:
    old = workspace.configs / "eval_config.yaml"
    before = {gate.fact: gate.threshold for gate in load_gates(workspace)}
    text = repr(load_config(old, EvalConfig).model_dump(mode="json"))
    (workspace.configs / "eval_config.py").write_text(
        "EVALUATION_CONFIG = " + text.replace("'min': 0.95", "'min': 0.9")
    )
    assert {gate.fact: gate.threshold for gate in load_gates(workspace)} == before  # the YAML file counts
    old.unlink()
    assert {gate.fact: gate.threshold for gate in load_gates(workspace)} == {**before, "eval.retention": 90.0}
    (workspace.configs / "eval_config.py").unlink()
    with pytest.raises(UserError) as raised:
        load_gates(workspace)
    assert str(raised.value) == f"{old} does not exist: name a YAML file"


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("name: all\n    fact: eval.x.*\n    threshold: {file: eval_config.yaml, key: a.*.b}", "name: needs a *"),
        ("name: x_*\n    fact: eval.x.*\n    threshold: 3", "name: has a * that"),
        ("name: x_*\n    fact: eval.x.*\n    threshold: {file: eval_config.yaml, key: a.*.b.*}", "may hold one *"),
        ("name: x_*\n    fact: eval.x.*\n    threshold: {file: eval_config.yaml, key: a.b*}", "may hold one *"),
    ],
)
def test_a_star_that_stands_for_nothing_is_one_clear_line(workspace: Workspace, entry: str, sentence: str) -> None:
    path = workspace.configs / "gates.yaml"
    path.write_text(f'gates:\n  - stage: 7\n    title: "*"\n    op: ">="\n    {entry}\n')
    with pytest.raises(UserError, match=re.escape(sentence)) as raised:
        load_gates(workspace)
    assert "\n" not in str(raised.value) and "gates.yaml:" in str(raised.value)


def test_targets_of_kl_and_gap_come_from_the_dpo_configuration(workspace: Workspace) -> None:
    path = workspace.configs / "dpo_config.yaml"
    path.write_text(
        path.read_text().replace("kl_target: 0.1 ", "kl_target: 5e-2 ").replace("gap_target: 0.15", "gap_target: 0.2")
    )
    found = {(gate.stage, gate.name): gate.threshold for gate in load_gates(workspace)}
    assert found[5, "kl_divergence"] == 0.05
    assert found[2, "preference_gap"] == found[5, "preference_gap"] == 0.2


def test_targets_of_the_evaluation_come_from_its_configuration(workspace: Workspace) -> None:
    path = workspace.configs / "eval_config.yaml"
    text = path.read_text().replace("capability_retention: {min: 0.95}", "capability_retention: {min: 0.57}")
    text = text.replace("kl_divergence: {max: 0.1}", "kl_divergence: {max: 5e-2}").replace(
        "  # perplexity:", "  perplexity:"
    )
    path.write_text(text.replace("    baseline_threshold: 0.15\n", ""))
    found = {(gate.stage, gate.fact): gate.threshold for gate in load_gates(workspace)}
    assert found[7, "eval.retention"] == 57.0  # 0.57 * 100 is 56.99999999999999
    assert (found[7, "eval.kl_divergence"], found[1, "sft.perplexity"]) == (0.05, 20)
    assert (7, "eval.humaneval") not in found and (7, "eval.gsm8k") in found
    path.unlink()
    with pytest.raises(UserError, match=r"eval_config\.yaml does not exist"):
        load_gates(workspace)


ONE = "gates:\n  - {stage: 5, name: kl, title: KL, fact: dpo.kl_divergence, op: '<=', threshold: 0.1}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "gates.yaml is empty"),
        ("gate: []\n", "one list 'gates:' is wanted"),
        ("gates: 3\n", "one list 'gates:' is wanted"),
        ("gates: [3]\n", "gates.yaml:1: gates.0: a section is wanted, not 3"),
        (ONE.replace("threshold", "treshold"), "gates.yaml:2: gates.0.treshold: unknown key; did you mean threshold?"),
        (ONE.replace("stage: 5", "stage: 8"), "gates.yaml:2: gates.0.stage: must be a whole number from 0 to 7, not 8"),
        (ONE.replace("<=", "=<"), "gates.yaml:2: gates.0.op: must be one of >=, <=, >, <, not '=<'"),
        (ONE.replace("0.1}", "low}"), "gates.yaml:2: threshold: must be a number, not 'low'"),
        (ONE.replace("0.1}", ".nan}"), "gates.yaml:2: threshold: must be a number, not nan"),
        (ONE.replace("0.1}", ".inf}"), "gates.yaml:2: threshold: must be a number, not inf"),
        (ONE.replace("0.1}", "{file: dpo_config.yaml}}"), "gates.yaml:2: gates.0.threshold.key: is missing"),
        (ONE.replace("0.1}", "{file: ../x.yaml, key: a}}"), "gates.yaml:2: gates.0.threshold.file"),
        (ONE.replace("0.1}", "{file: no.yaml, key: a.b}}"), "no.yaml does not exist"),
        (ONE.replace("0.1}", "{file: dpo_config.yaml, key: constraints.kl}}"), "has no key constraints.kl"),
        (ONE.replace("0.1}", "{file: dpo_config.yaml, key: model.base_model}}"), "model.base_model: must be a number"),
        (ONE + ONE.splitlines()[1] + "\n", "gates.yaml:3: stage 5 has another gate 'kl'"),
    ],
)
def test_an_error_in_the_file_names_line_and_key(workspace: Workspace, text: str, words: str) -> None:
    (workspace.configs / "gates.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        load_gates(workspace)
    assert words in str(error.value)


def test_all_errors_of_the_file_come_at_once(workspace: Workspace) -> None:
    second = ONE.splitlines()[1].replace("stage: 5", "stage: x").replace("op:", "opp:")
    (workspace.configs / "gates.yaml").write_text(ONE.replace("0.1}", "low}") + second + "\n")
    with pytest.raises(UserError) as error:
        load_gates(workspace)
    assert len(str(error.value).splitlines()) == 3


def test_a_number_that_yaml_takes_for_text_is_a_threshold(workspace: Workspace) -> None:
    (workspace.configs / "gates.yaml").write_text(ONE.replace("0.1}", "1e-4}"))
    assert load_gates(workspace)[0].threshold == 1e-4


def test_a_workspace_without_the_file_says_how_to_get_it(workspace: Workspace) -> None:
    (workspace.configs / "gates.yaml").unlink()
    with pytest.raises(UserError, match="'dpotui init"):
        load_gates(workspace)


# Verdicts


@pytest.mark.parametrize(
    ("gate", "value", "verdict"),
    [
        (KL, 0.1, "PASS"),
        (KL, 0.1004, "FAIL"),
        (KL, 0.1 + 1e-15, "FAIL"),
        (KL, 0.0, "PASS"),
        (KL, math.inf, "FAIL"),
        (KL, -math.inf, "FAIL"),
        (KL, math.nan, "UNKNOWN"),
        (KL, None, "UNKNOWN"),
        (GAP, 0.15, "PASS"),
        (GAP, 0.15 - 1e-15, "FAIL"),
        (GAP, math.inf, "FAIL"),
        (GAP, math.nan, "UNKNOWN"),
    ],
)
def test_a_verdict_never_rounds_and_only_finite_numbers_pass(gate: Gate, value: float | None, verdict: str) -> None:
    result = judge(gate, Fact(gate.fact, value, source="why"))
    assert result.verdict == verdict
    assert result.reason or verdict == "PASS"


@given(st.floats(), st.sampled_from(["≥", "≤", ">", "<"]), st.floats(-1e6, 1e6))
def test_a_pass_means_the_comparison_holds(value: float, op: Any, threshold: float) -> None:
    result = judge(Gate(1, "g", "G", "f", op, threshold), Fact("f", value))
    holds = {"≥": value >= threshold, "≤": value <= threshold, ">": value > threshold, "<": value < threshold}[op]
    assert (result.verdict == "PASS") == (holds and math.isfinite(value))


@given(st.floats(-1e4, 1e4), st.sampled_from([KL, GAP, RETENTION, OVERFITTING]))
def test_what_is_shown_looks_on_its_side_of_the_threshold(value: float, gate: Gate) -> None:
    shown = judge(gate, Fact(gate.fact, value, gate.unit)).shown
    assert gate.meets(float(shown.rstrip("%"))) == gate.meets(value)


def test_what_is_shown_has_as_many_digits_as_it_takes() -> None:
    assert judge(KL, Fact("f", 0.08)).shown == "0.0800"
    assert judge(KL, Fact("f", 0.100004)).shown == "0.100004"
    assert judge(RETENTION, Fact("f", 96.5, "%")).shown == "96.5%"
    assert judge(RETENTION, Fact("f", 94.99, "%")).shown == "94.99%"
    assert judge(GAP, Fact("f", None)).shown == "UNKNOWN"


def test_shares_and_percent_are_brought_to_the_unit_of_the_gate() -> None:
    result = judge(RETENTION, Fact("eval.retention", 0.96, low=0.94, high=0.97))
    assert (result.verdict, result.value, result.low, result.high) == ("PASS", 96.0, 94.0, 97.0)
    assert judge(OVERFITTING, Fact("f", 0.1)).verdict == "FAIL"  # 10 points are not less than 10
    assert judge(OVERFITTING, Fact("f", 9.9, "points")).verdict == "PASS"
    assert judge(replace(GAP, threshold=0.45), Fact("f", 44.0, "%")).verdict == "FAIL"


def test_the_worst_verdict_is_the_one_for_all() -> None:
    passed, failed, unknown = judge(KL, Fact("f", 0.0)), judge(KL, Fact("f", 1.0)), judge(KL, None)
    stale = judge(KL, Fact("f", 0.0), "changed")
    assert overall([passed, passed]) == "PASS"
    assert overall([passed, stale]) == "STALE"
    assert overall([passed, stale, unknown]) == "UNKNOWN"
    assert overall([passed, stale, unknown, failed]) == "FAIL"
    assert overall([]) is None


# Over a workspace


def measured(db: Database, name: str, value: float | None, **more: Any) -> None:
    facts.record(db, Fact(name, value, **more))


def test_a_workspace_is_judged_by_its_newest_facts(workspace: Workspace, db: Database) -> None:
    assert {result.verdict for result in evaluate(db, workspace)} == {"UNKNOWN"}
    measured(db, "dpo.kl_divergence", 0.3)
    measured(db, "dpo.kl_divergence", 0.08, unit="nats per token", low=0.07, high=0.09, n=32, source="sampled")
    found = {result.gate.name: result for result in evaluate(db, workspace, 5)}
    kl = found["kl_divergence"]
    assert (kl.verdict, kl.value, kl.low, kl.high, kl.n, kl.source) == ("PASS", 0.08, 0.07, 0.09, 32, "sampled")
    assert kl.time > 0
    assert found["preference_gap"].reason == "dpo.preference_gap has not been measured"
    assert {result.gate.stage for result in evaluate(db, workspace, 5)} == {5}


def test_a_fact_that_could_not_be_had_says_why(workspace: Workspace, db: Database) -> None:
    measured(db, "data.preference_gap", None, source="the pairs have no scores")
    found = {result.gate.name: result for result in evaluate(db, workspace, 2)}
    assert (found["preference_gap"].verdict, found["preference_gap"].reason) == ("UNKNOWN", "the pairs have no scores")


def test_a_fact_whose_file_changed_is_stale_whatever_its_value(workspace: Workspace, db: Database) -> None:
    path = pairs(workspace.data / "a.jsonl", 3)
    inputs = files.fingerprints(db, workspace, "data/a.jsonl")
    measured(db, "data.pairs", 5000.0, inputs=inputs)
    (result,) = [r for r in evaluate(db, workspace, 2) if r.gate.name == "pair_count"]
    assert result.verdict == "PASS"
    pairs(path, 4)
    (result,) = [r for r in evaluate(db, workspace, 2) if r.gate.name == "pair_count"]
    assert (result.verdict, result.reason, result.value) == ("STALE", "data/a.jsonl changed since", 5000.0)


def test_a_run_is_judged_by_its_own_facts_and_its_own_targets(workspace: Workspace, db: Database) -> None:
    config = load_config(templates() / "dpo_config.yaml", DPOConfig, ["constraints.kl_target=0.05"])
    first = runs.create(db, "dpo", config=config.model_dump(mode="json"))
    second = runs.create(db, "dpo", config=config.model_dump(mode="json"))
    measured(db, "dpo.kl_divergence", 0.08, run=first.id)
    measured(db, "dpo.kl_divergence", 0.01, run=second.id)
    measured(db, "dpo.preference_gap", 0.5, run=second.id)
    measured(db, "data.validation_gap", 0.4)
    found = {result.gate.name: result for result in evaluate_run(db, workspace, first)}
    assert (found["kl_divergence"].verdict, found["kl_divergence"].run) == ("FAIL", first.id)
    assert found["kl_divergence"].gate.threshold == 0.05
    assert found["preference_gap"].verdict == "UNKNOWN"  # the other run's does not stand in
    assert found["validation_data_gap"].verdict == "PASS"  # the data's is everybody's
    assert {result.verdict for result in evaluate_run(db, workspace, second)} == {"PASS"}


def test_only_changes_of_verdict_fact_or_threshold_are_recorded(workspace: Workspace, db: Database) -> None:
    def again() -> list[str]:
        return [result.verdict for result in record(db, evaluate(db, workspace, 3))]

    assert again() == []  # it was never measured
    measured(db, "init.kl_divergence", 0.0)
    assert again() == ["PASS"]
    assert again() == []
    measured(db, "init.kl_divergence", 0.0)
    assert again() == ["PASS"]
    path = workspace.configs / "gates.yaml"
    path.write_text(path.read_text().replace("1.0e-4", "2.0e-4"))
    assert again() == ["PASS"]
    row = db.execute(
        "SELECT stage, gate, verdict, value, op, threshold, fact FROM verdicts ORDER BY id DESC"
    ).fetchone()
    assert row == (3, "initial_kl_divergence", "PASS", 0.0, "≤", 2e-4, facts.latest(db)["init.kl_divergence"].id)


def test_the_history_of_a_gate_has_every_change_with_its_run(workspace: Workspace, db: Database) -> None:
    one, two = (runs.create(db, "dpo", config={}, seed=1).id for _ in range(2))
    measured(db, "dpo.kl_divergence", 0.13, run=one, low=0.12, high=0.14, n=32)
    record(db, evaluate(db, workspace), 100.0)
    measured(db, "dpo.kl_divergence", 0.08, run=two)
    record(db, evaluate(db, workspace), 200.0)
    path = workspace.configs / "dpo_config.yaml"
    path.write_text(path.read_text().replace("kl_target: 0.1", "kl_target: 0.05"))
    record(db, evaluate(db, workspace), 300.0)
    found = history(db, 5, "kl_divergence")
    assert [(one.time, one.verdict, one.value, one.threshold, one.run) for one in found] == [
        (300.0, "FAIL", 0.08, 0.05, two),
        (200.0, "PASS", 0.08, 0.1, two),
        (100.0, "FAIL", 0.13, 0.1, one),
    ]
    assert (found[2].low, found[2].high, found[2].n, found[2].reason) == (0.12, 0.14, 32, "0.1300 is not ≤0.1")
    assert history(db, 7, "kl_divergence") == []  # another gate of the same name
    assert [one.time for one in history(db, 5, "kl_divergence", limit=1)] == [300.0]


def test_what_a_run_measures_is_judged_when_it_has_ended(workspace: Workspace, db: Database) -> None:
    run = runs.create(db, "dpo", config={}, seed=1).id
    runs.update(db, run, state="running")
    measured(db, "dpo.kl_divergence", 0.2, run=run)
    assert record(db, evaluate(db, workspace)) == []
    runs.update(db, run, state="finished")
    assert [result.verdict for result in follow(db, workspace)] == ["FAIL"]
    assert follow(db, workspace) == []


def test_gates_that_cannot_be_read_keep_no_run_from_ending(workspace: Workspace, db: Database) -> None:
    (workspace.configs / "gates.yaml").write_text("gates: 3\n")
    assert follow(db, workspace) == []


def test_a_look_that_finds_nothing_new_takes_no_lock(workspace: Workspace, db: Database) -> None:
    measured(db, "init.kl_divergence", 0.0)
    record(db, evaluate(db, workspace))
    other = open_store(workspace.database)
    other.execute("BEGIN IMMEDIATE")
    db.execute("PRAGMA busy_timeout = 1")
    assert record(db, evaluate(db, workspace)) == []
    other.execute("ROLLBACK")
    other.close()


def test_a_gate_knows_where_its_threshold_stands(workspace: Workspace) -> None:
    found = {(gate.stage, gate.name): (gate.file, gate.key) for gate in load_gates(workspace)}
    assert found[5, "kl_divergence"] == ("dpo_config.yaml", "constraints.kl_target")
    assert found[2, "pair_count"] == ("gates.yaml", "")


def test_a_value_that_is_not_finite_is_recorded_without_one(db: Database) -> None:
    (result,) = record(db, [judge(KL, Fact("dpo.kl_divergence", math.inf))])
    assert result.verdict == "FAIL"
    assert db.execute("SELECT verdict, value FROM verdicts").fetchall() == [("FAIL", None)]


# The workflow's own functions


def enforce(stage: str, **given_: Any) -> tuple[bool, str]:
    said: list[str] = []
    return enforce_gates(stage, **given_, out=said.append), "\n".join(said)


def test_preference_data_passes_when_all_three_do(tmp_path: Path, workspace: Workspace) -> None:
    path = pairs(tmp_path / "pairs.jsonl")
    passed, said = enforce("preference_data", dpo_pairs_path=path)
    assert not passed  # nobody looked for contamination
    assert f"{'=' * 60}\nQuality Gate Enforcement: preference_data\n{'=' * 60}" in said
    assert "Preference Gap: 0.2000 (target ≥0.15)\n" in said
    assert "Pair Count: 1000 (target ≥1000)\n" in said
    assert "Decontamination: UNKNOWN (target ≥0.9) - no benchmark files" in said
    assert "Result: ❌ FAILED" in said
    # Where the person takes that gate out, the other two decide.
    gates = workspace.configs / "gates.yaml"
    before, after = gates.read_text().split("  - stage: 2\n    name: decontamination")
    gates.write_text(before + "  - stage: 2" + after.split("  - stage: 2", 1)[1])
    passed, said = enforce("preference_data", dpo_pairs_path=path, workspace=workspace)
    assert passed
    assert "Result: ✅ PASSED" in said
    for short in (pairs(path, count=999), pairs(path, chosen=0.84), pairs(path, chosen=None)):
        assert not enforce("preference_data", dpo_pairs_path=short, workspace=workspace)[0]


def test_pairs_are_compared_with_the_benchmarks_of_the_workspace(tmp_path: Path, workspace: Workspace) -> None:
    path = pairs(tmp_path / "pairs.jsonl")
    benchmarks = workspace.data / "benchmarks"
    benchmarks.mkdir()
    asked = "How many apples does Ann have after she gives five of her twelve apples to Ben?"
    (benchmarks / "sums.jsonl").write_text(json.dumps({"question": asked, "answer": "7"}) + "\n")
    passed, said = enforce("preference_data", dpo_pairs_path=path, workspace=workspace)
    assert passed
    assert "Decontamination: 1.0000 (target ≥0.9)" in said
    leaked = {"prompt": asked, "chosen": "Seven.", "rejected": "Nine.", "chosen_score": 0.9, "rejected_score": 0.7}
    with path.open("a") as file:
        file.write((json.dumps(leaked) + "\n") * 120)
    passed, said = enforce("preference_data", dpo_pairs_path=path, workspace=workspace)
    assert not passed
    assert "Decontamination: 0.8929 (target ≥0.9)" in said


@pytest.mark.parametrize(
    ("stage", "name", "value", "passed", "line"),
    [
        ("dpo_training", "kl_divergence", 0.08, True, "KL Divergence: 0.0800 (target ≤0.1)"),
        ("dpo_training", "kl_divergence", 0.1, True, "KL Divergence: 0.1000 (target ≤0.1)"),
        ("dpo_training", "kl_divergence", 0.1004, False, "KL Divergence: 0.1004 (target ≤0.1)"),
        ("dpo_training", "kl_divergence", 0.10001, False, "KL Divergence: 0.10001 (target ≤0.1)"),
        ("dpo_training", "kl_divergence", math.nan, False, "KL Divergence: UNKNOWN (target ≤0.1)"),
        ("dpo_training", "kl_divergence", math.inf, False, "KL Divergence: inf (target ≤0.1)"),
        ("evaluation", "capability_retention", 96.5, True, "Capability Retention: 96.5% (target ≥95%)"),
        ("evaluation", "capability_retention", 95, True, "Capability Retention: 95.0% (target ≥95%)"),
        ("evaluation", "capability_retention", 94.97, False, "Capability Retention: 94.97% (target ≥95%)"),
        ("evaluation", "capability_retention", math.inf, False, "Capability Retention: inf (target ≥95%)"),
    ],
)
def test_a_given_value_is_enforced(stage: str, name: str, value: float, passed: bool, line: str) -> None:
    found, said = enforce(stage, **{name: value})
    assert found is passed
    assert line in said


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        ("preference_data", "❌ Error: dpo_pairs_path required for preference_data stage"),
        ("dpo_training", "❌ Error: kl_divergence required for dpo_training stage"),
        ("evaluation", "❌ Error: capability_retention required for evaluation stage"),
        ("planning", "❌ Error: Unknown stage 'planning'"),
    ],
)
def test_what_is_missing_is_said_and_does_not_pass(stage: str, line: str) -> None:
    passed, said = enforce(stage)
    assert not passed
    assert said.endswith(line)


def test_enforcing_nothing_is_an_error(workspace: Workspace) -> None:
    (workspace.configs / "gates.yaml").write_text(ONE)
    with pytest.raises(UserError, match="no gate with 'enforce: dpo_training'"):
        enforced("dpo_training", kl_divergence=0.0, workspace=workspace)


def test_printing_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert enforce_gates("dpo_training", None, 0.08)
    assert "Result: ✅ PASSED" in capsys.readouterr().out


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint-1000"
    folder.mkdir()
    return folder


def dpo(path: Path, kl: float = 0.1, gap: float = 0.15) -> dict[str, Any]:
    return {"constraints": {"kl_target": kl, "preference_gap_target": gap}, "data": {"validation_file": str(path)}}


@pytest.mark.parametrize(
    ("metrics", "chosen", "kl", "gap", "passed"),
    [
        ({"kl_divergence": 0.08}, 0.9, 0.08, 0.2, True),
        ({"kl_divergence": 0.1004}, 0.9, 0.1004, 0.2, False),
        ({"kl_divergence": 0.08}, 0.8, 0.08, 0.1, False),
        ({"kl_divergence": 0.08}, None, 0.08, None, False),
        ({"loss": 1}, 0.9, math.inf, 0.2, False),
        ({"kl_divergence": None}, 0.9, None, 0.2, False),
        ({"kl_divergence": -math.inf}, 0.9, -math.inf, 0.2, False),
    ],
)
def test_a_training_run_is_checked_as_the_workflow_does(
    tmp_path: Path,
    checkpoint: Path,
    metrics: dict[str, Any],
    chosen: float | None,
    kl: float | None,
    gap: float | None,
    passed: bool,
) -> None:
    (checkpoint / "training_metrics.json").write_text(json.dumps(metrics))
    config = dpo(pairs(tmp_path / "val.jsonl", 5, chosen))
    found = check_quality_gates(checkpoint, config)
    assert found == {"kl_divergence": kl, "preference_gap": pytest.approx(gap) if gap else gap, "gates_passed": passed}


def test_without_metrics_nothing_is_measured(tmp_path: Path, checkpoint: Path) -> None:
    config = dpo(tmp_path / "none.jsonl")
    assert check_quality_gates(checkpoint, config) == {
        "kl_divergence": None,
        "preference_gap": None,
        "gates_passed": False,
    }


def test_a_configuration_as_the_program_reads_it_is_taken_too(tmp_path: Path, checkpoint: Path) -> None:
    path = pairs(tmp_path / "val.jsonl", 5)
    (checkpoint / "training_metrics.json").write_text('{"kl_divergence": 0.08}')
    config = load_config(templates() / "dpo_config.yaml", DPOConfig, [f"data.validation_file={path}"])
    assert check_quality_gates(checkpoint, config)["gates_passed"] is True


@pytest.mark.parametrize("text", ["{", "[]", '{"kl_divergence": "low"}', '{"kl_divergence": true}', "[" * 100_000])
def test_broken_metrics_are_said(tmp_path: Path, checkpoint: Path, text: str) -> None:
    (checkpoint / "training_metrics.json").write_text(text)
    with pytest.raises(UserError, match=r"training_metrics\.json"):
        check_quality_gates(checkpoint, dpo(pairs(tmp_path / "val.jsonl", 5)))


@pytest.mark.parametrize("config", [{}, {"constraints": {"kl_target": "low"}}, {"constraints": 3}])
def test_a_configuration_that_lacks_targets_is_said(checkpoint: Path, config: dict[str, Any]) -> None:
    (checkpoint / "training_metrics.json").write_text('{"kl_divergence": 0.08}')
    with pytest.raises(UserError, match=r"constraints\.kl_target"):
        check_quality_gates(checkpoint, config)


def test_what_a_configuration_may_leave_out_is_judged_as_a_run_takes_it(workspace: Workspace) -> None:
    path = workspace.configs / "eval_config.yaml"
    text = path.read_text()
    path.write_text(text[: text.index("quality_thresholds:")] + text[text.index("compute:") :])
    assert "quality_thresholds" not in path.read_text()
    load_config(path, EvalConfig)
    assert load_gates(workspace) == load_gates()
    retention = next(gate for gate in load_gates(workspace) if gate.name == "capability_retention")
    assert retention.threshold == 95
    # What a run has to have stays an error.
    path = workspace.configs / "dpo_config.yaml"
    path.write_text(path.read_text().replace("  kl_target:", "  other:"))
    with pytest.raises(UserError, match=r"dpo_config\.yaml has no key constraints\.kl_target"):
        load_gates(workspace)
