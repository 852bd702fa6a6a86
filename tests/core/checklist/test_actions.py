"""People tick, fill, explain, back and take back; what contradicts a measurement needs a reason."""

from __future__ import annotations

import pytest

from core.checklist import add_evidence, needs_note, redo, set_note, set_value, tick, undo, untick
from core.errors import UserError
from core.store import runs, ticks
from core.store.database import transaction
from tests.core.checklist.conftest import Bench

KL = "dpo.gates.kl_divergence"


def test_a_tick_says_who_when_and_why(bench: Bench) -> None:
    item = bench.item("planning.license")
    assert tick(bench.db, item, "ann", "Apache-2.0", when=1000.0)
    state = bench.state(item.id)
    assert (state.state, state.by, state.time, state.note, state.why) == (
        "done",
        "ann",
        1000.0,
        "Apache-2.0",
        "Apache-2.0",
    )
    assert not tick(bench.db, item, "bob")
    assert bench.state(item.id).by == "ann"
    assert len(ticks.history(bench.db)) == 1


def test_what_others_add_leaves_the_tick_its_author(bench: Bench) -> None:
    item = bench.item("eval.qualitative")
    tick(bench.db, item, "ann")
    set_note(bench.db, item, "read twenty", "bob")
    set_value(bench.db, item, "fluent", "bob")
    add_evidence(bench.db, bench.workspace, item, "bob", note="see the report")
    state = bench.state(item.id)
    assert (state.by, state.note, state.value) == ("ann", "read twenty", "fluent")
    assert [change.who for change in ticks.history(bench.db)] == ["bob", "bob", "bob", "ann"]


def test_a_parent_is_never_ticked(bench: Bench) -> None:
    for name in ("dpo.gates", "dpo", "planning.group.data"):
        with pytest.raises(UserError, match="has sub-items: it is done when they are"):
            tick(bench.db, bench.item(name), "ann")


def test_overriding_a_fact_needs_a_note(bench: Bench) -> None:
    bench.measure("dpo.kl_divergence", 0.1004)
    item = bench.item(KL)
    assert needs_note(bench.db, item, True) == "dpo.kl_divergence 0.1004 does not meet ≤0.1"
    assert needs_note(bench.db, item, False) is None
    with pytest.raises(UserError, match=r"dpo.kl_divergence 0.1004 does not meet ≤0.1: say why in a note"):
        tick(bench.db, item, "ann")
    with pytest.raises(UserError):
        tick(bench.db, item, "ann", "  ")
    tick(bench.db, item, "ann", "close enough for a pilot")
    state = bench.state(KL)
    assert (state.state, state.by, state.verdict, state.override) == ("done", "ann", "FAIL", True)
    assert state.why == "close enough for a pilot"
    assert [(e.kind, e.text) for e in state.evidence] == [("fact", "dpo.kl_divergence 0.1004")]
    with pytest.raises(UserError, match="its note says why"):
        set_note(bench.db, item, "", "ann")


def test_taking_a_facts_tick_back_needs_a_note(bench: Bench) -> None:
    bench.measure("sft.finished", 1.0)
    bench.measure("sft.mmlu", 0.45)
    with pytest.raises(UserError, match=r"sft\.finished says yes: say why"):
        untick(bench.db, bench.item("sft.finished"), "ann")
    with pytest.raises(UserError, match=r"sft\.mmlu was measured: say why"):
        untick(bench.db, bench.item("sft.mmlu"), "ann")
    untick(bench.db, bench.item("sft.finished"), "ann", "wrong base model")
    state = bench.state("sft.finished")
    assert (state.state, state.by, state.override) == ("open", "ann", True)
    # Agreeing with the fact again is no override.
    tick(bench.db, bench.item("sft.finished"), "ann")
    state = bench.state("sft.finished")
    assert (state.state, state.override, state.note) == ("done", False, None)


def test_a_new_measurement_answers_an_override(bench: Bench) -> None:
    bench.measure("dpo.kl_divergence", 0.12)
    tick(bench.db, bench.item(KL), "ann", "accepted")
    bench.measure("dpo.kl_divergence", 0.12)
    assert bench.state(KL).override, "the same value measured again is what was accepted"
    bench.measure("dpo.kl_divergence", 0.3)
    state = bench.state(KL)
    assert (state.state, state.verdict, state.by, state.override) == ("open", "FAIL", "fact", False)
    assert state.why.endswith("measured after ann ticked it")
    # Filling another part of the row does not bring the old tick back.
    set_note(bench.db, bench.item(KL), "look again", "ann")
    assert bench.state(KL).state == "open"
    bench.measure("dpo.kl_divergence", 0.05)
    assert (bench.state(KL).state, bench.state(KL).by) == ("done", "fact")


