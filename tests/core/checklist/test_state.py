"""States follow from what facts and people say, and from nothing else."""

from __future__ import annotations

import time

import pytest

from core.checklist import Item, by_id, load_tree, set_value, states, tick, untick
from core.store import facts, runs
from core.store.facts import Fact
from tests.core.checklist.conftest import Bench

KL = "dpo.gates.kl_divergence"


def test_nothing_said_nothing_done(bench: Bench) -> None:
    found = bench.states()
    assert {state.state for state in found.values()} == {"open"}
    assert {state.verdict for state in found.values()} == {None}
    assert sum(found[root.id].total for root in bench.roots) == 104  # 114 items, 10 of them parents


def test_a_fact_that_meets_its_target_fills_and_ticks(bench: Bench) -> None:
    run = runs.create(bench.db, "dpo", config={})
    bench.measure("dpo.kl_divergence", 0.08, "nats/token", run=run.id, source="exact KL", time=1000.0)
    state = bench.state(KL)
    assert (state.state, state.value, state.number, state.verdict) == ("done", "0.08", 0.08, "PASS")
    assert (state.by, state.time, state.override) == ("fact", 1000.0, False)
    assert state.why == "dpo.kl_divergence 0.08 by dpo-001 (exact KL)"
    assert state.fact is not None
    assert state.fact.run == "dpo-001"
    # The same fact serves the item without a blank.
    assert (bench.state("dpo.metrics.kl_divergence").value, bench.state("dpo.metrics.kl_divergence").state) == (
        "0.08",
        "done",
    )


def test_a_fact_that_misses_its_target_fails_without_rounding(bench: Bench) -> None:
    bench.measure("dpo.kl_divergence", 0.1004)
    state = bench.state(KL)
    assert (state.state, state.value, state.verdict, state.by) == ("open", "0.1004", "FAIL", "fact")
    assert (bench.state("dpo.gates").failing, bench.state("dpo").failing) == (1, 2)


@pytest.mark.parametrize(
    ("item", "value", "unit", "state", "verdict"),
    [
        ("sft.finished", 1.0, "", "done", "PASS"),
        ("sft.finished", 0.0, "", "open", "FAIL"),
        ("sft.finished", 0.5, "", "open", None),
        ("sft.validation_share", 0.1, "", "done", "PASS"),
        ("sft.validation_share", 0.0, "", "open", "FAIL"),
        ("sft.perplexity", 5.4, "", "open", None),
        ("sft.mmlu", 0.45, "", "done", None),
        ("init.kl_divergence", 1e-4, "", "done", "PASS"),
        ("init.kl_divergence", 1.0001e-4, "", "open", "FAIL"),
        ("init.kl_divergence", -1e-5, "", "done", "PASS"),
        ("data.conflicts", 0.0, "", "done", "PASS"),
        ("data.conflicts", 3.0, "", "open", "FAIL"),
        ("data.validation_share", 0.2, "", "done", "PASS"),
        ("data.validation_share", 0.05, "", "open", "FAIL"),
        ("reward.train_accuracy", 0.7, "", "done", "PASS"),
        ("reward.train_accuracy", 70.0, "%", "done", "PASS"),
        ("reward.overfitting_gap", 9.99, "points", "done", "PASS"),
        ("reward.overfitting_gap", 0.1, "", "open", "FAIL"),
        ("eval.retention", 0.95, "", "done", "PASS"),
        ("eval.win_rate", 50.0, "%", "open", "FAIL"),
        ("eval.decontamination", 1.0, "", "done", "PASS"),
        ("eval.decontamination", 0.999, "", "open", "FAIL"),
        ("dpo.best_checkpoint", 1.0, "", "done", "PASS"),
        ("dpo.batch_size", 16.0, "pairs", "open", None),  # what a run used; whether that is the best, a person says
        ("dpo.checkpoints", 100.0, "steps", "done", "PASS"),
        ("dpo.throughput", 11.8, "pairs/s", "done", None),
        ("data.decontamination", None, "", "open", None),
    ],
)
def test_what_each_kind_of_fact_does(
    bench: Bench, item: str, value: float, unit: str, state: str, verdict: str | None
) -> None:
    bench.measure(item, value, unit)
    (bound,) = [
        i for r in bench.roots for i in r.walk() if i.facts == (item,) and "measured" not in i.id and not i.measured
    ]
    found = bench.state(bound.id)
    assert (found.state, found.verdict) == (state, verdict)


