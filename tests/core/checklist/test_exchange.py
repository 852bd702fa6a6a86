"""Export fills in what is known, import reads back what a person changed, and neither drifts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.checklist import (
    Imported,
    by_id,
    import_files,
    load_documents,
    load_tree,
    render,
    set_value,
    states,
    tick,
    undo,
    untick,
)
from core.errors import UserError
from core.store import facts, open_store, ticks
from core.store.facts import Fact
from core.workspace import Workspace, create_workspace, templates
from tests.core.checklist.conftest import Bench

DPO, EVAL = "configs/checklists/5-dpo-optimization.md", "configs/checklists/7-evaluation-monitoring.md"


def edited(bench: Bench, name: str, *changes: tuple[str, str]) -> Path:
    """The export of a checklist after an editor was at it."""
    text = bench.exports()[name]
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = bench.workspace.root / "edited" / Path(name).name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())
    return path


def told(report: Sequence[Imported]) -> list[tuple[str | None, str, bool]]:
    return [(entry.item, entry.text, entry.changed) for entry in report]


def test_export_fills_boxes_and_blanks(bench: Bench) -> None:
    before = bench.exports()
    bench.measure("dpo.kl_divergence", 0.0812345)
    bench.measure("eval.mmlu", 0.44)
    bench.measure("sft.mmlu", 0.45)
    bench.measure("eval.retention", 0.978)
    bench.measure("reward.train_accuracy", 0.72)
    tick(bench.db, bench.item("dpo.hardware"), "ann")
    set_value(bench.db, bench.item("eval.qualitative"), "fluent", "ann")
    after = bench.exports()
    changed = {
        new
        for name in after
        for old, new in zip(before[name].splitlines(), after[name].splitlines(), strict=True)
        if old != new
    }
    assert {line.partition(" <!--")[0].strip() for line in changed} == {
        "- [x] Hardware selected based on model size",
        "- [x] KL divergence ≤0.1",
        "- [x] KL divergence: 0.08123 (target ≤0.1)",
        "- [x] MMLU: 0.44 (baseline: 0.45)",
        "- [x] MMLU score: 0.45",
        "- [x] Capability retention calculated:",
        "- [x] Retention rate: 97.8 % (target ≥95%)",
        "- [x] Training accuracy: 72% (target ≥70%)",
        "- [ ] Qualitative assessment: fluent",
    }


def test_a_failing_fact_fills_the_blank_and_not_the_box(bench: Bench) -> None:
    bench.measure("dpo.kl_divergence", 0.1004)
    assert "  - [ ] KL divergence: 0.1004 (target ≤0.1)" in bench.exports()[DPO]


def test_import_reads_what_was_changed_and_only_that(bench: Bench) -> None:
    bench.measure("dpo.kl_divergence", 0.08)
    tick(bench.db, bench.item("dpo.config"), "ann")
    path = edited(
        bench, DPO, ("- [ ] Hardware", "- [X] Hardware"), ("- [x] Hyper", "- [ ] Hyper"),
        ("(examples/sec): _____", "(examples/sec):  11.8 "), ("# Stage 5", "Some prose.\n\n# Stage 5"),
    )  # fmt: skip
    expected = [
        ("dpo.config", "tick taken back", True),
        ("dpo.hardware", "ticked", True),
        ("dpo.metrics.throughput", "value empty -> 11.8", True),
    ]
    assert told(import_files(bench.db, bench.workspace, [path], "bob", dry_run=True)) == expected
    assert bench.state("dpo.hardware").state == "open"
    report = import_files(bench.db, bench.workspace, [path], "bob")
    assert told(report) == expected
    assert [entry.line for entry in report] == [5, 7, 19]
    assert (bench.state("dpo.hardware").by, bench.state("dpo.metrics.throughput").value) == ("bob", "11.8")
    assert bench.state("dpo.gates.kl_divergence").by == "fact"
    assert import_files(bench.db, bench.workspace, [path], "bob") == []
    assert len(undo(bench.db, "bob")) == 3
    assert (bench.state("dpo.hardware").state, bench.state("dpo.config").state) == ("open", "done")


def test_import_of_two_blanks(bench: Bench) -> None:
    bench.measure("sft.mmlu", 0.45)
    path = edited(
        bench, EVAL, ("MMLU: _____", "MMLU: 0.44 (5-shot)"), ("Domain-specific: _____ (baseline: _____)",
        "Domain-specific: (baseline: n/a)"), ("_____ /10", "7.5/10"), ("_____ % (target ≥95%)", "0.9 % (target ≥95%)"),
    )  # fmt: skip
    assert told(import_files(bench.db, bench.workspace, [path], "bob")) == [
        ("eval.mmlu", "value (MMLU) empty -> 0.44 (5-shot)", True),
        ("eval.domain", "value (baseline) empty -> n/a", True),
        ("eval.retention", "value empty -> 0.9", True),
        ("eval.human_score", "value empty -> 7.5", True),
    ]
    assert bench.state("eval.mmlu").values == ("0.44 (5-shot)", "0.45")


def test_an_emptied_blank(bench: Bench) -> None:
    bench.measure("dpo.kl_divergence", 0.08)
    set_value(bench.db, bench.item("dpo.metrics.throughput"), "12", "ann")
    path = edited(
        bench, DPO, ("(examples/sec): 12", "(examples/sec):"), ("KL divergence: 0.08 ", "KL divergence: ___ ")
    )
    assert told(import_files(bench.db, bench.workspace, [path], "bob")) == [
        ("dpo.metrics.throughput", "value 12 -> empty", True),
        ("dpo.gates.kl_divergence", "dpo.kl_divergence filled it with 0.08: an empty blank changes nothing", False),
    ]


def test_what_import_cannot_read_it_says(bench: Bench) -> None:
    path = edited(
        bench,
        DPO,
        ("Throughput (examples/sec): _____", "Speed: 12"),
        ("- [ ] Training logs", "- [ ] New\n- [x] Training logs"),
    )
    assert told(import_files(bench.db, bench.workspace, [path], "bob")) == [
        ("dpo.metrics.throughput", "its words were changed: no values read", False),
        (None, "'New' is not in the checklist: add it to the file there", False),
        ("dpo.logs", "ticked", True),
    ]


def test_one_bad_line_changes_nothing(bench: Bench) -> None:
    path = edited(bench, DPO, ("- [ ] Hardware", "- [x] Hardware"), ("(examples/sec): _____", "(examples/sec): fast"))
    with pytest.raises(
        UserError, match=r"5-dpo-optimization\.md:17: 'fast' for dpo\.metrics\.throughput is not a number"
    ):
        import_files(bench.db, bench.workspace, [path], "bob")
    assert ticks.everything(bench.db) == {}


def test_a_tick_against_a_fact_needs_a_note(bench: Bench) -> None:
    bench.measure("dpo.kl_divergence", 0.2)
    path = edited(bench, DPO, ("- [ ] KL divergence: 0.2", "- [x] KL divergence: 0.2"))
    with pytest.raises(
        UserError, match=r"md:20: dpo.gates.kl_divergence: dpo.kl_divergence 0.2 does not meet ≤0.1: say why"
    ):
        import_files(bench.db, bench.workspace, [path], "bob")
    import_files(bench.db, bench.workspace, [path], "bob", note="pilot")
    assert bench.state("dpo.gates.kl_divergence").override


def test_parents_boxes_are_not_read(bench: Bench) -> None:
    path = edited(bench, DPO, ("- [ ] Quality gates", "- [x] Quality gates"))
    assert import_files(bench.db, bench.workspace, [path], "bob") == []


MINE = "# M\r\n* [ ] Red team:\r\n\t+ [x] Found: ____ (≤3)\r\n\t+ [ ] Fixed: ____\r\n* [x] Optional: fun\r\n* [X] Held"


def test_ones_own_checklist_without_ids(bench: Bench) -> None:
    """Filled blanks and an editor's other taste do not make items strangers to themselves."""
    bench.write("8-mine.md", MINE)
    name = "configs/checklists/8-mine.md"
    assert bench.exports()[name] == MINE
    set_value(bench.db, bench.item("mine.found"), "2", "ann")
    untick(bench.db, bench.item("mine.held"), "ann")
    text = bench.exports()[name]
    assert text == MINE.replace("Found: ____", "Found: 2").replace("[X]", "[ ]")
    path = edited(bench, name, ("Fixed: ____", "Fixed: all but one"), ("\t+ [x]", "    1. [ ]"))
    path.write_text(path.read_text().replace("\r\n", "\n").replace("* [", "-   [").replace("    1. [", "\n        - ["))
    assert told(import_files(bench.db, bench.workspace, [path], "bob")) == [
        ("mine.found", "tick taken back", True),
        ("mine.fixed", "value empty -> all but one", True),
    ]
    assert import_files(bench.db, bench.workspace, [path], "bob") == []