def test_a_tick_from_before_the_measurement_is_no_override(bench: Bench) -> None:
    tick(bench.db, bench.item(KL), "ann")
    assert bench.state(KL).state == "done"
    bench.measure("dpo.kl_divergence", 0.12)
    assert (bench.state(KL).state, bench.state(KL).verdict) == ("open", "FAIL")


def test_values(bench: Bench) -> None:
    item = bench.item("eval.retention")
    assert set_value(bench.db, item, "96.5 %", "ann")
    state = bench.state(item.id)
    assert (state.value, state.number, state.verdict, state.state, state.by) == ("96.5", 96.5, "PASS", "open", "ann")
    assert not set_value(bench.db, item, "96.5", "bob")
    set_value(bench.db, item, "94.9", "ann")
    assert bench.state(item.id).verdict == "FAIL"
    assert set_value(bench.db, item, "", "ann")
    assert bench.state(item.id).value is None
    with pytest.raises(UserError, match=r"planning\.license has no blank to fill"):
        set_value(bench.db, bench.item("planning.license"), "1", "ann")
    with pytest.raises(UserError, match=r"eval.retention has 1 blank\(s\)"):
        set_value(bench.db, item, "1", "ann", blank=1)


def test_a_tick_on_a_value_that_misses_needs_a_note(bench: Bench) -> None:
    item = bench.item("eval.retention")
    set_value(bench.db, item, "90", "ann")
    with pytest.raises(UserError, match="its value 90 does not meet ≥95%: say why"):
        tick(bench.db, item, "ann")
    tick(bench.db, item, "ann", "one benchmark broke")
    assert bench.state(item.id).override
    other = bench.item("eval.win_rate")
    tick(bench.db, other, "ann")
    with pytest.raises(UserError, match=r"eval\.win_rate is ticked, and its value 40 does not meet >50%"):
        set_value(bench.db, other, "40", "ann")


def test_another_value_than_measured_needs_a_note(bench: Bench) -> None:
    bench.measure("dpo.kl_divergence", 0.123456)
    item = bench.item(KL)
    assert not set_value(bench.db, item, "0.1235", "ann"), "that is what is shown"
    assert not set_value(bench.db, item, "0.123456", "ann"), "that is what was measured"
    with pytest.raises(UserError, match=r"0\.09 is not what dpo.kl_divergence was measured as: say why"):
        set_value(bench.db, item, "0.09", "ann")
    set_value(bench.db, item, "0.09", "ann", "without the outlier")
    state = bench.state(KL)
    assert (state.value, state.verdict, state.override, state.state) == ("0.09", "PASS", True, "open")
    bench.measure("dpo.kl_divergence", 0.2)
    assert (bench.state(KL).value, bench.state(KL).override) == ("0.2", False)


def test_a_persons_failing_value_takes_a_facts_tick(bench: Bench) -> None:
    bench.measure("dpo.kl_divergence", 0.05)
    set_value(bench.db, bench.item(KL), "0.5", "ann", "the log says otherwise")
    state = bench.state(KL)
    assert (state.state, state.verdict, state.override) == ("open", "FAIL", True)


def test_evidence(bench: Bench) -> None:
    item = bench.item("planning.success")
    (bench.workspace.root / "criteria.md").write_text("be good")
    run = runs.create(bench.db, "dpo", config={})
    bench.measure("dpo.kl_divergence", 0.08)
    assert add_evidence(
        bench.db, bench.workspace, item, "ann", file="criteria.md", run=run.id, fact="dpo.kl_divergence", note="agreed"
    )
    file, ran, fact, note = bench.state(item.id).evidence
    assert file.text.startswith("criteria.md sha256 ")
    assert (ran.text, fact.text, note.text, note.who, file.stale) == (
        "dpo-001",
        "dpo.kl_divergence 0.08",
        "agreed",
        "ann",
        None,
    )
    assert bench.state(item.id).state == "open"
    (bench.workspace.root / "criteria.md").write_text("be better")
    assert bench.state(item.id).evidence[0].stale == "criteria.md changed since"
    tick(bench.db, item, "ann")
    assert len(bench.state(item.id).evidence) == 4
    for wrong, message in (
        ({"file": "none.md"}, "none.md is no file and no model folder"),
        ({"file": "x\udc80"}, "cannot be read"),
        ({"run": "dpo-002"}, "no run 'dpo-002'"),
        ({"fact": "dpo.kl"}, "fact 'dpo.kl' was never measured"),
        ({"note": " "}, "name a file, a run, a fact or a remark"),
        ({}, "name a file"),
    ):
        with pytest.raises(UserError, match=message):
            add_evidence(bench.db, bench.workspace, item, "ann", **wrong)