def test_what_could_not_be_measured_says_why(bench: Bench) -> None:
    bench.measure("data.decontamination", 0.95)
    bench.measure("data.decontamination", None, source="no benchmark files")
    state = bench.state("data.decontamination")
    assert (state.state, state.value, state.verdict) == ("open", None, None)
    assert state.why == "data.decontamination could not be measured: no benchmark files"


def test_an_item_of_several_facts_waits_for_all(bench: Bench) -> None:
    bench.measure("sft.mmlu", 0.45)
    bench.measure("sft.humaneval", 0.2)
    assert bench.state("sft.benchmarks").state == "open"
    assert "sft.gsm8k not measured yet" in bench.state("sft.benchmarks").why
    bench.measure("sft.gsm8k", 0.3)
    assert bench.state("sft.benchmarks").state == "done"


def test_two_blanks_are_filled_each_by_its_fact(bench: Bench) -> None:
    bench.measure("eval.mmlu", 0.44)
    state = bench.state("eval.mmlu")
    assert (state.state, state.values) == ("open", ("0.44", None))
    # What no fact says a person writes.
    set_value(bench.db, bench.item("eval.mmlu"), "0.45", "ann", blank=1)
    state = bench.state("eval.mmlu")
    assert (state.state, state.values, state.by, state.override) == ("done", ("0.44", "0.45"), "fact", False)
    bench.measure("sft.mmlu", 0.46)
    assert bench.state("eval.mmlu").values == ("0.44", "0.46")


def test_a_baseline_alone_is_no_result(bench: Bench) -> None:
    bench.measure("sft.mmlu", 0.45)
    state = bench.state("eval.mmlu")
    assert (state.state, state.value, state.number, state.values) == ("open", None, None, (None, "0.45"))


def test_a_signed_item_is_filled_by_its_fact_and_ticked_by_a_person(bench: Bench) -> None:
    bench.measure("sft.perplexity", 5.4321)
    assert (bench.state("sft.perplexity").value, bench.state("sft.perplexity").state) == ("5.432", "open")
    assert tick(bench.db, bench.item("sft.perplexity"), "ann")
    state = bench.state("sft.perplexity")
    assert (state.state, state.by, state.override) == ("done", "ann", False)
    # What was acceptable then says nothing of the next model.
    bench.measure("sft.perplexity", 99.0)
    assert bench.state("sft.perplexity").state == "open"
    assert "measured after ann ticked it" in bench.state("sft.perplexity").why


def test_a_signed_item_waits_for_a_person_even_when_its_target_is_met(bench: Bench) -> None:
    bench.write("8-mine.md", "- [ ] Perplexity ≤20 <!-- id: ppl fact: sft.perplexity tick: person -->\n")
    bench.measure("sft.perplexity", 5.0)
    assert (bench.state("ppl").state, bench.state("ppl").verdict) == ("open", "PASS")


def test_stale(bench: Bench) -> None:
    bench.measure("data.pairs", 1200.0, inputs=bench.inputs("data/pairs.jsonl", "one"))
    assert (bench.state("data.pairs").state, bench.state("data.pairs").verdict) == ("done", "PASS")
    bench.workspace.path("data/pairs.jsonl").write_text("changed")
    state = bench.state("data.pairs")
    assert (state.state, state.value, state.verdict) == ("open", "1200", "STALE")
    assert state.why == "data/pairs.jsonl changed since"
    assert bench.state("data.quality").stale == 1
    # A person may vouch for it; it still shows.
    tick(bench.db, bench.item("data.pairs"), "ann")
    state = bench.state("data.pairs")
    assert (state.state, state.by, state.verdict) == ("done", "ann", "STALE")
    bench.workspace.path("data/pairs.jsonl").unlink()
    assert bench.state("data.collected").why == "data/pairs.jsonl is gone"