def test_a_file_that_is_no_export(bench: Bench, tmp_path: Path) -> None:
    for name, text, message in (
        ("notes.md", "# Notes\n", "notes.md has no items"),
        ("other.md", "# Other\n- [ ] a\n", "other.md is none of the checklists of this workspace"),
        ("latin.md", b"- [ ] a\n- [ ] \xe9\n", "latin.md:2: not UTF-8"),
        ("none.md", None, "none.md cannot be read: No such file"),
        ("big.md", "x" * 1_000_001, "that is no checklist"),
        ("torn.md", "- [ ] a\n```\n", "torn.md:2: the block opened here"),
    ):
        path = tmp_path / name
        if text is not None:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(UserError, match=message):
            import_files(bench.db, bench.workspace, [path], "bob")


# fixed point ----------------------------------------------------------------------------------------------------------

ITEMS = by_id(load_tree(Workspace(templates().parent)))
LEAVES = [item for item in ITEMS.values() if item.leaf]
BLANKS = [(item.id, index) for item in LEAVES for index in range(len(item.blanks))]
NAMES = sorted({name for item in LEAVES for name in item.facts})
VALUES = st.sampled_from(
    ["0.08", "96%", "5", "1e-3", "12.5", "good", "0.4 (5-shot)", "n/a", "a _____ b", "x (baseline: y", "漢"]
)
MEASURED = st.tuples(
    st.just("fact"),
    st.sampled_from(NAMES),
    st.sampled_from([0.0, 1.0, 0.08, 0.123456, 0.2, 5.0, 1200.0, None]),
    st.sampled_from(["", "%"]),
    st.sampled_from([None, "ckpt-4", "0.4 ± 0.1"]),
)
TICKED = st.tuples(st.just("tick"), st.sampled_from(LEAVES), st.booleans())
FILLED = st.tuples(st.just("value"), st.sampled_from(BLANKS), VALUES)
SAID = st.lists(MEASURED | TICKED | FILLED, max_size=25)