def test_notes_are_made_safe(bench: Bench) -> None:
    set_note(bench.db, bench.item("dpo"), " \x1b]0;x\x07 two\nlines\udc80 ", "ann")
    assert bench.state("dpo").note == "␛]0;x␇ two\nlines�"


# history --------------------------------------------------------------------------------------------------------------


def test_undo_and_redo(bench: Bench) -> None:
    item = bench.item("eval.qualitative")
    tick(bench.db, item, "ann")
    set_value(bench.db, item, "fluent", "ann")
    set_note(bench.db, item, "n", "ann")
    seen = [bench.state(item.id)]
    for _ in range(3):
        assert len(undo(bench.db, "bob")) == 1
        seen.append(bench.state(item.id))
    assert [(s.state, s.value, s.note) for s in seen] == [
        ("done", "fluent", "n"), ("done", "fluent", None), ("done", None, None), ("open", None, None),
    ]  # fmt: skip
    assert undo(bench.db, "bob") == []
    assert item.id not in ticks.everything(bench.db)
    for expected in reversed(seen[:3]):
        assert len(redo(bench.db, "bob")) == 1
        assert bench.state(item.id) == expected
    assert redo(bench.db, "bob") == []
    changes = ticks.history(bench.db)
    assert [c.action for c in changes[:3]] == ["redo note", "redo value", "redo tick"]
    assert {c.who for c in changes} == {"ann", "bob"}
    assert not any(c.undone for c in changes)


def test_a_new_change_ends_what_could_be_redone(bench: Bench) -> None:
    item = bench.item("planning.license")
    set_note(bench.db, item, "one", "ann")
    undo(bench.db, "ann")
    set_note(bench.db, item, "two", "ann")
    undo(bench.db, "ann")
    assert [c.after.note for c in redo(bench.db, "ann") if c.after] == ["two"]
    assert redo(bench.db, "ann") == []
    assert bench.state(item.id).note == "two"


def test_undo_of_one_item_leaves_the_others(bench: Bench) -> None:
    first, second = bench.item("planning.license"), bench.item("planning.budget")
    tick(bench.db, first, "ann")
    tick(bench.db, second, "ann")
    assert [c.item for c in undo(bench.db, "ann", first)] == [first.id]
    assert (bench.state(first.id).state, bench.state(second.id).state) == ("open", "done")
    assert undo(bench.db, "ann", first) == []
    assert [c.item for c in redo(bench.db, "ann", first)] == [first.id]


def test_what_was_done_in_one_go_is_undone_in_one_go(bench: Bench) -> None:
    with transaction(bench.db):
        for name in ("planning.license", "planning.budget", "planning.domain"):
            tick(bench.db, bench.item(name), "ann", when=1000.0)
    assert len(undo(bench.db, "ann")) == 3
    assert bench.state("planning").done == 0
    assert len(redo(bench.db, "ann")) == 3
    assert bench.state("planning").done == 3


def test_what_fails_half_way_changes_nothing(bench: Bench) -> None:
    bench.measure("sft.finished", 0.0)
    with pytest.raises(UserError), transaction(bench.db):
        tick(bench.db, bench.item("planning.license"), "ann")
        tick(bench.db, bench.item("sft.finished"), "ann")
    assert ticks.history(bench.db) == []
    assert bench.state("planning.license").state == "open"


def test_what_a_person_changed_is_theirs_until_it_is_taken_back(bench: Bench) -> None:
    first, second = bench.item(KL), bench.item("planning.license")
    tick(bench.db, second, "ann")
    set_note(bench.db, first, "why", "bob")
    assert ticks.changed_by(bench.db, "ann") == {second.id}
    newest = ticks.newest(bench.db)
    assert newest is not None
    assert (newest.item, newest.who) == (first.id, "bob")
    undo(bench.db, "ann")
    assert ticks.changed_by(bench.db, "bob") == set()
    newest = ticks.newest(bench.db)
    assert newest is not None
    assert newest.item == second.id
    assert ticks.newest(bench.db, first.id) is None