def test_parents_are_derived(bench: Bench) -> None:
    for name in ("dpo.hardware", "dpo.batch_size", "dpo.environment"):
        tick(bench.db, bench.item(name), "ann")
    parent = bench.state("dpo.performance")
    assert (parent.state, parent.done, parent.total) == ("partial", 3, 4)
    assert bench.state("dpo").state == "partial"
    tick(bench.db, bench.item("dpo.distribution"), "ann")
    assert bench.state("dpo.performance").state == "done"
    untick(bench.db, bench.item("dpo.hardware"), "ann")
    assert bench.state("dpo.performance").state == "partial"


def test_an_optional_item_holds_nobody_up(bench: Bench) -> None:
    for item in bench.item("reward").children:
        if not item.optional:
            tick(bench.db, item, "ann")
    stage = bench.state("reward")
    assert (stage.state, stage.done, stage.total) == ("done", 8, 9)


def test_a_box_ticked_in_the_file(bench: Bench) -> None:
    bench.write("8-mine.md", "- [x] a\n- [ ] b\n- [x] c <!-- id: c fact: sft.finished -->\n")
    assert (bench.state("mine.a").state, bench.state("mine.a").by) == ("done", "file")
    assert bench.state("mine.a").why == "ticked in configs/checklists/8-mine.md"
    untick(bench.db, bench.item("mine.a"), "ann")
    assert bench.state("mine.a").state == "open"
    bench.measure("sft.finished", 0.0)
    assert (bench.state("c").state, bench.state("c").verdict) == ("open", "FAIL")


def test_words_a_fact_brings_along(bench: Bench) -> None:
    bench.measure("dpo.best_checkpoint", 1.0, text="checkpoint-40")
    assert bench.state("dpo.best_checkpoint").value == "checkpoint-40"
    bench.measure("sft.finished", 1.0)
    assert bench.state("sft.finished").value is None
    assert bench.state("sft.finished").number == 1.0
    bench.measure("sft.finished", 0.0, source="stopped at step 12")
    assert bench.state("sft.finished").why == "sft.finished no (stopped at step 12)"


def test_facts_can_be_handed_in(bench: Bench) -> None:
    given = {"sft.finished": Fact("sft.finished", 1.0)}
    assert states(bench.db, bench.workspace, bench.roots, given)["sft.finished"].state == "done"
    assert bench.state("sft.finished").state == "open"


def test_an_input_that_cannot_be_looked_at_is_stale(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError(13, "Permission denied", "data/pairs.jsonl")

    bench.measure("data.pairs", 1200.0, inputs=bench.inputs("data/pairs.jsonl", "one"))
    monkeypatch.setattr("core.store.files.sha256", refuse)
    assert bench.state("data.pairs").why == "data/pairs.jsonl cannot be read: Permission denied"


def test_all_items_are_judged_within_one_frame(bench: Bench) -> None:
    """With every fact measured on real files, and a history of measurements behind them."""
    roots = load_tree(bench.workspace)
    items: dict[str, Item] = by_id(roots)
    names = sorted({name for item in items.values() for name in item.facts})
    inputs = [bench.inputs(f"data/{n}.jsonl", str(n)) for n in range(4)]
    for _ in range(20):
        facts.record(bench.db, *(Fact(n, 0.9, inputs={**inputs[i % 4], **inputs[0]}) for i, n in enumerate(names)))
    for item in items.values():
        if item.leaf and not item.facts:
            tick(bench.db, item, "ann")
    states(bench.db, bench.workspace, roots)
    took = []
    for _ in range(5):
        start = time.thread_time()
        states(bench.db, bench.workspace, roots)
        took.append(time.thread_time() - start)
    assert min(took) < 0.020
