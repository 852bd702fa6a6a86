"""Two rounds of DPO in one workspace: a report speaks of one model, and says so where a figure is of another."""

from __future__ import annotations

import json
from typing import Any

from core.report import Sources, build, criteria, page, verify
from core.report.document import Paragraph, Report, Table, plain
from core.report.save import save
from core.store import benchmarks, decisions, facts, runs
from core.store.decisions import Decision
from core.store.facts import Fact
from tests.core.report import made
from tests.core.report.conftest import Bench
from tests.core.report.test_contents import rows


def told(bench: Bench) -> Report:
    return build(Sources(bench.db, bench.workspace))


def lead(bench: Bench) -> str:
    return "\n".join(plain(block.text) for block in told(bench).lead if isinstance(block, Paragraph))


def second_round(bench: Bench, **columns: Any) -> str:
    config = {"model": {"reference_model": "checkpoints/sft"}, "training": {"beta": 0.4}}
    return made.run(bench.db, "dpo", config, output_dir="outputs/calm", **columns)


def evaluate(bench: Bench, model: str, state: str = "finished") -> str:
    config = {"evaluation": {"subject": "final", "seed": 2}, "model": {"final": model, "baseline": "checkpoints/sft"}}
    return made.run(bench.db, "evaluate", config, state=state)


def test_it_speaks_of_the_newest_evaluated_model(bench: Bench) -> None:
    first = "Model: outputs/dpo, made by dpo-001, evaluated by evaluate-002, against the baseline checkpoints/sft."
    assert first in lead(bench) and "rounds" not in {each.id for each in told(bench).sections}
    dpo = second_round(bench)
    words = lead(bench)
    assert first in words and "Newer than this model and not evaluated yet: dpo-002." in words
    run = evaluate(bench, "outputs/calm")
    facts.record(bench.db, Fact("eval.win_rate", 55.0, "%", run, source="second"))
    report = told(bench)
    assert report.title == "Evaluation report: outputs/calm"
    assert "made by dpo-002, evaluated by evaluate-003" in lead(bench) and "Newer" not in lead(bench)
    rounds = rows(report, "rounds")
    assert rounds["dpo-001"][:3] == ["outputs/dpo", "evaluate-002", "0.1004"] and rounds["dpo-001"][-1] == "61%"
    assert rounds["dpo-002 (this report)"] == [
        "outputs/calm", "evaluate-003", "—", "—", "—", "—", "—", "55%",
    ]  # fmt: skip
    assert rows(report, "configuration")["training.beta"] == ["0.1", "0.4"]
    assert dpo == "dpo-002"


def test_a_figure_of_the_other_model_is_no_evidence(bench: Bench) -> None:
    second_round(bench)
    evaluate(bench, "outputs/calm")
    words = lead(bench)
    assert "Measured on another model, and no evidence for this one:" in words
    assert "gate 7 Win Rate is of outputs/dpo (evaluate-002), not of outputs/calm" in words
    assert "gate 5 KL Divergence is of dpo-001, not of dpo-002" in words
    found = {each.name: each for each in criteria(Sources(bench.db, bench.workspace))}
    won = found["gate.win_rate"]
    assert (won.verdict, won.met) == ("PASS", False) and "another model" in won.by
    assert not found["item.eval.win_rate"].met
    assert rows(told(bench), "alignment")["win rate against the baseline"][-1].startswith("ANOTHER MODEL: of outputs/")


def test_benchmarks_of_the_other_model_are_not_the_final_ones(bench: Bench) -> None:
    second_round(bench)
    run = evaluate(bench, "outputs/calm")
    one = made.result(run, "final", "gsm8k", 0.35)
    benchmarks.record(bench.db, benchmarks.Result(**{**_fields(one), "model": "outputs/calm"}))
    capability = rows(told(bench), "capability")
    assert capability["gsm8k"][0] == "0.35"
    assert capability["mmlu"][:3] == ["not measured", "—", "—"]
    assert capability["mmlu"][-1] == "not compared: the final model was not measured: evaluate-002 was of another one"


def _fields(one: benchmarks.Result) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}


def test_an_evaluation_that_failed_halfway_does_not_take_over(bench: Bench) -> None:
    second_round(bench)
    run = evaluate(bench, "outputs/calm", "failed")
    facts.record(bench.db, Fact("eval.win_rate", 99.0, "%", run, source="half"))
    assert told(bench).title == "Evaluation report: outputs/dpo"
    assert "gate 7 Win Rate is of outputs/calm (evaluate-003), not of outputs/dpo" in lead(bench)


def test_what_was_trained_later_in_the_same_folder_did_not_make_what_was_evaluated(bench: Bench) -> None:
    made.run(bench.db, "dpo", {"model": {}}, output_dir="outputs/dpo")
    words = lead(bench)
    assert "made by dpo-001, evaluated by evaluate-002" in words
    assert "not evaluated yet: dpo-002" in words


def test_a_decision_on_the_model_before_is_not_one_on_this(bench: Bench) -> None:
    decisions.record(bench.db, Decision("reject", "cy", "too far", {"items": [], "against": []}, "evaluate-002"))
    assert "it was not made on these figures" not in lead(bench)
    second_round(bench)
    evaluate(bench, "outputs/calm")
    assert "rests on evaluate-002, and this report speaks of evaluate-003" in lead(bench)


def test_a_report_on_the_model_before_does_not_hold(bench: Bench) -> None:
    file = bench.workspace.root / "report.md"
    save(told(bench), [file])
    assert verify(Sources(bench.db, bench.workspace), file).good
    second_round(bench)
    evaluate(bench, "outputs/calm")
    assert not verify(Sources(bench.db, bench.workspace), file).good
    assert page(told(bench), ".md") != file.read_text()
    assert runs.get(bench.db, "dpo-002").state == "finished"


def test_marks_are_counted_for_each_model_apart(bench: Bench) -> None:
    from core.evaluation.ratings import source

    folder = bench.workspace.outputs / "first"
    folder.mkdir(parents=True)
    models = ("final", "baseline")
    answers = [
        {"prompt": f"q{n}", "responses": [{"text": f"{model} {n}", "model": model} for model in models]}
        for n in range(4)
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(each) + "\n" for each in answers))
    runs.update(bench.db, "evaluate-002", output_dir="outputs/first")
    catalogue = source.source_of(bench.db, bench.workspace, folder / "answers.jsonl").catalogue()
    for key, entry in catalogue.entries.items():
        mark = 8 if "final" in entry.roles else 3
        made.rate(bench.db, "helpfulness", mark, key=key, file="outputs/first/answers.jsonl")
    found = [each for each in told(bench).sections if each.id == "alignment"]
    marks = [
        [plain(each) for each in cells]
        for block in found[0].blocks
        if isinstance(block, Table) and block.head[0] == "answers"
        for cells in block.rows
    ]
    first = {(each[1], each[2]): each[3] for each in marks if each[0] == "outputs/first/answers.jsonl"}
    assert [first[name] for name in first if name[1] == "helpfulness"] == ["8", "3"]