@settings(max_examples=25, deadline=None)
@given(SAID)
def test_export_import_export_is_a_fixed_point(said: list[tuple]) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as folder:
        first, second = (create_workspace(Path(folder) / name) for name in ("first", "second"))
        (first.checklists / "8-mine.md").write_bytes(MINE.encode())
        (second.checklists / "8-mine.md").write_bytes(MINE.encode())
        with (
            closing(open_store(first.database, create=True)) as db,
            closing(open_store(second.database, create=True)) as fresh,
        ):
            for what, *args in said:
                try:
                    if what == "fact":
                        name, value, unit, text = args
                        facts.record(db, Fact(name, value, unit, text=text))
                    elif what == "tick":
                        (tick if args[1] else untick)(db, args[0], "ann", "because")
                    else:
                        (item, index), text = args
                        set_value(db, ITEMS[item], text, "ann", "because", blank=index)
                except UserError:
                    continue
            documents = load_documents(first)
            exported = {d.name: render(d, states(db, first, [d.root])) for d in documents if d.root}
            paths = []
            for name, text in exported.items():
                paths.append(Path(folder) / Path(name).name)
                paths[-1].write_bytes(text.encode())
            # Nothing to say to where it came from.
            assert import_files(db, first, paths, "bob", note="n") == []
            # And elsewhere it says all of it: what facts had filled in, a person now has.
            try:
                import_files(fresh, second, paths, "bob", note="n")
            except UserError as error:
                # A measured score above its scale is shown as it is, and not believed from a page.
                assert "the scale ends at" in str(error)
                return
            again = {d.name: render(d, states(fresh, second, [d.root])) for d in load_documents(second) if d.root}
            assert again == exported
            assert import_files(fresh, second, paths, "bob", note="n") == []
